/* SPDX-License-Identifier: BSD-3-Clause */
/* BYE: nothing more will come in this direction. docs/stream.md, section 5.15. */
#ifndef WIRE_REC_BYE_H
#define WIRE_REC_BYE_H

#include "wire/rec.h"

int rec_bye_encode(void *buf, size_t capacity);
int rec_bye_decode(const void *body, size_t length);

#endif
