/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of docs/stream.md, sections 6.1 to 6.3: one table of stages, then what a record's own
 * numbers must be.
 */
#include "wire/order.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "wire/rec-device-data.h"

enum stage {
	/* control, to the target */
	START, /* nothing yet */
	HELLO,
	REGIONS,
	DEVICES,
	SHAPE,
	ENDED, /* END */
	GONE, /* GO */
	/* control, to the source; begins with START */
	ACCEPTED,
	LOADED,
	DECIDED, /* STARTED, RETURNED */
	/* both */
	ABORTED,
	CLOSED, /* BYE */
	/* bulk; begins with START */
	ATTACHED,
	FINISHED, /* CHANNEL_END */
};

#define IN(stage) (1u << (stage))
#define OUT_OPEN (IN(HELLO) | IN(REGIONS) | IN(DEVICES) | IN(SHAPE) | IN(ENDED) | IN(GONE))
#define BACK_OPEN (IN(START) | IN(ACCEPTED) | IN(LOADED))
#define SAME 0xffffu

struct row {
	uint32_t type;
	uint32_t in; /* stages in which it may come */
	uint32_t to; /* the stage then */
	const char *why; /* if it comes in another */
};

/* clang-format off */
static const struct row to_target[] = {
	{ REC_HELLO,         IN(START),                    HELLO,   "it may only come first" },
	{ REC_REGIONS,       IN(HELLO),                    REGIONS, "it may only come once, behind HELLO" },
	{ REC_DEVICES,       IN(REGIONS),                  DEVICES, "it may only come once, behind REGIONS" },
	{ REC_SHAPE,         IN(DEVICES),                  SHAPE,   "it may only come once, behind DEVICES" },
	{ REC_DEVICE_CONFIG, IN(SHAPE),                    SAME,    "it may only come between SHAPE and END" },
	{ REC_MACHINE_STATE, IN(SHAPE),                    SAME,    "it may only come between SHAPE and END" },
	{ REC_END,           IN(SHAPE),                    ENDED,   "it may only come once, behind SHAPE" },
	{ REC_GO,            IN(ENDED),                    GONE,    "it may only come once, behind END" },
	{ REC_ABORT,         OUT_OPEN,                     ABORTED, "it may only come once, between HELLO and BYE" },
	{ REC_BYE,           OUT_OPEN | IN(ABORTED),       CLOSED,  "it may only come once, behind HELLO" },
	{ REC_KEEPALIVE,     OUT_OPEN | IN(ABORTED),       SAME,    "it may only come between HELLO and BYE" },
};

static const struct row to_source[] = {
	{ REC_ACCEPT,        IN(START),                    ACCEPTED, "it may only come once, before all but KEEPALIVE" },
	{ REC_PRIMED,        IN(ACCEPTED),                 SAME,     "it may only come between ACCEPT and LOADED" },
	{ REC_LOADED,        IN(ACCEPTED),                 LOADED,   "it may only come once, behind ACCEPT" },
	{ REC_STARTED,       IN(LOADED),                   DECIDED,  "it may only come behind LOADED, as the one decision" },
	{ REC_RETURNED,      IN(LOADED),                   DECIDED,  "it may only come behind LOADED, as the one decision" },
	{ REC_ABORT,         BACK_OPEN,                    ABORTED,  "it may only come once, and not behind STARTED, RETURNED or BYE" },
	{ REC_BYE,           BACK_OPEN | IN(DECIDED) | IN(ABORTED), CLOSED, "it may only come once" },
	{ REC_KEEPALIVE,     BACK_OPEN | IN(DECIDED) | IN(ABORTED), SAME,   "it may not come behind BYE" },
};

static const struct row bulk[] = {
	{ REC_ATTACH,        IN(START),                    ATTACHED, "it may only come first" },
	{ REC_PAGES,         IN(ATTACHED),                 SAME,     "it may only come between ATTACH and CHANNEL_END" },
	{ REC_ROUND,         IN(ATTACHED),                 SAME,     "it may only come between ATTACH and CHANNEL_END" },
	{ REC_DEVICE_DATA,   IN(ATTACHED),                 SAME,     "it may only come between ATTACH and CHANNEL_END" },
	{ REC_DEVICE_END,    IN(ATTACHED),                 SAME,     "it may only come between ATTACH and CHANNEL_END" },
	{ REC_CHANNEL_END,   IN(ATTACHED),                 FINISHED, "it may only come once, behind ATTACH" },
};
/* clang-format on */

void order_init(struct order *order, uint8_t connection, uint8_t direction, uint32_t channel)
{
	assert(connection == WIRE_CONTROL || connection == WIRE_BULK);
	assert(connection == WIRE_CONTROL || direction == WIRE_TO_TARGET);
	memset(order, 0, sizeof(*order));
	order->connection = connection;
	order->direction = direction;
	order->channel = channel;
	order->stage = START;
}

void order_limits(struct order *order, uint32_t device_count, uint32_t channels)
{
	assert(device_count <= HF_DEVICES_MAX && channels <= HF_CHANNELS_MAX);
	order->device_count = device_count;
	order->channels = channels;
}

bool order_complete(const struct order *order)
{
	return order->stage == CLOSED || order->stage == FINISHED;
}

static int fail(const char *why, const char **ret_why)
{
	if (ret_why != NULL)
		*ret_why = why;
	return -EPROTO;
}

