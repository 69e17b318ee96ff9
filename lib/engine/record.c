/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flight recorder's pen. A slot is one pwrite() into a file whose room was taken at set-up: it
 * is the kernel's at once, and outlives the process. Not a mapping: whoever truncates a mapped
 * file, or a disk that fails under it, would kill the VMM, and the guest with it; a write only
 * fails.
 */
#include "engine/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/record.h>
#include <holdfast/version.h>

#include "base/error.h"
#include "base/time.h"
#include "engine/record-names.h"
#include "engine/session.h"

/* 1.5 MiB in all. In doubt a side decides about 15 times a second: the ring holds the last minute.
 */
#define DECISIONS_FIRST 256u
#define DECISIONS_RING 768u
#define CHATTER_FIRST 256u
#define CHATTER_RING 1792u

static const uint32_t area_first[RECORD_AREA_COUNT] = { DECISIONS_FIRST, CHATTER_FIRST };
static const uint32_t area_ring[RECORD_AREA_COUNT] = { DECISIONS_RING, CHATTER_RING };

#define FILE_BYTES                                                                                 \
	(RECORD_HEADER_BYTES + (uint64_t)RECORD_SLOT_BYTES * (DECISIONS_FIRST + DECISIONS_RING +   \
							      CHATTER_FIRST + CHATTER_RING))

/* ---- the file ------------------------------------------------------------------------------ */

/* A header's text is ASCII: a path, for one, need not be. */
static void take_text(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from);
	for (char *at = to; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
}

static void describe(const struct session *session, struct record_header *header)
{
	struct timespec now;

	memset(header, 0, sizeof(*header));
	header->role = session->config.role;
	header->flags = (session->config.paused ? RECORD_PAUSED : 0) |
			(session->config.restart ? RECORD_RESTART : 0);
	memcpy(header->first, area_first, sizeof(header->first));
	memcpy(header->ring, area_ring, sizeof(header->ring));
	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock */
	header->start_ns = time_now_ns();
	header->realtime_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
	if (session->config.restart) /* the migration that was cut off */
		memcpy(header->session, session->hello.session, sizeof(header->session));
	else if (session_is_source(session))
		memcpy(header->session, session->session_id, sizeof(header->session));
	take_text(header->software, sizeof(header->software), HF_VERSION_TEXT);
	take_text(header->guest, sizeof(header->guest), session->guest);
	take_text(header->side, sizeof(header->side), session->side);
	take_text(header->ledger, sizeof(header->ledger), session->ledger.uri);
	take_text(header->uri, sizeof(header->uri), session->uri);
	record_names_of(header->role, &header->names);
}

static int write_all(int fd, const uint8_t *bytes, size_t length, uint64_t at)
{
	while (length) {
		ssize_t done = pwrite(fd, bytes, length, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -ENOSPC;
		bytes += done;
		length -= (size_t)done;
		at += (uint64_t)done;
	}
	return 0;
}

/* Room for everything: no write behind it can find the disk full. Returns an errno. */
static int take_room(int fd)
{
	struct rlimit limit;

	/* Beyond the limit a file is not enlarged, and the process gets SIGXFSZ. */
	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return errno;
	if (limit.rlim_cur < FILE_BYTES)
		return EFBIG;
	return posix_fallocate(fd, 0, (off_t)FILE_BYTES);
}

int record_open(struct session *session, struct hf_error *err)
{
	const char *path = session->config.record;
	struct record_header header;
	uint8_t bytes[RECORD_HEADER_BYTES];
	int fd, cause;

	if (!path)
		return 0;
	describe(session, &header);
	if (!record_header_encode(&header, bytes))
		return error_set(err, HF_E_BUG, 0, "record: the header is too small");
	/* What an earlier failure has left behind is never written over. */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "record: %.180s", path);
	cause = take_room(fd);
	if (!cause)
		cause = -write_all(fd, bytes, sizeof(bytes), 0);
	if (cause) {
		(void)unlink(path); /* it was made here, and holds nothing */
		(void)close(fd);
		return error_set(err, HF_E_SYSTEM, cause, "record: %.180s", path);
	}
	session->recorder.fd = fd;
	return 0;
}

void record_close(struct session *session)
{
	if (session->recorder.fd >= 0)
		(void)close(session->recorder.fd); /* every slot was written when it was due */
	session->recorder.fd = -1;
}

/* ---- entries ------------------------------------------------------------------------------- */

static bool is_on(const struct session *session)
{
	return session->recorder.fd >= 0;
}

/*
 * Fills in what all entries have. A slot that cannot be written is a gap that the reader sees, and
 * the trace is told of the first one; that is no reason to fail a handover.
 */
