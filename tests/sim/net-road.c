/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network between the two sides. The source connects to it, it connects to the target, and
 * carries bytes both ways: late, in pieces, up to the moment at which the scenario breaks it. The
 * ends are real sockets; how much is under way in them is limited here, so that no limit of the
 * kernel shows.
 *
 * A reset is a socket that is closed with bytes unread: as good as UNIX sockets can say it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net-road.h"
#include "net-world.h"
#include "net-wrap.h"

#define LINKS_MAX 40u
#define LANE_BYTES (128u << 10)
#define LANE_PIECES 256u
#define LOOK_AGAIN_NS (1 * MS) /* at a receiver that takes nothing */

struct piece {
	uint64_t due_ns;
	uint32_t length; /* 0: the end */
};

/* One direction. */
struct lane {
	int from, to; /* of the two ends, or -1 when it is closed */
	struct flow in, out;
	uint8_t bytes[LANE_BYTES];
	uint32_t head, used; /* in bytes */
	struct piece pieces[LANE_PIECES];
	uint32_t piece_head, piece_count;
	uint64_t last_due_ns, carried;
	bool ended; /* the sender closed; nothing more is read */
};

struct link {
	bool used, silent;
	uint64_t stalled_until_ns;
	struct lane there, back; /* source -> target, target -> source */
};

static struct {
	int listener;
	struct sockaddr_un target;
	struct link links[LINKS_MAX];
	uint32_t connected, accepted, reached, met; /* counts, in the order of the links */
	uint32_t order[LINKS_MAX]; /* which link was the n-th to reach the target */
	bool refuse, mute;
	bool done[ROAD_FAULTS_MAX];
} road;

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/%s", world.dir, name);
	return address;
}

/* ---- what the two sides see ---------------------------------------------------------------- */

void road_connected(int fd)
{
	struct link *link = &road.links[road.connected++];

	assert(road.connected <= LINKS_MAX);
	seam_flows(fd, &link->there.in, &link->back.out);
}

void road_accepted(int fd)
{
	struct link *link;

	assert(road.met < road.reached);
	link = &road.links[road.order[road.met++]];
	seam_flows(fd, &link->back.in, &link->there.out);
}

static void close_link(struct link *link)
{
	if (!link->used)
		return;
	link->used = false;
	(void)__real_close(link->there.from);
	(void)__real_close(link->there.to);
	link->there.from = link->there.to = link->back.from = link->back.to = -1;
	/* Whoever waits for a window finds the socket ended. */
}

/* ---- what happens to it -------------------------------------------------------------------- */

static const char *const kinds[] = {
	"none", "reset", "close", "half", "silence", "stall", "refuse"
};

static void break_link(struct link *link, const struct road_fault *fault)
{
	switch (fault->kind) {
	case ROAD_RESET:
	case ROAD_CLOSE:
		close_link(link);
		return;
	case ROAD_HALF:
		if (link->used)
			(void)shutdown(link->there.to, SHUT_WR);
		link->there.ended = true;
		link->there.piece_count = link->there.used = 0;
		return;
	case ROAD_SILENCE:
		link->silent = true;
		return;
	case ROAD_STALL:
		link->stalled_until_ns = sched_now() + fault->for_ns;
		return;
	case ROAD_REFUSE:
		road.refuse = true;
		return;
	case ROAD_NONE:
	case ROAD_KINDS:
		return;
	}
}

void road_happen(void *ctx, uint64_t index)
{
	const struct road_fault *fault = &world.scenario->road[index];

	(void)ctx;
	if (road.done[index])
		return;
	road.done[index] = true;
	story("road", "%s, link %d", kinds[fault->kind], (int)fault->link);
	if (fault->kind == ROAD_REFUSE) {
		road.refuse = true;
		return;
	}
	for (uint32_t i = 0; i < road.accepted; i++)
		if (fault->link == UINT32_MAX || fault->link == i)
			break_link(&road.links[i], fault);
	if (fault->kind == ROAD_SILENCE && fault->link == UINT32_MAX)
		road.mute = true; /* also what is connected later */
}

