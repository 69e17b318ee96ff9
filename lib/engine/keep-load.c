/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that an earlier process of this host has kept (keep.c), taken up again: read and checked
 * at set-up like a stream from a peer, set into fresh devices and a fresh machine once the ledger
 * has said that the guest is ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/export.h"
#include "engine/actions.h"

#define WHOLE "control"

/* What take_record() returns behind the last record that matters. */
#define AT_END 1

typedef int (*kept_record_fn)(void *ctx, struct frame *frame, struct hf_error *err);

static int damaged(const char *dir, const char *what, struct hf_error *err)
{
	return error_set(err, HF_E_STREAM_DAMAGED, 0, "kept in %.150s: %s", dir, what);
}

/* Each record of "control" in its order, until each() returns something else than 0. */
static int walk_control(int dir_fd, const char *dir, struct frame *frame, kept_record_fn each,
			void *ctx, struct hf_error *err)
{
	_cleanup_close_ int fd = openat(dir_fd, WHOLE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t bytes[16384];
	ssize_t got = 0;

	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "kept in %.150s: " WHOLE, dir);
	frame_init(frame, WIRE_TO_TARGET);
	while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
		for (size_t at = 0, consumed; at < (size_t)got; at += consumed) {
			int code = frame_push(frame, bytes + at, (size_t)got - at, &consumed);

			if (code < 0)
				return damaged(dir, frame->why ? frame->why : "not a stream", err);
			code = code == FRAME_MORE ? 0 : each(ctx, frame, err);
			if (code)
				return code;
		}
	}
	if (got < 0)
		return error_set(err, HF_E_SYSTEM, errno, "kept in %.150s: " WHOLE, dir);
	return damaged(dir, WHOLE " ends too early", err);
}

static int take_hello(struct session *session, struct hf_error *err)
{
	struct rec_hello *hello = &session->hello;

	if (rec_hello_decode(session->frame.body, session->frame.record.length, hello) < 0)
		return damaged(session->keep, "HELLO does not decode", err);
	if (strcmp(hello->guest, session->guest) != 0 || strcmp(hello->side, session->side) != 0)
		return error_set(err, HF_E_MISMATCH, 0,
				 "kept in %.60s is guest \"%s\" of side %s, not \"%s\" of %s",
				 session->keep, hello->guest, hello->side, session->guest,
				 session->side);
	if (strcmp(hello->ledger, session->ledger.uri) != 0)
		return error_set(err, HF_E_LEDGER_UNEQUAL, 0,
				 "the guest kept in %.60s is in the ledger %.80s, not in %.80s",
				 session->keep, hello->ledger, session->ledger.uri);
	if (hello->region_count != session->region_count ||
	    hello->device_count != session->device_count)
		return error_set(err, HF_E_MISMATCH, 0,
				 "the guest kept in %.60s has %u memory regions and %u devices, "
				 "not %u and %u",
				 session->keep, hello->region_count, hello->device_count,
				 session->region_count, session->device_count);
	session->config.paused = hello->flags & REC_HELLO_PAUSED;
	session->epoch = hello->epoch;
	return 0;
}

static int take_end(struct session *session, struct hf_error *err)
{
	if (rec_end_decode(session->frame.body, session->frame.record.length, &session->end) < 0 ||
	    session->end.digest != XXH3_64bits_digest(session->control_digest))
		return damaged(session->keep, "its digest does not match", err);
	if (session->end.config_records + session->end.machine_sections != session->arena.count)
		return damaged(session->keep, "sections of its state are missing", err);
	return 0;
}

static int take_record(void *ctx, struct frame *frame, struct hf_error *err)
{
	struct session *session = ctx;

	if (!frame->started || frame->record.type != REC_END)
		(void)XXH3_64bits_update(session->control_digest, frame->raw, frame->raw_length);
	switch (frame->record.type) {
	case REC_HELLO:
		return take_hello(session, err);
	case REC_REGIONS:
	case REC_DEVICES:
	case REC_SHAPE:
		return greet_check(session, err);
	case REC_DEVICE_CONFIG:
	case REC_MACHINE_STATE:
		return state_take(session, err);
	case REC_END:
		return take_end(session, err);
	case REC_GO:
		return AT_END;
	default:
		return 0; /* the stream header, KEEPALIVE */
	}
}

