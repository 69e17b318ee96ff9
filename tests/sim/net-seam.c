/* SPDX-License-Identifier: BSD-3-Clause */
/* What is counted, who owns what. The functions that take the place of the real ones: net-wrap.c */
#include "net-seam.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "net-wrap.h"
#include "net-world.h"

#define FDS_MAX 1024
#define PIECES_MAX 4096u /* of memory; a power of two */
#define FLOW_PIECES_MAX 48u

static struct {
	uint64_t count;
	struct {
		uint8_t used, side, file;
		struct flow *send, *recv;
	} fds[FDS_MAX];
	struct {
		void *at;
		uint32_t side;
	} pieces[PIECES_MAX];
	uint32_t piece_count;
} seams;

const char *seam_name(enum seam seam)
{
#define NAME(name, text) text,
	static const char *const names[] = { SEAM_LIST(NAME) };
#undef NAME

	return seam < SEAM_COUNT ? names[seam] : "?";
}

void seam_begin(void)
{
	memset(&seams, 0, sizeof(seams));
}

uint64_t seam_count(void)
{
	return seams.count;
}

bool seam_fails(enum seam seam, const char *op)
{
	const struct scenario *scenario = world.scenario;
	bool fails;

	if (!scenario || !world_side())
		return false;
	seams.count++;
	fails = seams.count == scenario->fail_nth;
	if (scenario->fail_per_mille[seam] && !world.calm && world.failing &&
	    scenario->fail_whom & 1u << sched_side())
		fails |= sched_chance(scenario->fail_per_mille[seam]);
	if (!fails)
		return false;
	world.failed_seam = seam + 1;
	(void)snprintf(world.failed_op, sizeof(world.failed_op), "%s: %s", seam_name(seam), op);
	story(world_side()->name, "FAILS  %s %s (%s)", seam_name(seam), op, sched_name());
	return true;
}

/* ---- the windows of the network ------------------------------------------------------------ */

bool flow_open(const struct flow *flow)
{
	return flow->sent - flow->taken < flow->window && flow->pieces < FLOW_PIECES_MAX;
}

void flow_put(struct flow *flow, uint64_t bytes)
{
	flow->sent += bytes;
	flow->pieces++;
}

void flow_take(struct flow *flow, uint64_t bytes)
{
	flow->taken += bytes;
	if (flow->taken >= flow->sent)
		flow->pieces = 0;
}

/* ---- descriptors --------------------------------------------------------------------------- */

short seam_events(int fd, short events)
{
	const struct flow *send = fd >= 0 && fd < FDS_MAX ? seams.fds[fd].send : NULL;

	if ((events & POLLOUT) && send && !flow_open(send))
		return (short)(events & ~POLLOUT);
	return events;
}

void seam_flows(int fd, struct flow *send, struct flow *recv)
{
	assert(fd >= 0 && fd < FDS_MAX);
	seams.fds[fd].send = send;
	seams.fds[fd].recv = recv;
}

struct flow *seam_send_flow(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? seams.fds[fd].send : NULL;
}

struct flow *seam_recv_flow(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? seams.fds[fd].recv : NULL;
}

int seam_fd_made(int fd)
{
	if (fd < 0 || !world_side())
		return fd;
	assert(fd < FDS_MAX);
	seams.fds[fd].used = 1;
	seams.fds[fd].side = (uint8_t)sched_side();
	seams.fds[fd].file = 0;
	seams.fds[fd].send = seams.fds[fd].recv = NULL;
	return fd;
}

int seam_file_made(int fd)
{
	if (seam_fd_made(fd) >= 0)
		seams.fds[fd].file = seams.fds[fd].used;
	return fd;
}

bool seam_is_file(int fd)
{
	return fd >= 0 && fd < FDS_MAX && seams.fds[fd].file;
}

void seam_fd_gone(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		memset(&seams.fds[fd], 0, sizeof(seams.fds[fd]));
}

/* ---- memory -------------------------------------------------------------------------------- */

static uint32_t slot_of(const void *at)
{
	return (uint32_t)(((uintptr_t)at >> 4) * 0x9e3779b1u) & (PIECES_MAX - 1);
}

void *seam_piece_made(void *at)
{
	uint32_t slot = slot_of(at);

	if (!at || !world_side())
		return at;
	assert(seams.piece_count < PIECES_MAX / 2);
	while (seams.pieces[slot].at)
		slot = (slot + 1) & (PIECES_MAX - 1);
	seams.pieces[slot].at = at;
	seams.pieces[slot].side = sched_side();
	seams.piece_count++;
	return at;
}

static void remove_piece(uint32_t hole)
{
	uint32_t next = hole;

	seams.pieces[hole].at = NULL;
	seams.piece_count--;
	for (;;) {
		uint32_t home;

		next = (next + 1) & (PIECES_MAX - 1);
		if (!seams.pieces[next].at)
			return;
		home = slot_of(seams.pieces[next].at);
		/* It may move into the hole unless its home lies behind the hole. */
		if (((next - home) & (PIECES_MAX - 1)) < ((next - hole) & (PIECES_MAX - 1)))
			continue;
		seams.pieces[hole] = seams.pieces[next];
		seams.pieces[next].at = NULL;
		hole = next;
	}
}

void seam_piece_gone(const void *at)
{
	uint32_t slot = slot_of(at);

	for (; at && seams.pieces[slot].at; slot = (slot + 1) & (PIECES_MAX - 1))
		if (seams.pieces[slot].at == at) {
			remove_piece(slot);
			return;
		}
}

void seam_bury(uint32_t side)
{
	for (int fd = 0; fd < FDS_MAX; fd++)
		if (seams.fds[fd].used && seams.fds[fd].side == side) {
			seam_fd_gone(fd);
			(void)__real_close(fd);
		}
	(void)wrap_digests(side, true);
	/* What is removed may be filled from behind: look at a slot until it holds. */
	for (uint32_t i = 0; i < PIECES_MAX; i++)
		while (seams.pieces[i].at && seams.pieces[i].side == side) {
			void *at = seams.pieces[i].at;

			remove_piece(i);
			__real_free(at);
		}
}

uint32_t seam_left(uint32_t side, char *text, uint32_t size)
{
	uint32_t fds = 0, pieces = wrap_digests(side, false);

	for (int fd = 0; fd < FDS_MAX; fd++)
		fds += seams.fds[fd].used && seams.fds[fd].side == side;
	for (uint32_t i = 0; i < PIECES_MAX; i++)
		pieces += seams.pieces[i].at && seams.pieces[i].side == side;
	(void)snprintf(text, size, "%u descriptors and %u pieces of memory", fds, pieces);
	return fds + pieces;
}
