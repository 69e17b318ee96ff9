/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device without a session: which states it has, and the ways between them. For tools that look
 * at a device, check it, or keep its state in a file. A session plans for itself.
 */
#ifndef HOLDFAST_DEVICE_H
#define HOLDFAST_DEVICE_H

#include <stdint.h>

#include <holdfast/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Does a device with these migration flags (HF_MIG_*; 1, 3, 5 or 7) have the state? No for ERROR
 * and for numbers that are none.
 */
int hf_device_has_state(uint32_t mig_flags, uint32_t state);

/*
 * Bring a device that no session uses to a state, by the requests that a session would make: none
 * that locks up a kernel, none that lets a device run that is on its way down. What is being saved
 * on the way is dropped. From RESUMING the first request is STOP, which finishes the load; give a
 * load up by the device's reset() before. Nothing is reset here. At most 8 requests.
 *
 * The device's state is read back after each request. Errors: HF_E_INVALID (it has no such state),
 * HF_E_UNSUPPORTED (it cannot be migrated), HF_E_DEVICE_STATE, HF_E_DEVICE_LOST; the text names the
 * request, its errno and where the device stands.
 */
int hf_device_walk(struct hf_device *device, uint32_t state, struct hf_error *err);

#ifdef __cplusplus
}
#endif

#endif
