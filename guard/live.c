/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread for each connection and direction. What was read is passed on first and looked at then,
 * so that an error in decoding stops nothing, and looking ahead holds nothing back. They share the
 * flags below `lock`; a connection's descriptors are closed when all of its threads have ended.
 */
#include "guard/live.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/decode.h"
#include "guard/source-file.h"

#include "guard/socket.h"

#define CONNECTIONS_MAX 260u /* the main one, 255 multifd channels, and some room */
#define LABEL_MAX 32

struct live;

/* One direction of a connection. Owner: its thread. */
struct way {
	struct live *live;
	struct source_file file;
	struct print_sink sink;
	struct reader reader;
	struct inspect_result result;
	char label[LABEL_MAX];
};

struct connection {
	struct live *live;
	uint32_t number;
	int source_fd, target_fd; /* target_fd -1: nobody is behind us */
	bool answering; /* the thread of the other direction was started */
	pthread_t thread, answer_thread;
	struct way forward, back;
	enum inspect_kind kind;
};

struct live {
	const struct live_options *options;
	int ended_fd; /* an eventfd: the main connection has ended */
	pthread_mutex_t lock;
	bool main_seen, odd; /* under the lock */
	uint32_t count; /* of connections; the accepting thread's */
	struct connection *connections[CONNECTIONS_MAX];
};

/* ---- one direction ------------------------------------------------------------------------- */

static void item(void *self, const struct inspect_item *item)
{
	struct way *way = self;
	const struct live_options *options = way->live->options;

	print_item(&way->sink, item);
	if (!options->forward && strcmp(item->what, "command") == 0 && item->field_count > 0 &&
	    strcmp(item->fields[0].text, "OPEN_RETURN_PATH") == 0)
		options->unanswered();
}

static void way_init(struct way *way, struct live *live, int from, int to)
{
	struct reader_source source;

	way->live = live;
	source_file_init(&way->file, from, to);
	source = source_file(&way->file);
	reader_init(&way->reader, &source);
}

static void way_run(struct way *way, enum inspect_kind kind)
{
	struct inspect_options options = way->live->options->inspect;
	const struct inspect_sink sink = { .item = item, .self = way };

	options.kind = kind;
	way->sink.printer = way->live->options->printer;
	way->sink.connection = way->label;
	inspect_run(&way->reader, &options, &sink, &way->result);
	if (way->result.verdict != INSPECT_WHOLE) {
		(void)pthread_mutex_lock(&way->live->lock);
		way->live->odd = true;
		(void)pthread_mutex_unlock(&way->live->lock);
		way->live->options->result(way->label, &way->result);
	}
	source_file_drain(&way->file);
}

/* What the target says: QEMU's return path, or Holdfast's other direction. */
static void *answer(void *self)
{
	struct connection *connection = self;
	struct way *way = &connection->back;
	const uint8_t *bytes;

	way_init(way, connection->live, connection->target_fd, connection->source_fd);
	(void)snprintf(way->label, sizeof(way->label), "%u:%s", connection->number,
		       connection->kind == INSPECT_HOLDFAST ? "answers" : "return");
	if (reader_peek(&way->reader, 1, &bytes) == 1)
		way_run(way,
			connection->kind == INSPECT_HOLDFAST ? INSPECT_HOLDFAST : INSPECT_RETURN);
	(void)shutdown(connection->source_fd, way->file.forward_error ? SHUT_RDWR : SHUT_WR);
	return NULL;
}

/* ---- connections --------------------------------------------------------------------------- */

static enum inspect_kind recognise(const uint8_t *bytes, size_t n, bool main_seen)
{
	if (n == 4 && be32(bytes) == 0x5145564d)
		return INSPECT_MAIN;
	if (n == 4 && be32(bytes) == 0x11223344)
		return INSPECT_MULTIFD;
	if (n == 4 && memcmp(bytes, "HOLD", 4) == 0)
		return INSPECT_HOLDFAST;
	return main_seen ? INSPECT_PREEMPT : INSPECT_AUTO;
}

/*
 * Decides what a connection is; returns whether it is the one that all others belong to. The
 * pre-empt channel says nothing for long: whether the main one is there is asked when it speaks.
 */
