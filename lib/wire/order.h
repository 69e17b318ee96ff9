/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which record may come when (docs/stream.md, section 6), for one connection in one direction. A
 * table and a few counters; pure. What ties connections together (the barrier of a round, totals
 * of END, an answer before its question) is the receiver's.
 */
#ifndef WIRE_ORDER_H
#define WIRE_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/rec.h"

struct order_device {
	bool config; /* DEVICE_CONFIG came */
	bool primed; /* PRIMED came */
	bool initial; /* INITIAL_DONE came */
	bool stopped; /* STOP_COPY came */
	bool ended; /* DEVICE_END came */
	uint32_t sequence; /* DEVICE_DATA records so far */
};

/* Owner: who reads the connection. */
struct order {
	uint8_t connection, direction;
	uint32_t stage; /* of its own table, in order.c */
	uint32_t channel, channels;
	uint32_t device_count;
	uint32_t sections; /* MACHINE_STATE records so far */
	uint32_t round; /* the last ROUND */
	uint64_t pages; /* present pages since then */
	uint64_t keepalives;
	struct order_device device[HF_DEVICES_MAX];
};

/* What the rules ask of a record; members that it has not are not looked at. */
struct order_args {
	uint32_t device; /* DEVICE_CONFIG, PRIMED, DEVICE_DATA, DEVICE_END */
	uint32_t sequence; /* DEVICE_DATA; DEVICE_END: records */
	uint32_t flags; /* DEVICE_DATA */
	uint32_t channel; /* ATTACH, CHANNEL_END */
	uint32_t round; /* ROUND; END: rounds is the receiver's, not looked at */
	uint64_t pages; /* PAGES: present ones; ROUND: pages */
	uint64_t counter; /* KEEPALIVE */
};

/* Channel is 0 on the control connection. Devices and channels may be told later, before they
 * count. */
void order_init(struct order *order, uint8_t connection, uint8_t direction, uint32_t channel);

/* HELLO's device_count and ACCEPT's channels. At once on a bulk connection; on control after HELLO.
 */
void order_limits(struct order *order, uint32_t device_count, uint32_t channels);

/*
 * The next record. 0, or -EPROTO with *ret_why (static text; the caller puts the record's name and
 * the device's in front). After a failure the order is as it was before. An unknown record that may
 * be skipped goes to order_skipped(). args may be NULL for records that have none of its members.
 */
int order_record(struct order *order, uint32_t type, const struct order_args *args,
		 const char **ret_why);

/* The same for an unknown record that is skipped: not before the first, not behind the last one. */
int order_skipped(const struct order *order, const char **ret_why);

/* BYE or CHANNEL_END came: this direction ends here in order. */
bool order_complete(const struct order *order);

#endif
