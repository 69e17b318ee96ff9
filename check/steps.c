/* SPDX-License-Identifier: BSD-3-Clause */
/* What checks are made of: requests, streams, loads. Each says what was wrong, in one sentence. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/run.h"

#define READ_LARGE (1u << 20)
#define SMALL_READS 4096u /* how many pieces of an odd size are enough */

uint64_t check_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

uint64_t check_random(struct check *c)
{
	c->random = c->random * 6364136223846793005ull + 1442695040888963407ull;
	return c->random >> 24;
}

/* ---- verdicts ------------------------------------------------------------------------------ */

static bool judge(struct check *c, enum check_verdict verdict, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static bool judge(struct check *c, enum check_verdict verdict, const char *format, va_list args)
{
	if (c->result->verdict == CHECK_PASS) { /* the first thing is the cause of the others */
		c->result->verdict = verdict;
		(void)vsnprintf(c->result->text, sizeof(c->result->text), format, args);
	}
	return false;
}

bool check_fail(struct check *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)judge(c, CHECK_FAIL, format, args);
	va_end(args);
	return false;
}

bool check_skip(struct check *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)judge(c, CHECK_SKIP, format, args);
	va_end(args);
	return false;
}

const char *check_errno(ssize_t number)
{
	static _Thread_local char text[32];
	const char *name = number < 0 ? strerrorname_np((int)-number) : NULL;

	if (name)
		return name;
	(void)snprintf(text, sizeof(text), number > 0 ? "%zd bytes" : "%zd", number);
	return text;
}

/* ---- states -------------------------------------------------------------------------------- */

bool check_has(const struct check *c, uint32_t state)
{
	return hf_device_has_state(c->flags, state);
}

bool check_legal(const struct check *c, uint32_t from, uint32_t to)
{
	return check_has(c, from) && check_has(c, to) &&
	       !(from == HF_DEVICE_STOP_COPY &&
		 (to == HF_DEVICE_PRE_COPY || to == HF_DEVICE_PRE_COPY_P2P));
}

uint32_t check_state(struct check *c)
{
	uint32_t state = UINT32_MAX;

	return OPS(c)->get_state(SELF(c), &state) < 0 ? UINT32_MAX : state;
}

static const char *name_of(uint32_t state)
{
	return state == UINT32_MAX ? "(GET fails)" : hf_device_state_name(state);
}

bool check_stands(struct check *c, uint32_t state, const char *when)
{
	uint32_t now = check_state(c);

	return now == state || check_fail(c, "%s it stands in %s instead of %s", when, name_of(now),
					  name_of(state));
}

int check_set(struct check *c, uint32_t to)
{
	uint32_t from = check_state(c);
	uint64_t began = check_now_ns();
	int r = OPS(c)->set_state(SELF(c), to);
	uint64_t took = check_now_ns() - began;
	struct check_samples **samples;

	if (r < 0 || from >= HF_DEVICE_STATE_COUNT || to >= HF_DEVICE_STATE_COUNT || from == to)
		return r;
	samples = &c->samples[from][to];
	if (!*samples)
		*samples = calloc(1, sizeof(**samples));
	if (*samples && (*samples)->count < CHECK_SAMPLES_MAX)
		(*samples)->ns[(*samples)->count++] = took;
	return r;
}

bool check_go(struct check *c, uint32_t to)
{
	uint32_t from = check_state(c);
	int r = check_set(c, to);
	uint32_t now = check_state(c);

	if (r == 0 && now == to)
		return true;
	if (r == 0)
		return check_fail(c, "%s -> %s succeeded, but it stands in %s", name_of(from),
				  name_of(to), name_of(now));
	return check_fail(c, "%s -> %s gave %s; it stands in %s", name_of(from), name_of(to),
			  check_errno(r), name_of(now));
}

bool check_reset(struct check *c)
{
	uint32_t from = check_state(c);
	int r = OPS(c)->reset(SELF(c));

	if (r < 0)
		return check_fail(c, "a reset in %s gave %s", name_of(from), check_errno(r));
	from = check_state(c);
	return from == HF_DEVICE_RUNNING ||
	       check_fail(c, "after a reset it stands in %s", name_of(from));
}

bool check_refused(struct check *c, uint32_t to)
{
	uint32_t from = check_state(c);
	int r = OPS(c)->set_state(SELF(c), to);
	uint32_t now = check_state(c);

	if (r >= 0)
		return check_fail(c, "in %s a SET to %" PRIu32 " (%s) succeeded", name_of(from), to,
				  name_of(to));
	return now == from || check_fail(c,
					 "in %s a SET to %" PRIu32 " (%s) was refused, but now "
					 "it stands in %s",
					 name_of(from), to, name_of(to), name_of(now));
}

/* ---- streams ------------------------------------------------------------------------------- */

bool check_put(struct check_bytes *b, const void *from, size_t size)
{
	if (size > b->capacity - b->size) {
		size_t capacity = (b->size + size) * 2;
		uint8_t *data = realloc(b->data, capacity);

		if (!data)
			return false;
		b->data = data;
		b->capacity = capacity;
	}
	memcpy(b->data + b->size, from, size);
	b->size += size;
	return true;
}

