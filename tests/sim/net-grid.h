/* SPDX-License-Identifier: BSD-3-Clause */
/* Worlds that lead to the rows which are rarely taken. */
#ifndef TESTS_SIM_NET_GRID_H
#define TESTS_SIM_NET_GRID_H

#include "net-world.h"

uint32_t grid_size(void);
struct scenario grid_scenario(uint32_t index);

#endif