int keep_boot_id(char ret_id[KEEP_BOOT_BYTES], struct hf_error *err)
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, ret_id, KEEP_BOOT_BYTES) != (ssize_t)KEEP_BOOT_BYTES)
		return error_set(err, HF_E_SYSTEM, errno, "/proc/sys/kernel/random/boot_id");
	return 0;
}

static int check_boot(int dir_fd, const char *dir, struct hf_error *err)
{
	_cleanup_close_ int fd = openat(dir_fd, KEEP_BOOT, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char now[KEEP_BOOT_BYTES], then[KEEP_BOOT_BYTES];
	int code = keep_boot_id(now, err);

	if (code < 0)
		return code;
	if (fd < 0 || read(fd, then, sizeof(then)) != (ssize_t)sizeof(then))
		return error_set(err, HF_E_STREAM_DAMAGED, 0, "kept in %.150s: " KEEP_BOOT, dir);
	if (memcmp(now, then, sizeof(now)) != 0)
		return error_set(err, HF_E_STREAM_DAMAGED, 0,
				 "kept in %.120s before this host was booted: the guest's memory "
				 "is not of that moment any more; remove " WHOLE " there",
				 dir);
	return 0;
}

int keep_load_init(struct session *session, struct hf_error *err)
{
	int code = check_boot(session->keep_dir_fd, session->keep, err);

	if (code == 0)
		code = walk_control(session->keep_dir_fd, session->keep, &session->frame,
				    take_record, session, err);
	if (code < 0)
		return code;
	(void)error_set(&session->error, HF_E_CONNECTION_LOST, 0,
			"the process that handed the guest over has ended");
	session->error_is_link = true; /* a better reason may be in the ledger */
	session->alone.go_sent = true; /* or not: nobody knows */
	for (uint32_t i = 0; i < session->device_count; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "device-%u", i);
		session->slots[i].keep_fd =
			openat(session->keep_dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (session->slots[i].keep_fd < 0)
			return error_set(err, HF_E_SYSTEM, errno, "kept in %.150s: %s",
					 session->keep, name);
	}
	return 0;
}

/* ---- a device's stream ------------------------------------------------------------------------
 */

static int read_all(struct session *session, uint32_t index, void *buf, size_t length,
		    struct hf_error *err)
{
	for (size_t at = 0; at < length;) {
		ssize_t got = read(session->slots[index].keep_fd, (uint8_t *)buf + at, length - at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set(err, HF_E_SYSTEM, errno, "kept in %.150s: device-%u",
					 session->keep, index);
		if (got == 0)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "kept in %.150s: device-%u ends too early", session->keep,
					 index);
		at += (size_t)got;
	}
	return 0;
}

static int broken(const struct session *session, uint32_t index, const char *what,
		  struct hf_error *err)
{
	return error_set(err, HF_E_STREAM_DAMAGED, 0, "kept in %.120s: device-%u: %s",
			 session->keep, index, what);
}

static int load_data(struct session *session, uint32_t index, const struct rec_header *header,
		     struct hf_error *err)
{
	struct device_slot *slot = &session->slots[index];
	uint8_t fixed[REC_DEVICE_DATA_FIXED];
	struct rec_device_data data;
	int code;

	if (header->length < sizeof(fixed) || header->length > sizeof(fixed) + DEVICE_CHUNK_BYTES)
		return broken(session, index, "a record of a wrong length", err);
	code = read_all(session, index, fixed, sizeof(fixed), err);
	if (code < 0)
		return code;
	if (rec_device_data_decode(fixed, sizeof(fixed), header->length, &data) < 0 ||
	    data.device != index || data.sequence != slot->sequence)
		return broken(session, index, "DEVICE_DATA out of order", err);
	code = read_all(session, index, slot->buffer, data.data_length, err);
	if (code == 0)
		code = read_all(session, index, fixed, rec_padding(data.data_length), err);
	if (code < 0)
		return code;
	(void)XXH3_64bits_update(slot->digest, slot->buffer, data.data_length);
	slot->sequence++;
	slot->bytes += data.data_length;
	if (!data.data_length)
		return 0;
	code = device_write(&slot->device, slot->buffer, data.data_length, err);
	return code < 0 ? error_prepend(err, "kept in %.120s: device-%u", session->keep, index) : 0;
}

static int load_end(struct session *session, uint32_t index, const struct rec_header *header,
		    struct hf_error *err)
{
	struct device_slot *slot = &session->slots[index];
	struct rec_device_end end;
	uint8_t body[64];
	int code;

	if (header->length > sizeof(body))
		return broken(session, index, "DEVICE_END is too long", err);
	code = read_all(session, index, body, header->length, err);
	if (code < 0)
		return code;
	if (rec_device_end_decode(body, header->length, &end) < 0 || end.device != index ||
	    end.records != slot->sequence || end.bytes != slot->bytes ||
	    end.digest != XXH3_64bits_digest(slot->digest))
		return broken(session, index, "its length or digest does not match", err);
	return 0;
}

static int run_load(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];

	slot->sequence = 0;
	slot->bytes = 0;
	(void)XXH3_64bits_reset(slot->digest);
	if (lseek(slot->keep_fd, 0, SEEK_SET) < 0)
		return error_set(&job->err, HF_E_SYSTEM, errno, "kept in %.150s: device-%u",
				 session->keep, job->index);
	for (;;) {
		uint8_t bytes[REC_HEADER_BYTES];
		struct rec_header header;
		int code = read_all(session, job->index, bytes, sizeof(bytes), &job->err);

		if (code < 0)
			return code;
		header = rec_header_decode(bytes);
		if (header.type == REC_DEVICE_END)
			return load_end(session, job->index, &header, &job->err);
		if (header.type != REC_DEVICE_DATA)
			return broken(session, job->index, "a record that is not a device's",
				      &job->err);
		code = load_data(session, job->index, &header, &job->err);
		if (code < 0)
			return code;
	}
}

