/* SPDX-License-Identifier: BSD-3-Clause */
/* The keys of a simulated device's URI; docs/sim-device.md lists them. Pure. */
#ifndef DEVICE_SIM_URI_H
#define DEVICE_SIM_URI_H

#include "backend/device/sim/sim.h"

/* keys: "KEY=VALUE,KEY=VALUE" or "". Errors: HF_E_INVALID names the key. */
int sim_uri_parse(const char *keys, const char *name, struct sim_config *ret_config,
		  struct hf_error *err);

#endif
