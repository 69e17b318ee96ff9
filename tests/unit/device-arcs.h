/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The base arcs of the vfio uAPI, and the shortest ways over them: an oracle of its own for tests,
 * by breadth-first search, so that it shares no table with what it judges. Rules, from the uAPI's
 * text (linux/vfio.h): the shortest way; no state that saves inside of it, unless it begins and
 * ends in one; STOP_COPY does not lead to PRE_COPY*.
 */
#ifndef UNIT_DEVICE_ARCS_H
#define UNIT_DEVICE_ARCS_H

#include <stdint.h>
#include <string.h>

#include <holdfast/types.h>

#define ARCS_PATH_MAX 8

struct arcs_arc {
	uint32_t flags; /* devices with exactly these have it: bit n for flag set n */
	uint32_t from, to;
};

#define ARCS_IN(set) (1u << (set))
#define ARCS_ALL (ARCS_IN(1) | ARCS_IN(3) | ARCS_IN(5) | ARCS_IN(7))
#define ARCS_P2P (ARCS_IN(3) | ARCS_IN(7))
#define ARCS_NO_P2P (ARCS_IN(1) | ARCS_IN(5))
#define ARCS_PRE (ARCS_IN(5) | ARCS_IN(7))

/* clang-format off */
static const struct arcs_arc arcs_base[] = {
	{ ARCS_ALL,    HF_DEVICE_STOP,         HF_DEVICE_STOP_COPY },
	{ ARCS_ALL,    HF_DEVICE_STOP_COPY,    HF_DEVICE_STOP },
	{ ARCS_ALL,    HF_DEVICE_STOP,         HF_DEVICE_RESUMING },
	{ ARCS_ALL,    HF_DEVICE_RESUMING,     HF_DEVICE_STOP },
	{ ARCS_NO_P2P, HF_DEVICE_RUNNING,      HF_DEVICE_STOP },
	{ ARCS_NO_P2P, HF_DEVICE_STOP,         HF_DEVICE_RUNNING },
	{ ARCS_P2P,    HF_DEVICE_RUNNING,      HF_DEVICE_RUNNING_P2P },
	{ ARCS_P2P,    HF_DEVICE_RUNNING_P2P,  HF_DEVICE_RUNNING },
	{ ARCS_P2P,    HF_DEVICE_RUNNING_P2P,  HF_DEVICE_STOP },
	{ ARCS_P2P,    HF_DEVICE_STOP,         HF_DEVICE_RUNNING_P2P },
	{ ARCS_PRE,    HF_DEVICE_RUNNING,      HF_DEVICE_PRE_COPY },
	{ ARCS_PRE,    HF_DEVICE_PRE_COPY,     HF_DEVICE_RUNNING },
	{ ARCS_IN(5),  HF_DEVICE_PRE_COPY,     HF_DEVICE_STOP_COPY },
	{ ARCS_IN(7),  HF_DEVICE_PRE_COPY,     HF_DEVICE_PRE_COPY_P2P },
	{ ARCS_IN(7),  HF_DEVICE_PRE_COPY_P2P, HF_DEVICE_PRE_COPY },
	{ ARCS_IN(7),  HF_DEVICE_PRE_COPY_P2P, HF_DEVICE_RUNNING_P2P },
	{ ARCS_IN(7),  HF_DEVICE_RUNNING_P2P,  HF_DEVICE_PRE_COPY_P2P },
	{ ARCS_IN(7),  HF_DEVICE_PRE_COPY_P2P, HF_DEVICE_STOP_COPY },
};
/* clang-format on */
#define ARCS_BASE_COUNT (sizeof(arcs_base) / sizeof(arcs_base[0]))

static inline int arcs_saves(uint32_t s)
{
	return s == HF_DEVICE_PRE_COPY || s == HF_DEVICE_PRE_COPY_P2P || s == HF_DEVICE_STOP_COPY;
}

static inline int arcs_has_state(uint32_t flags, uint32_t state)
{
	for (size_t i = 0; i < ARCS_BASE_COUNT; i++)
		if ((arcs_base[i].flags & ARCS_IN(flags)) && arcs_base[i].from == state)
			return 1;
	return 0;
}

/*
 * The states after from on the way to to. Returns how many, 0 if from is to, -1 if there is no way.
 */
static inline int arcs_path(uint32_t flags, uint32_t from, uint32_t to,
			    uint32_t path[ARCS_PATH_MAX])
{
	uint32_t before[HF_DEVICE_STATE_COUNT] = { 0 };
	uint32_t queue[HF_DEVICE_STATE_COUNT] = { from };
	uint32_t head = 0, tail = 1;
	int length = 0;

	if (!arcs_has_state(flags, from) || !arcs_has_state(flags, to))
		return -1;
	if (from == to)
		return 0;
	if (from == HF_DEVICE_STOP_COPY && arcs_saves(to))
		return -1;
	before[from] = from;
	while (head < tail && !before[to]) {
		uint32_t at = queue[head++];

		if (at != from && arcs_saves(at) && !(arcs_saves(from) && arcs_saves(to)))
			continue; /* the kernel does not pass through it */
		for (size_t i = 0; i < ARCS_BASE_COUNT; i++) {
			const struct arcs_arc *a = &arcs_base[i];

			if (!(a->flags & ARCS_IN(flags)) || a->from != at || before[a->to])
				continue;
			before[a->to] = at;
			queue[tail++] = a->to;
		}
	}
	if (!before[to])
		return -1;
	for (uint32_t at = to; at != from; at = before[at])
		length++;
	for (uint32_t at = to, i = (uint32_t)length; at != from; at = before[at])
		path[--i] = at;
	return length;
}

#endif
