/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters from inside: specifications, and the points where they take effect. A filter is the same
 * table of operations as the object it wraps, plus the next one. holdfast-filters(7) and backend.h
 * say what the specifications mean.
 *
 * Files: spec.c (their grammar), point.c (counting calls, being late), filters.c (the set), and one
 * for each kind of object.
 */
#ifndef BACKEND_FILTER_FILTER_H
#define BACKEND_FILTER_FILTER_H

#include <stdint.h>

#include <holdfast/backend.h>

#define FILTERS_MAX 64u /* in one set */
#define FILTER_SPEC_MAX 256u /* bytes, with the NUL */
#define FILTER_DELAY_MS_MAX 60000u
#define FILTER_CALLS_FOREVER UINT64_MAX

enum filter_object {
	FILTER_DEVICE,
	FILTER_CHANNEL,
	FILTER_LEDGER,
	FILTER_MEMORY,
	FILTER_MACHINE,
};
#define FILTER_OBJECT_COUNT 5

/* The operations, by the names that specifications use. */
/* clang-format off */
#define FILTER_DEVICE_OPS(X) \
	X(INFO, info) X(GET_STATE, get_state) X(SET_STATE, set_state) X(READ_DATA, read_data) \
	X(WRITE_DATA, write_data) X(PRECOPY_INFO, precopy_info) X(DATA_SIZE, data_size) \
	X(DIRTY_START, dirty_start) X(DIRTY_READ, dirty_read) X(DIRTY_STOP, dirty_stop) \
	X(RESET, reset) X(REGION_INFO, region_info) X(REGION_READ, region_read) \
	X(REGION_WRITE, region_write) X(IRQ_COUNT, irq_count) X(IRQS_SET, irqs_set) \
	X(DMA_MAP, dma_map) X(DMA_UNMAP, dma_unmap)
#define FILTER_CHANNEL_OPS(X) X(SEND, send) X(RECV, recv)
#define FILTER_LEDGER_OPS(X) X(READ, read) X(SWAP, swap)
#define FILTER_MEMORY_OPS(X) \
	X(DIRTY_START, dirty_start) X(DIRTY_SYNC, dirty_sync) X(DIRTY_READ, dirty_read) \
	X(DIRTY_STOP, dirty_stop)
#define FILTER_MACHINE_OPS(X) \
	X(DESCRIBE, describe) X(CHECK, check) X(STOP, stop) X(RUN, run) X(THROTTLE, throttle) \
	X(STATE_SAVE, state_save) X(STATE_LOAD, state_load) X(STATE_CHECK, state_check) \
	X(DEVICE_SAVE, device_save) X(DEVICE_LOAD, device_load)

#define FILTER_ENUM_DEVICE(id, name) DEVICE_OP_##id,
#define FILTER_ENUM_CHANNEL(id, name) CHANNEL_OP_##id,
#define FILTER_ENUM_LEDGER(id, name) LEDGER_OP_##id,
#define FILTER_ENUM_MEMORY(id, name) MEMORY_OP_##id,
#define FILTER_ENUM_MACHINE(id, name) MACHINE_OP_##id,
enum filter_device_op { FILTER_DEVICE_OPS(FILTER_ENUM_DEVICE) };
enum filter_channel_op { FILTER_CHANNEL_OPS(FILTER_ENUM_CHANNEL) };
enum filter_ledger_op { FILTER_LEDGER_OPS(FILTER_ENUM_LEDGER) };
enum filter_memory_op { FILTER_MEMORY_OPS(FILTER_ENUM_MEMORY) };
enum filter_machine_op { FILTER_MACHINE_OPS(FILTER_ENUM_MACHINE) };

/* What a fault does besides failing. */
#define FILTER_ERROR   0x001u /* the device stands in ERROR from then on */
#define FILTER_AFTER   0x002u /* the operation is done, and fails all the same */
#define FILTER_NORESET 0x004u /* resets fail from then on */
#define FILTER_CLOSE   0x008u /* the connection is shut down first */
/* What it does to data; the operation does not fail by itself then. */
#define FILTER_CUT     0x010u
#define FILTER_FLIP    0x020u
#define FILTER_REPEAT  0x040u
#define FILTER_EXTRA   0x080u
#define FILTER_FOREIGN 0x100u
#define FILTER_DATA    0x1f0u /* all of these */
/* clang-format on */

struct filter_spec {
	uint32_t object; /* enum filter_object */
	uint32_t op; /* enum filter_..._op of the object */
	int is_delay;
	int has_index, has_state;
	uint32_t index;
	uint32_t state; /* HF_DEVICE_* or enum hf_ledger_state */
	char role[8]; /* of a channel: "control", "bulk"; "": any */
	uint64_t first, last; /* of the matching calls, counted from 1 */
	uint32_t actions; /* FILTER_* */
	int error; /* positive errno */
	uint32_t delay_ms;
};

/* HF_E_INVALID names the part that is wrong. */
int filter_spec_parse(const char *text, struct filter_spec *ret_spec, struct hf_error *err);

/* What names one object: its own count of calls for each specification. */
struct filter_point {
	uint32_t count;
	const struct filter_spec *specs[FILTERS_MAX]; /* the set's */
	uint64_t calls[FILTERS_MAX]; /* atomic: a device is called by several threads */
};

/* Look for the specifications that name the object. role: of a channel, else NULL. */
void filter_point_init(struct filter_point *point, const struct hf_filters *filters,
		       enum filter_object object, uint32_t index, const char *role);

/*
 * An operation is called: count, be late, and say which fault strikes (NULL: none). state is only
 * looked at for specifications that name one.
 */
const struct filter_spec *filter_strike(struct filter_point *point, uint32_t op, uint32_t state);

/* Does a specification for op name a state? Then the caller finds out which it is. */
int filter_wants_state(const struct filter_point *point, uint32_t op);

struct filter_machine; /* machine.c */

struct hf_filters {
	uint32_t count;
	struct filter_spec specs[FILTERS_MAX];
	struct filter_machine *machines; /* wrappers that nobody else frees */
};

void filter_machines_free(struct filter_machine *machines);

#endif