static void count_bytes(uint32_t index, uint64_t before, uint64_t after)
{
	for (uint32_t i = 0; i < ROAD_FAULTS_MAX; i++) {
		const struct road_fault *fault = &world.scenario->road[i];

		if (fault->at_byte && (fault->link == index || fault->link == UINT32_MAX) &&
		    before < fault->at_byte && after >= fault->at_byte)
			road_happen(NULL, i);
	}
}

void road_silence(void)
{
	for (uint32_t i = 0; i < LINKS_MAX; i++)
		road.links[i].silent = true;
}

/* ---- carrying ------------------------------------------------------------------------------ */

static void add_piece(struct lane *lane, uint32_t length)
{
	const struct scenario *scenario = world.scenario;
	uint64_t due = sched_now() + scenario->hop_ns + sched_between(0, scenario->jitter_ns);

	if (due < lane->last_due_ns)
		due = lane->last_due_ns;
	if (scenario->bandwidth)
		due += (uint64_t)length * S / scenario->bandwidth;
	lane->last_due_ns = due;
	lane->pieces[(lane->piece_head + lane->piece_count++) % LANE_PIECES] =
		(struct piece){ .due_ns = due, .length = length };
}

static bool has_room(const struct lane *lane)
{
	return !lane->ended && lane->from >= 0 && lane->used < LANE_BYTES &&
	       lane->piece_count + 1 < LANE_PIECES;
}