/* ---- the order of it: as at a target -----------------------------------------------------------
 */

static void restore_done(struct session *session)
{
	session->error = session->restored_error;
	session->restored(session);
}

static void restore_run(struct session *session)
{
	devices_ask(session, DEVICE_GOAL_RUNNING_P2P, restore_done);
}

static void restore_p2p(struct session *session)
{
	keep_drop_then(session, restore_run);
}

static void restore_machine(struct session *session)
{
	machine_load(session, restore_p2p);
}

static void restore_stop(struct session *session)
{
	devices_ask(session, DEVICE_GOAL_STOP, restore_machine);
}

static void restore_data(struct session *session)
{
	phase_begin(session, &session->main, restore_stop);
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct job job = { .run = run_load, .done = phase_job_done, .index = i };

		phase_submit(session, &session->main, &session->slots[i].worker, &job);
	}
	phase_release(session, &session->main);
}

static void restore_resuming(struct session *session)
{
	devices_ask(session, DEVICE_GOAL_RESUMING, restore_data);
}

void keep_restore(struct session *session, void (*then)(struct session *))
{
	session->restored = then;
	session->restored_error = session->error;
	error_clear(&session->error);
	phase_begin(session, &session->main, restore_resuming);
	machine_check(session, &session->main);
	phase_release(session, &session->main);
}

/* ---- what is there -----------------------------------------------------------------------------
 */

static int only_hello(void *ctx, struct frame *frame, struct hf_error *err)
{
	struct rec_hello *hello = ctx;

	if (frame->record.type != REC_HELLO)
		return 0;
	if (rec_hello_decode(frame->body, frame->record.length, hello) < 0)
		return error_set(err, HF_E_STREAM_DAMAGED, 0, "HELLO does not decode");
	return AT_END;
}

HF_EXPORT int hf_kept_read(const char *dir, struct hf_kept *kept, struct hf_error *err)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ struct frame *frame = malloc(sizeof(*frame));
	struct rec_hello hello = { 0 };
	struct hf_kept now = { .size = kept->size };
	int code;

	if (kept->size < sizeof(uint32_t))
		return error_set(err, HF_E_INVALID, 0, "kept: size is not set");
	if (!frame)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "a record's buffer");
	if (dir_fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "%.200s", dir);
	if (faccessat(dir_fd, WHOLE, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0
				       : error_set(err, HF_E_SYSTEM, errno, "%.180s/" WHOLE, dir);
	code = check_boot(dir_fd, dir, err);
	if (code == 0)
		code = walk_control(dir_fd, dir, frame, only_hello, &hello, err);
	if (code < 0)
		return code;
	now.paused = hello.flags & REC_HELLO_PAUSED ? 1 : 0;
	now.epoch = hello.epoch;
	memcpy(now.guest, hello.guest, sizeof(now.guest));
	memcpy(now.side, hello.side, sizeof(now.side));
	memcpy(now.ledger, hello.ledger, sizeof(now.ledger));
	memcpy(kept, &now, kept->size < sizeof(now) ? kept->size : sizeof(now));
	return 1;
}
