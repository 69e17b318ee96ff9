/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast device serve: devices for other processes, each at a socket of its own. */
#ifndef TOOLS_DEVICE_SERVE_H
#define TOOLS_DEVICE_SERVE_H

#include "tools/command.h"

/* Operands from 1 on are devices, in the order of the options --socket. Until SIGTERM or SIGINT. */
int device_serve(const struct arguments *arguments);

#endif
