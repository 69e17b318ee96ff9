/* SPDX-License-Identifier: BSD-3-Clause */
/* The grammar of filters: text to struct filter_spec. Pure. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/filter/filter.h"
#include "base/error.h"

#define ERRNO_MAX 4095

struct names {
	const char *const *names;
	uint32_t count;
};

/* clang-format off */
#define NAME(id, name) #name,
static const char *const object_names[FILTER_OBJECT_COUNT] = {
	"device", "channel", "ledger", "memory", "machine",
};
static const char *const device_ops[] = { FILTER_DEVICE_OPS(NAME) };
static const char *const channel_ops[] = { FILTER_CHANNEL_OPS(NAME) };
static const char *const ledger_ops[] = { FILTER_LEDGER_OPS(NAME) };
static const char *const memory_ops[] = { FILTER_MEMORY_OPS(NAME) };
static const char *const machine_ops[] = { FILTER_MACHINE_OPS(NAME) };
#define NAMES(array) { array, sizeof(array) / sizeof(array[0]) }
static const struct names op_names[FILTER_OBJECT_COUNT] = {
	NAMES(device_ops), NAMES(channel_ops), NAMES(ledger_ops), NAMES(memory_ops),
	NAMES(machine_ops),
};
static const char *const ledger_states[] = { "", "HOME", "OFFERED", "CLAIMED", "AWAY" };

static const struct {
	const char *name;
	uint32_t action;
} action_names[] = {
	{ "error", FILTER_ERROR },   { "after", FILTER_AFTER }, { "stay", 0 },
	{ "noreset", FILTER_NORESET }, { "close", FILTER_CLOSE }, { "cut", FILTER_CUT },
	{ "flip", FILTER_FLIP },     { "repeat", FILTER_REPEAT }, { "extra", FILTER_EXTRA },
	{ "foreign", FILTER_FOREIGN },
};
/* clang-format on */

static int bad(struct hf_error *err, const char *text, const char *what, const char *part)
{
	return error_set(err, HF_E_INVALID, 0, "filter \"%s\": %s \"%s\"", text, what, part);
}

static int find(const char *const *names, uint32_t count, const char *name, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < count; i++) {
		if (*name && strcmp(names[i], name) == 0) {
			*ret_index = i;
			return 0;
		}
	}
	return -ENOENT;
}

/* All digits; 0 or -EINVAL. */
static int read_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > max)
			return -EINVAL;
	}
	*ret_number = n;
	return 0;
}

/* What stands in the brackets behind the object. */
static int read_selector(struct filter_spec *spec, const char *text)
{
	uint64_t index = 0;

	if (spec->object == FILTER_CHANNEL &&
	    (strcmp(text, "control") == 0 || strcmp(text, "bulk") == 0)) {
		(void)snprintf(spec->role, sizeof(spec->role), "%s", text);
		return 0;
	}
	if (spec->object != FILTER_DEVICE && spec->object != FILTER_CHANNEL)
		return -EINVAL;
	if (read_number(text, HF_DEVICES_MAX, &index) < 0)
		return -EINVAL;
	spec->has_index = 1;
	spec->index = (uint32_t)index;
	return 0;
}

static int read_state(struct filter_spec *spec, const char *text)
{
	spec->has_state = 1;
	if (spec->object == FILTER_LEDGER && spec->op == LEDGER_OP_SWAP)
		return find(ledger_states, 5, text, &spec->state);
	if (spec->object != FILTER_DEVICE)
		return -EINVAL;
	for (uint32_t s = HF_DEVICE_STOP; s < HF_DEVICE_STATE_COUNT; s++) {
		if (strcmp(hf_device_state_name(s), text) == 0) {
			spec->state = s;
			return 0;
		}
	}
	return -EINVAL;
}

/* OBJECT[SELECTOR].OP=STATE; part is taken apart. */
static int read_target(struct filter_spec *spec, char *part, const char *text, struct hf_error *err)
{
	char *state = strchr(part, '=');
	char *op, *selector, *end;

	if (state)
		*state++ = 0;
	op = strchr(part, '.');
	if (!op)
		return bad(err, text, "not OBJECT.OP:", part);
	*op++ = 0;
	selector = strchr(part, '[');
	if (selector) {
		*selector++ = 0;
		end = strchr(selector, ']');
		if (!end || end[1])
			return bad(err, text, "no ] behind", selector);
		*end = 0;
	}
	if (find(object_names, FILTER_OBJECT_COUNT, part, &spec->object) < 0)
		return bad(err, text, "no such object:", part);
	if (selector && read_selector(spec, selector) < 0)
		return bad(err, text, "cannot be in the brackets:", selector);
	if (find(op_names[spec->object].names, op_names[spec->object].count, op, &spec->op) < 0)
		return bad(err, text, "no such operation:", op);
	if (state && read_state(spec, state) < 0)
		return bad(err, text, "no such state there:", state);
	return 0;
}