static void put(struct session *session, enum record_area area, struct record_slot *slot)
{
	struct recorder *recorder = &session->recorder;
	uint32_t place = record_place(recorder->numbers[area], area_first[area], area_ring[area]);
	uint64_t at = RECORD_HEADER_BYTES;
	int code;

	slot->sequence = ++recorder->sequence;
	slot->number = recorder->numbers[area]++;
	if (!slot->time_ns)
		slot->time_ns = time_now_ns();
	if (area == RECORD_CHATTER)
		at += (uint64_t)RECORD_SLOT_BYTES * (DECISIONS_FIRST + DECISIONS_RING);
	at += (uint64_t)RECORD_SLOT_BYTES * place;
	record_slot_encode(slot, recorder->bytes);
	code = write_all(recorder->fd, recorder->bytes, sizeof(recorder->bytes), at);
	if (code == 0 || recorder->failed)
		return;
	recorder->failed = true;
	trace(session, HF_TRACE_UNRECORDED, "", (uint64_t)-code, 0, 0, 0);
}

void record_source(struct session *session, const struct source *was, enum source_event event,
		   const struct source_row *row, bool unexpected)
{
	struct record_slot slot = {
		.kind = HF_RECORDED_DECISION,
		.before = (uint8_t)was->state,
		.after = (uint8_t)session->source.state,
		.event = (uint8_t)event,
		.flags_before = record_source_flags(was),
		.flags_after = record_source_flags(&session->source),
		.marks = unexpected ? HF_RECORDED_UNEXPECTED : 0,
	};

	if (!is_on(session))
		return;
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX && row->actions[i] != SOURCE_A_NONE; i++)
		slot.actions[i] = (uint8_t)row->actions[i];
	put(session, RECORD_DECISIONS, &slot);
}

void record_target(struct session *session, const struct target *was, enum target_event event,
		   const struct target_row *row, bool unexpected)
{
	struct record_slot slot = {
		.kind = HF_RECORDED_DECISION,
		.before = (uint8_t)was->state,
		.after = (uint8_t)session->target.state,
		.event = (uint8_t)event,
		.flags_before = record_target_flags(was),
		.flags_after = record_target_flags(&session->target),
		.marks = unexpected ? HF_RECORDED_UNEXPECTED : 0,
	};

	if (!is_on(session))
		return;
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX && row->actions[i] != TARGET_A_NONE; i++)
		slot.actions[i] = (uint8_t)row->actions[i];
	put(session, RECORD_DECISIONS, &slot);
}

void record_dropped(struct session *session, uint32_t event, uint32_t happened_in, bool stale)
{
	struct record_slot slot = {
		.kind = HF_RECORDED_DROPPED,
		.before = (uint8_t)happened_in,
		.event = (uint8_t)event,
		.marks = stale ? HF_RECORDED_STALE : 0,
	};

	if (!is_on(session))
		return;
	slot.after = session_is_source(session) ? (uint8_t)session->source.state
						: (uint8_t)session->target.state;
	put(session, RECORD_DECISIONS, &slot);
}

/* Does it explain a decision? Then it is kept as long as decisions are. */
static enum record_area area_of(enum hf_trace_id id)
{
	switch (id) {
	case HF_TRACE_DEVICE_FAIL:
	case HF_TRACE_DEVICE_RESET:
	case HF_TRACE_LEDGER:
	case HF_TRACE_FAILED:
	case HF_TRACE_WAITING:
	case HF_TRACE_OUTCOME:
	case HF_TRACE_UNRECORDED:
		return RECORD_DECISIONS;
	case HF_TRACE_TRANSITION:
	case HF_TRACE_ROUND:
	case HF_TRACE_RECORD_SENT:
	case HF_TRACE_RECORD_RECV:
	case HF_TRACE_DEVICE_ARC:
	case HF_TRACE_DEVICE_BYTES:
	case HF_TRACE_MACHINE:
	case HF_TRACE_THROTTLE:
	case HF_TRACE_ESTIMATE:
	case HF_TRACE_PRIMED:
		return RECORD_CHATTER;
	}
	return RECORD_CHATTER;
}

void record_event(struct session *session, const struct hf_event *event)
{
	struct record_slot slot = {
		.kind = HF_RECORDED_EVENT,
		.time_ns = event->time_ns,
		.id = event->id,
	};

	/* A transition is a decision, which has its own entry. */
	if (!is_on(session) || event->id == HF_TRACE_TRANSITION)
		return;
	memcpy(slot.arg, event->arg, sizeof(slot.arg));
	memcpy(slot.text, event->text, strnlen(event->text, sizeof(slot.text)));
	put(session, area_of((enum hf_trace_id)event->id), &slot);
}

void record_peer(struct session *session, const uint8_t id[16], const char *side)
{
	struct record_slot slot = { .kind = HF_RECORDED_PEER };

	if (!is_on(session))
		return;
	for (uint32_t i = 0; i < 16; i++)
		slot.arg[i / 8] |= (uint64_t)id[i] << (8 * (i % 8));
	memcpy(slot.text, side, strnlen(side, HF_NAME_MAX));
	put(session, RECORD_DECISIONS, &slot);
}