bool check_same(struct check *c, const struct check_bytes *a, const struct check_bytes *b,
		const char *what)
{
	size_t at = 0;

	if (a->size != b->size)
		return check_fail(c, "%s: %zu bytes instead of %zu", what, b->size, a->size);
	while (at < a->size && a->data[at] == b->data[at])
		at++;
	return at == a->size || check_fail(c, "%s: byte %zu of %zu is 0x%02x instead of 0x%02x",
					   what, at, a->size, b->data[at], a->data[at]);
}

bool check_read(struct check *c, struct check_bytes *to, size_t chunk, uint64_t limit)
{
	const uint64_t began = check_now_ns();
	uint8_t *buf = malloc(READ_LARGE + 1);
	uint64_t done = 0;
	bool good = buf != NULL || check_skip(c, "too little memory");

	for (uint64_t i = 0; good && done < limit; i++) {
		size_t size = i < SMALL_READS && chunk <= READ_LARGE ? chunk : READ_LARGE;
		ssize_t n;

		if (size > limit - done)
			size = (size_t)(limit - done);
		n = OPS(c)->read_data(SELF(c), buf, size);
		if (n == 0 || (n == -ENOMSG && check_state(c) != HF_DEVICE_STOP_COPY))
			break;
		if (n == -ENOMSG)
			good = check_fail(c,
					  "after %" PRIu64 " bytes in STOP_COPY read gave "
					  "ENOMSG",
					  done);
		else if (n < 0)
			good = check_fail(c, "after %" PRIu64 " bytes read gave %s", done,
					  check_errno(n));
		else if ((size_t)n > size)
			good = check_fail(c, "a read of %zu bytes gave %zd", size, n);
		else if (to->size + (size_t)n > CHECK_STREAM_MAX)
			good = check_skip(c, "its state is larger than 1 GiB");
		else if (!check_put(to, buf, (size_t)n))
			good = check_skip(c, "too little memory for its state");
		else
			done += (uint64_t)n;
	}
	free(buf);
	if (good && chunk == READ_LARGE && limit == UINT64_MAX) {
		c->save_bytes += done;
		c->save_ns += check_now_ns() - began;
	}
	return good;
}

bool check_read_nothing(struct check *c, const char *when)
{
	uint8_t buf[64];
	ssize_t n = OPS(c)->read_data(SELF(c), buf, sizeof(buf));

	return n < 0 || check_fail(c, "%s a read gave %s", when, check_errno(n));
}

bool check_save(struct check *c, struct check_bytes *to)
{
	return check_go(c, HF_DEVICE_STOP_COPY) && check_read(c, to, READ_LARGE, UINT64_MAX);
}

int check_write(struct check *c, const struct check_bytes *from, size_t chunk)
{
	const uint64_t began = check_now_ns();
	size_t done = 0;

	for (uint64_t i = 0; done < from->size; i++) {
		size_t size = i < SMALL_READS && chunk <= READ_LARGE ? chunk : READ_LARGE;
		ssize_t n;

		if (size > from->size - done)
			size = from->size - done;
		n = OPS(c)->write_data(SELF(c), from->data + done, size);
		if (n < 0)
			return (int)n;
		if (n == 0 || (size_t)n > size)
			return -EPROTO;
		done += (size_t)n;
	}
	if (chunk == READ_LARGE) {
		c->load_bytes += done;
		c->load_ns += check_now_ns() - began;
	}
	return 0;
}

bool check_load(struct check *c, const struct check_bytes *from, size_t chunk)
{
	int r;

	if (!check_go(c, HF_DEVICE_RESUMING))
		return false;
	r = check_write(c, from, chunk);
	if (r < 0)
		return check_fail(c, "loading %zu bytes that it has saved: write gave %s",
				  from->size, check_errno(r));
	return check_go(c, HF_DEVICE_STOP);
}

bool check_load_refused(struct check *c, const struct check_bytes *from, const char *what)
{
	uint32_t now;
	int r;

	if (!check_go(c, HF_DEVICE_RESUMING))
		return false;
	r = check_write(c, from, READ_LARGE);
	if (r == 0 && check_set(c, HF_DEVICE_STOP) == 0)
		return check_fail(c, "a stream that %s was loaded", what);
	now = check_state(c);
	if (now != HF_DEVICE_RESUMING && now != HF_DEVICE_STOP && now != HF_DEVICE_ERROR)
		return check_fail(c, "a stream that %s was refused, but it stands in %s", what,
				  name_of(now));
	return check_reset(c);
}

bool check_work(struct check *c)
{
	if (!c->driver || !(c->driver->can & CHECK_NEEDS_WORK))
		return true;
	for (uint32_t i = 0; i < 3; i++)
		if (!c->driver->work(c, CHECK_WORK_IOVA + i * HF_PAGE_SIZE, 256))
			return false;
	return true;
}

bool check_sample(struct check *c, struct check_bytes *to)
{
	return check_work(c) && check_save(c, to) && check_reset(c);
}

bool check_loads_same(struct check *c, const struct check_bytes *stream,
		      const struct check_bytes *wanted)
{
	c->other.size = 0;
	return check_reset(c) && check_load(c, stream, READ_LARGE) && check_save(c, &c->other) &&
	       check_same(c, wanted, &c->other, "saved again after the load");
}

uint32_t check_open_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint32_t count = 0;

	if (!folder)
		return 0;
	while (readdir(folder))
		count++;
	(void)closedir(folder);
	return count;
}