/* Read what the sender has sent. false: the link has gone. */
static bool take(struct link *link, struct lane *lane, uint32_t index)
{
	uint8_t bytes[16384];
	size_t room = LANE_BYTES - lane->used;
	ssize_t got;

	if (!has_room(lane))
		return true;
	got = recv(lane->from, bytes, room < sizeof(bytes) ? room : sizeof(bytes), MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return true;
	if (got < 0) {
		close_link(link);
		return false;
	}
	if (got == 0) {
		lane->ended = true;
		add_piece(lane, 0);
		return true;
	}
	flow_take(&lane->in, (uint64_t)got);
	for (ssize_t i = 0; i < got; i++)
		lane->bytes[(lane->head + lane->used + (uint32_t)i) % LANE_BYTES] = bytes[i];
	lane->used += (uint32_t)got;
	add_piece(lane, (uint32_t)got);
	lane->carried += (uint64_t)got;
	count_bytes(index, lane->carried - (uint64_t)got, lane->carried);
	return link->used;
}

static bool is_stuck(const struct link *link)
{
	return link->silent || road.mute || link->stalled_until_ns > sched_now();
}

/* Bytes of the first piece that are due; false: the link has gone. */
static bool deliver(struct link *link, struct lane *lane)
{
	while (lane->piece_count && !is_stuck(link)) {
		struct piece *piece = &lane->pieces[lane->piece_head];
		uint32_t length = piece->length;
		ssize_t sent;

		if (piece->due_ns > sched_now())
			return true;
		if (length == 0) {
			(void)shutdown(lane->to, SHUT_WR);
			lane->piece_count--;
			continue;
		}
		if (!flow_open(&lane->out))
			return true;
		if (length > LANE_BYTES - lane->head)
			length = LANE_BYTES - lane->head;
		sent = send(lane->to, lane->bytes + lane->head, length,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN)
			return true;
		if (sent < 0) {
			close_link(link);
			return false;
		}
		flow_put(&lane->out, (uint64_t)sent);
		lane->head = (lane->head + (uint32_t)sent) % LANE_BYTES;
		lane->used -= (uint32_t)sent;
		piece->length -= (uint32_t)sent;
		if (!piece->length) {
			lane->piece_head = (lane->piece_head + 1) % LANE_PIECES;
			lane->piece_count--;
		}
	}
	return true;
}

static bool is_over(const struct lane *lane)
{
	return lane->ended && !lane->piece_count;
}

static void serve(uint32_t index)
{
	struct link *link = &road.links[index];

	if (!link->used || !take(link, &link->there, index) || !take(link, &link->back, index) ||
	    !deliver(link, &link->there) || !deliver(link, &link->back))
		return;
	if (is_over(&link->there) && is_over(&link->back))
		close_link(link);
}

/* One that calls: it is put through to the target, or refused. */
static void put_through(int from)
{
	struct link *link = &road.links[road.accepted];
	uint32_t index = road.accepted++;
	int to = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert(index < LINKS_MAX && to >= 0);
	if (road.refuse ||
	    __real_connect(to, (const struct sockaddr *)&road.target, sizeof(road.target)) < 0) {
		story("road", "link %u is refused", index);
		(void)__real_close(from);
		(void)__real_close(to);
		return;
	}
	road.order[road.reached++] = index;
	link->used = true;
	link->there.from = link->back.to = from;
	link->there.to = link->back.from = to;
}

static uint64_t next_look(void)
{
	uint64_t next = SCHED_NEVER;

	for (uint32_t i = 0; i < road.accepted; i++) {
		const struct link *link = &road.links[i];

		for (int k = 0; link->used && k < 2; k++) {
			const struct lane *lane = k ? &link->back : &link->there;
			uint64_t due = lane->pieces[lane->piece_head].due_ns;

			if (!lane->piece_count || link->silent || road.mute)
				continue;
			if (due < link->stalled_until_ns)
				due = link->stalled_until_ns;
			if (due <= sched_now())
				due = sched_now() +
				      LOOK_AGAIN_NS; /* the receiver does not take it */
			if (due < next)
				next = due;
		}
	}
	return next;
}

void *road_run(void *none)
{
	struct pollfd fds[1 + 2 * LINKS_MAX];
	int fd;

	(void)none;
	for (;;) {
		nfds_t count = 0;

		fds[count++] = (struct pollfd){ .fd = road.listener, .events = POLLIN };
		for (uint32_t i = 0; i < road.accepted; i++) {
			const struct link *link = &road.links[i];

			if (link->used && has_room(&link->there))
				fds[count++] =
					(struct pollfd){ .fd = link->there.from, .events = POLLIN };
			if (link->used && has_room(&link->back))
				fds[count++] =
					(struct pollfd){ .fd = link->back.from, .events = POLLIN };
		}
		(void)sched_poll(fds, count, next_look());
		sched_touch();
		while ((fd = __real_accept4(road.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			put_through(fd);
		for (uint32_t i = 0; i < road.accepted; i++)
			serve(i);
	}
	return NULL;
}

/* ---- beginning and end --------------------------------------------------------------------- */

void road_begin(void)
{
	struct sockaddr_un address = address_of("road");

	memset(&road, 0, sizeof(road));
	for (uint32_t i = 0; i < LINKS_MAX; i++) {
		struct link *link = &road.links[i];

		link->there.from = link->there.to = link->back.from = link->back.to = -1;
		link->there.in.window = link->there.out.window = world.scenario->window;
		link->back.in.window = link->back.out.window = world.scenario->window;
	}
	road.target = address_of("target");
	(void)unlink(address.sun_path);
	(void)unlink(road.target.sun_path);
	road.listener = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert(road.listener >= 0);
	if (bind(road.listener, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(road.listener, 64) < 0)
		assert(!"the road's socket");
	for (uint32_t i = 0; i < ROAD_FAULTS_MAX; i++)
		if (world.scenario->road[i].at_ns)
			sched_at(world.begin_ns + world.scenario->road[i].at_ns, road_happen, NULL,
				 i);
}

void road_done(void)
{
	for (uint32_t i = 0; i < LINKS_MAX; i++)
		close_link(&road.links[i]);
	(void)__real_close(road.listener);
}