static const struct row *find(const struct order *order, uint32_t type)
{
	const struct row *rows = to_target;
	size_t count = sizeof(to_target) / sizeof(to_target[0]);

	if (order->connection == WIRE_BULK) {
		rows = bulk;
		count = sizeof(bulk) / sizeof(bulk[0]);
	} else if (order->direction == WIRE_TO_SOURCE) {
		rows = to_source;
		count = sizeof(to_source) / sizeof(to_source[0]);
	}
	for (size_t i = 0; i < count; i++)
		if (rows[i].type == type)
			return &rows[i];
	return NULL;
}

/* Section 6.3: a device's own stream. NULL, or what is wrong. */
static const char *device_data(struct order_device *device, const struct order_args *args)
{
	if (device->ended)
		return "its device's stream has ended";
	if (args->sequence != device->sequence)
		return "its sequence number is not the next one";
	if ((args->flags & REC_DEVICE_INITIAL_DONE) != 0 && (device->initial || device->stopped))
		return "initial data may only end once, and before STOP_COPY";
	if ((args->flags & REC_DEVICE_STOP_COPY) == 0 && device->stopped)
		return "behind data of STOP_COPY there is no other";
	device->initial = device->initial || (args->flags & REC_DEVICE_INITIAL_DONE) != 0;
	device->stopped = device->stopped || (args->flags & REC_DEVICE_STOP_COPY) != 0;
	device->sequence++;
	return NULL;
}

/* Records that name a device. */
static const char *device_record(struct order *order, uint32_t type, const struct order_args *args)
{
	struct order_device *device = &order->device[args->device % HF_DEVICES_MAX];
	bool *once;

	if (args->device >= order->device_count)
		return "there is no such device";
	if (type == REC_DEVICE_DATA || type == REC_DEVICE_END) {
		if (order->channels == 0 || args->device % order->channels != order->channel)
			return "its device belongs on another channel";
		if (type == REC_DEVICE_DATA)
			return device_data(device, args);
		if (args->sequence != device->sequence && !device->ended)
			return "it counts other records than came";
	}
	once = type == REC_DEVICE_CONFIG ? &device->config
	       : type == REC_PRIMED	 ? &device->primed
					 : &device->ended;
	if (*once)
		return "it may only come once for each device";
	*once = true;
	return NULL;
}

static const char *round_record(struct order *order, const struct order_args *args)
{
	if (args->round != order->round + 1 || args->round > WIRE_ROUNDS_MAX)
		return "its number is not the next one";
	if (args->pages != order->pages)
		return "it counts other pages than came";
	order->round++;
	order->pages = 0;
	return NULL;
}

static const char *channel_end(const struct order *order, const struct order_args *args)
{
	if (args->channel != order->channel)
		return "it names another channel";
	if (order->pages != 0)
		return "the last pages are in no round";
	if (order->round == 0)
		return "there was no round";
	for (uint32_t i = order->channel; i < order->device_count; i += order->channels)
		if (!order->device[i].ended)
			return "a device's stream has not ended";
	return NULL;
}

static const char *end_record(const struct order *order)
{
	for (uint32_t i = 0; i < order->device_count; i++)
		if (!order->device[i].config)
			return "a device's configuration has not come";
	return NULL;
}

static const char *keepalive(struct order *order, const struct order_args *args)
{
	if (args->counter != order->keepalives + 1)
		return "its counter is not the next one";
	order->keepalives++;
	return NULL;
}

/* What the record's own numbers must be. Changes order only if all is well. */
static const char *numbers(struct order *order, uint32_t type, const struct order_args *args)
{
	switch ((enum rec_type)type) {
	case REC_DEVICE_CONFIG:
	case REC_PRIMED:
	case REC_DEVICE_DATA:
	case REC_DEVICE_END:
		return device_record(order, type, args);
	case REC_MACHINE_STATE:
		if (order->sections == WIRE_SECTIONS_MAX)
			return "there are too many sections";
		order->sections++;
		return NULL;
	case REC_END:
		return end_record(order);
	case REC_KEEPALIVE:
		return keepalive(order, args);
	case REC_ATTACH:
		return args->channel == order->channel ? NULL : "it names another channel";
	case REC_PAGES:
		order->pages += args->pages;
		return NULL;
	case REC_ROUND:
		return round_record(order, args);
	case REC_CHANNEL_END:
		return channel_end(order, args);
	case REC_HELLO:
	case REC_REGIONS:
	case REC_DEVICES:
	case REC_SHAPE:
	case REC_GO:
	case REC_ACCEPT:
	case REC_LOADED:
	case REC_STARTED:
	case REC_RETURNED:
	case REC_ABORT:
	case REC_BYE:
		return NULL;
	}
	return "it is unknown";
}

int order_record(struct order *order, uint32_t type, const struct order_args *args,
		 const char **ret_why)
{
	static const struct order_args none;
	const struct row *row = find(order, type);
	const char *why;

	if (row == NULL)
		return fail("it does not belong on this connection, in this direction", ret_why);
	if ((row->in & IN(order->stage)) == 0)
		return fail(row->why, ret_why);
	why = numbers(order, type, args != NULL ? args : &none);
	if (why != NULL)
		return fail(why, ret_why);
	if (row->to != SAME)
		order->stage = row->to;
	return 0;
}

int order_skipped(const struct order *order, const char **ret_why)
{
	if (order->stage == START && order->direction == WIRE_TO_TARGET)
		return fail("nothing may come before the first record", ret_why);
	if (order_complete(order))
		return fail("nothing may come behind the last record", ret_why);
	return 0;
}
