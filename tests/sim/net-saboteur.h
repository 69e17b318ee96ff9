/* SPDX-License-Identifier: BSD-3-Clause */
/* Known mistakes that other files make in its name. */
#ifndef TESTS_SIM_NET_SABOTEUR_H
#define TESTS_SIM_NET_SABOTEUR_H

#include <stdbool.h>

#include "core/source.h"

enum source_event saboteur_source(const struct source *source, enum source_event event);
bool saboteur_forgets_wake(void);

#endif