/* "3": the third; "3+": from the third on; "*": all. */
static int read_calls(struct filter_spec *spec, char *part)
{
	size_t length = strlen(part);
	uint64_t n = 0;
	int onward = length && part[length - 1] == '+';

	if (strcmp(part, "*") == 0) {
		spec->first = 1;
		spec->last = FILTER_CALLS_FOREVER;
		return 0;
	}
	if (onward)
		part[length - 1] = 0;
	if (read_number(part, UINT32_MAX, &n) < 0 || n == 0)
		return -EINVAL;
	spec->first = n;
	spec->last = onward ? FILTER_CALLS_FOREVER : n;
	return 0;
}

static int read_errno(const char *name, int *ret_error)
{
	for (int e = 1; e <= ERRNO_MAX; e++) {
		const char *known = strerrorname_np(e);

		if (known && strcmp(known, name) == 0) {
			*ret_error = e;
			return 0;
		}
	}
	return -ENOENT;
}

/* Which actions an operation knows. */
static uint32_t allowed_actions(const struct filter_spec *spec)
{
	switch ((enum filter_object)spec->object) {
	case FILTER_DEVICE:
		if (spec->op == DEVICE_OP_READ_DATA || spec->op == DEVICE_OP_WRITE_DATA)
			return FILTER_ERROR | FILTER_AFTER | FILTER_NORESET | FILTER_DATA;
		return FILTER_ERROR | FILTER_AFTER | FILTER_NORESET;
	case FILTER_CHANNEL:
		return spec->op == CHANNEL_OP_RECV ? FILTER_CLOSE | FILTER_AFTER | FILTER_FLIP
						   : FILTER_CLOSE | FILTER_AFTER;
	case FILTER_MACHINE:
		/* A machine that failed to run has not run: that is its contract. */
		return spec->op == MACHINE_OP_RUN ? 0 : FILTER_AFTER;
	case FILTER_LEDGER:
	case FILTER_MEMORY:
		return FILTER_AFTER;
	}
	return 0;
}

static int read_action(struct filter_spec *spec, const char *part)
{
	if (read_errno(part, &spec->error) == 0)
		return 0;
	for (size_t i = 0; i < sizeof(action_names) / sizeof(action_names[0]); i++) {
		if (strcmp(action_names[i].name, part) == 0) {
			spec->actions |= action_names[i].action;
			return (spec->actions & ~allowed_actions(spec)) ? -EINVAL : 0;
		}
	}
	return -ENOENT;
}

static int read_actions(struct filter_spec *spec, char *rest, const char *text,
			struct hf_error *err)
{
	uint32_t data;

	spec->error = EIO;
	while (rest) {
		char *part = strsep(&rest, ":");
		int r = read_action(spec, part);

		if (r == -EINVAL)
			return bad(err, text, "not for that operation:", part);
		if (r < 0)
			return bad(err, text, "no such action or errno:", part);
	}
	data = spec->actions & FILTER_DATA;
	if ((data & (data - 1)) || (data && data != spec->actions))
		return bad(err, text, "do not go together:", "what is done to data, and others");
	return 0;
}

int filter_spec_parse(const char *text, struct filter_spec *ret_spec, struct hf_error *err)
{
	struct filter_spec spec = { 0 };
	char copy[FILTER_SPEC_MAX];
	char *rest = copy, *kind, *target, *number;
	uint64_t delay = 0;
	int r;

	if (!text || strlen(text) >= sizeof(copy))
		return error_set(err, HF_E_INVALID, 0, "a filter is 1..%u bytes of text",
				 FILTER_SPEC_MAX - 1);
	(void)snprintf(copy, sizeof(copy), "%s", text);
	kind = strsep(&rest, ":");
	target = rest ? strsep(&rest, ":") : NULL;
	number = rest ? strsep(&rest, ":") : NULL;
	if (!number)
		return bad(err, text, "not KIND:OBJECT.OP:NUMBER:", text);
	spec.is_delay = strcmp(kind, "delay") == 0;
	if (!spec.is_delay && strcmp(kind, "fault") != 0)
		return bad(err, text, "no such filter:", kind);
	r = read_target(&spec, target, text, err);
	if (r < 0)
		return r;
	if (spec.is_delay) {
		if (rest)
			return bad(err, text, "too much:", rest);
		if (read_number(number, FILTER_DELAY_MS_MAX, &delay) < 0)
			return bad(err, text, "not 0..60000 milliseconds:", number);
		spec.delay_ms = (uint32_t)delay;
	} else {
		if (read_calls(&spec, number) < 0)
			return bad(err, text, "not N, N+ or *:", number);
		r = read_actions(&spec, rest, text, err);
		if (r < 0)
			return r;
	}
	*ret_spec = spec;
	return 0;
}
