/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checking wrapper above hf_device_ops: the engine reaches devices only through here. It judges
 * every answer once (errno becomes a code that says whose failure it is), reads the state back
 * after every change, and names the device, the arc, the errno and where the device stands.
 *
 * It does not decide which state to ask for (core/device-plan.h does) nor when; it does not time
 * out: operations block, and the worker that calls is watched by the engine.
 *
 * Pre-conditions are asserted, since breaking them is a fault of ours. What a device answers never
 * trips an assert: a count too large or a state that does not exist is an error like others.
 *
 * All functions return 0 (or a count) or a negative HF_E_ code with the story in err (may be NULL).
 */
#ifndef BACKEND_DEVICE_H
#define BACKEND_DEVICE_H

#include <stdint.h>
#include <sys/types.h>

#include <holdfast/backend.h>

/* Owner thread: one at a time, the session's or the one worker it has lent the device to. */
struct device {
	struct hf_device raw; /* the caller's; never closed here */
	uint32_t index; /* in the session; for messages */
	uint32_t state; /* last known: HF_DEVICE_*; ERROR also when it could not be read */
	uint64_t data_bytes; /* that have passed since it began to save, or to load */
	struct hf_device_info info; /* asked once, at device_bind() */
	char name[HF_NAME_MAX];
};

/*
 * Take a device into use: the vtable is complete, info() is sane, the state can be read. The state
 * is whatever it is: some devices keep it across close and open, so look at d->state.
 * Errors: HF_E_INVALID (vtable), HF_E_UNSUPPORTED (cannot be migrated, or flags that make no
 * sense), HF_E_DEVICE_STATE, HF_E_DEVICE_LOST.
 */
int device_bind(struct device *d, struct hf_device raw, uint32_t index, const char *name,
		struct hf_error *err);

/*
 * Where it stands, asked anew. ERROR is an answer (0 is returned), not a failure.
 * Errors: HF_E_DEVICE_LOST (it does not answer), HF_E_DEVICE_STATE (an answer that is no state).
 */
int device_state(struct device *d, uint32_t *ret_state, struct hf_error *err);

/*
 * Ask for a state, and read back where it stands. Pre-conditions: a state that the device has, not
 * ERROR; never PRE_COPY* from STOP_COPY (some kernels lock up). Failure leaves it anywhere on the
 * path: d->state. Errors: HF_E_DEVICE_STATE; HF_E_DEVICE_LOST when it stands in ERROR or is gone.
 */
int device_set_state(struct device *d, uint32_t state, struct hf_error *err);

/*
 * Read its state stream; in PRE_COPY, PRE_COPY_P2P, STOP_COPY; size > 0. Returns 1..size, or 0 at
 * the end: of what there is for now in PRE_COPY* (-ENOMSG is folded into it), of all in STOP_COPY.
 * Errors: HF_E_DEVICE_DATA; HF_E_DEVICE_LOST.
 */
ssize_t device_read(struct device *d, void *buf, size_t size, struct hf_error *err);

/*
 * Write size (> 0) bytes of a state stream, all of them; in RESUMING. After a failure this load is
 * spoilt: only device_reset() helps. Errors: HF_E_DEVICE_DATA; HF_E_DEVICE_LOST.
 */
int device_write(struct device *d, const void *buf, size_t size, struct hf_error *err);

/* In PRE_COPY* only. Errors: HF_E_DEVICE_DATA; HF_E_DEVICE_LOST. */
int device_precopy_info(struct device *d, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes,
			struct hf_error *err);

/* Only with HF_DEVICE_HAS_DATA_SIZE, in every state. Errors: HF_E_DEVICE_DATA; HF_E_DEVICE_LOST. */
int device_data_size(struct device *d, uint64_t *ret_bytes, struct hf_error *err);

/*
 * DMA logging, only with HF_DEVICE_HAS_DMA_LOGGING. page_size is a power of two >= 4096; ranges are
 * aligned to it, not empty, do not wrap, 1..256 of them. Errors: HF_E_DEVICE_TRACKING (then take
 * every page as dirty); HF_E_DEVICE_LOST. The last read comes after STOP or STOP_COPY.
 */
int device_dirty_start(struct device *d, uint64_t page_size, const struct hf_dma_range *ranges,
		       uint32_t count, struct hf_error *err);
int device_dirty_read(struct device *d, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap, struct hf_error *err);
int device_dirty_stop(struct device *d, struct hf_error *err);

/*
 * Reset; afterwards it stands in RUNNING, or this failed. Also where HF_DEVICE_HAS_RESET is not
 * set: some devices can and do not say so. What the guest had in the device is gone. Errors:
 * HF_E_DEVICE_LOST when it stands in ERROR or is gone, else HF_E_DEVICE_STATE.
 */
int device_reset(struct device *d, struct hf_error *err);

#endif
