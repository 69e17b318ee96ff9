/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words and shapes that the public headers share. Nothing here acts.
 */
#ifndef HOLDFAST_TYPES_H
#define HOLDFAST_TYPES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Guest pages are 4 KiB everywhere in the stream; huge pages are a matter of the host. */
#define HF_PAGE_SHIFT 12
#define HF_PAGE_SIZE (1u << HF_PAGE_SHIFT)

/* Limits: what one session carries at most. The peer is held to them too. */
#define HF_DEVICES_MAX 32
#define HF_REGIONS_MAX 16
#define HF_VCPUS_MAX 256
#define HF_CHANNELS_MAX 16
#define HF_NAME_MAX 64 /* names of guests, devices and regions, with the NUL */
#define HF_URI_MAX 256 /* with the NUL */

/*
 * VFIO device states: enum vfio_device_mig_state of the kernel's uAPI (linux/vfio.h), with the
 * same numbers, and here because build hosts' headers may be older than PRE_COPY.
 */
#define HF_DEVICE_ERROR 0u
#define HF_DEVICE_STOP 1u
#define HF_DEVICE_RUNNING 2u
#define HF_DEVICE_STOP_COPY 3u
#define HF_DEVICE_RESUMING 4u
#define HF_DEVICE_RUNNING_P2P 5u
#define HF_DEVICE_PRE_COPY 6u
#define HF_DEVICE_PRE_COPY_P2P 7u
#define HF_DEVICE_STATE_COUNT 8u

/* Migration flags: VFIO_MIGRATION_* of the same uAPI. Only 1, 3, 5 and 7 are meaningful. */
#define HF_MIG_STOP_COPY 1u
#define HF_MIG_P2P 2u
#define HF_MIG_PRE_COPY 4u

/* The name of a device state ("RUNNING_P2P"); "?" for a number that is none. Static text. */
const char *hf_device_state_name(uint32_t state);

#ifdef __cplusplus
}
#endif

#endif