static bool claim(struct connection *connection)
{
	struct live *live = connection->live;
	const uint8_t *bytes;
	size_t n = reader_peek(&connection->forward.reader, 4, &bytes);
	bool is_main;

	(void)pthread_mutex_lock(&live->lock);
	connection->kind = recognise(bytes, n, live->main_seen);
	is_main = connection->kind != INSPECT_MULTIFD && connection->kind != INSPECT_PREEMPT &&
		  !(connection->kind == INSPECT_HOLDFAST && live->main_seen);
	live->main_seen |= is_main;
	(void)pthread_mutex_unlock(&live->lock);
	(void)snprintf(connection->forward.label, sizeof(connection->forward.label), "%u:%s",
		       connection->number, inspect_kind_name(connection->kind));
	return is_main;
}

static void *carry(void *self)
{
	struct connection *connection = self;
	struct way *way = &connection->forward;
	const uint64_t one = 1;
	bool is_main;

	way_init(way, connection->live, connection->source_fd, connection->target_fd);
	is_main = claim(connection);
	if (connection->target_fd >= 0 && is_main)
		connection->answering =
			pthread_create(&connection->answer_thread, NULL, answer, connection) == 0;
	way_run(way, connection->kind);
	if (connection->target_fd >= 0)
		(void)shutdown(connection->target_fd, SHUT_WR);
	if (way->file.forward_error) /* the source must learn that nobody takes it */
		(void)shutdown(connection->source_fd, SHUT_RDWR);
	if (connection->answering)
		(void)pthread_join(connection->answer_thread, NULL);
	if (is_main && write(connection->live->ended_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd takes a one */
	return NULL;
}

static void connection_free(struct connection *connection)
{
	(void)close(connection->source_fd);
	if (connection->target_fd >= 0)
		(void)close(connection->target_fd);
	free(connection);
}

static int no_memory(struct hf_error *err)
{
	memset(err, 0, sizeof(*err));
	err->code = HF_E_NO_MEMORY;
	(void)snprintf(err->text, sizeof(err->text), "another connection: no memory or thread");
	return err->code;
}

/* Takes the descriptor. The target is connected in the order in which the source connected. */
static int connection_new(struct live *live, int fd, struct hf_error *err)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int r = 0;

	if (!connection) {
		(void)close(fd);
		return no_memory(err);
	}
	connection->live = live;
	connection->number = live->count;
	connection->source_fd = fd;
	connection->target_fd = -1;
	if (live->options->forward)
		r = connection->target_fd = socket_connect(live->options->forward, err);
	if (r >= 0 && pthread_create(&connection->thread, NULL, carry, connection) != 0)
		r = no_memory(err);
	if (r < 0) {
		connection_free(connection);
		return r;
	}
	live->connections[live->count++] = connection;
	return 0;
}

static int accept_all(struct live *live, int listen_fd, struct hf_error *err)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = live->ended_fd, .events = POLLIN },
					{ .fd = live->count < CONNECTIONS_MAX ? listen_fd : -1,
					  .events = POLLIN } };
		int fd, r;

		if (poll(fds, 2, -1) < 0) /* a signal; nothing else can be wrong */
			continue;
		if (fds[0].revents)
			return 0;
		if (!fds[1].revents)
			continue;
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue; /* it went away again */
		r = connection_new(live, fd, err);
		if (r < 0)
			return r;
	}
}

int live_run(const struct live_options *options, struct hf_error *err)
{
	struct live live = { .options = options };
	int fd = socket_listen(options->listen, err), r;

	if (fd < 0)
		return fd;
	live.ended_fd = eventfd(0, EFD_CLOEXEC);
	if (live.ended_fd < 0) {
		socket_unlisten(options->listen, fd);
		return no_memory(err);
	}
	(void)pthread_mutex_init(&live.lock, NULL);
	options->listening(socket_port(fd));
	r = accept_all(&live, fd, err);
	socket_unlisten(options->listen, fd);
	for (uint32_t i = 0; i < live.count; i++) {
		if (r < 0) /* a part of it cannot be carried: all of it ends */
			(void)shutdown(live.connections[i]->source_fd, SHUT_RDWR);
		(void)pthread_join(live.connections[i]->thread, NULL);
		connection_free(live.connections[i]);
	}
	(void)close(live.ended_fd);
	(void)pthread_mutex_destroy(&live.lock);
	return r < 0 ? r : live.odd;
}
