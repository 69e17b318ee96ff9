/* SPDX-License-Identifier: BSD-3-Clause */
/* For the wrapper: whether a failed call failed at the capture, and not at the connection. */
#ifndef BACKEND_CHANNEL_CAPTURE_H
#define BACKEND_CHANNEL_CAPTURE_H

#include <stdbool.h>

#include <holdfast/backend.h>

bool capture_failed(const struct hf_channel *channel);

#endif
