/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The runner: one check after another on a thread of its own, watched from outside, since an
 * operation of a device may never return.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/run.h"

/* clang-format off */
#define MUST CHECK_MUST
#define SHOULD CHECK_SHOULD
#define INFO CHECK_INFO
#define P2P CHECK_NEEDS_P2P
#define PRE CHECK_NEEDS_PRE
#define SIZE CHECK_NEEDS_SIZE
#define LOG CHECK_NEEDS_LOG
#define NOLOG CHECK_NEEDS_NOLOG
#define LESS CHECK_NEEDS_LESS
#define SECOND CHECK_NEEDS_SECOND
#define CONFIG CHECK_NEEDS_CONFIG
#define DANGER CHECK_NEEDS_DANGER
#define WORK CHECK_NEEDS_WORK
#define DMA CHECK_NEEDS_DMA
#define IRQ CHECK_NEEDS_IRQ
#define BEAT CHECK_NEEDS_BEAT
#define PEER CHECK_NEEDS_PEER
#define PENDING CHECK_NEEDS_PENDING
#define READ CHECK_NEEDS_READ
#define ROW(function, name, level, needs, source, sentence) { name, source, sentence, level, needs },
const struct check_row check_rows[] = { CHECK_LIST(ROW) };
#define FUNCTION(function, name, level, needs, source, sentence) check_##function,
static void (*const functions[])(struct check *c) = { CHECK_LIST(FUNCTION) };
/* clang-format on */

#define ROWS (sizeof(check_rows) / sizeof(check_rows[0]))
const uint32_t check_row_count = ROWS;

static bool in_group(const char *row, const char *name)
{
	size_t length = strlen(name);

	return strcmp(row, name) == 0 || (strncmp(row, name, length) == 0 && row[length] == '.');
}

bool check_is_name(const char *name)
{
	for (uint32_t i = 0; i < ROWS; i++)
		if (in_group(check_rows[i].name, name))
			return true;
	return false;
}

static bool chosen(const struct check_options *options, uint32_t row)
{
	for (uint32_t i = 0; i < options->only_count; i++)
		if (in_group(check_rows[row].name, options->only[i]))
			return true;
	return options->only_count == 0;
}

#define NOT_ITS_OWN (HF_DEVICE_DIRTY_SHARED | HF_DEVICE_DIRTY_ALL)

/* ---- what is missing ----------------------------------------------------------------------- */

static bool has_config(struct check *c)
{
	struct hf_region_info info = { 0 };

	return OPS(c)->region_info(SELF(c), 7, &info) == 0 && info.size >= 64;
}

/* Why the check cannot be asked here, or NULL. */
static const char *missing(struct check *c, uint32_t needs)
{
	const uint32_t driver = c->driver ? c->driver->can : 0;
	const bool logs = (c->info.flags & HF_DEVICE_HAS_DMA_LOGGING) != 0;

	if ((needs & CHECK_NEEDS_P2P) && !(c->flags & HF_MIG_P2P))
		return "it has no P2P states";
	if ((needs & CHECK_NEEDS_PRE) && !(c->flags & HF_MIG_PRE_COPY))
		return "it has no PRE_COPY";
	if ((needs & CHECK_NEEDS_SIZE) && !(c->info.flags & HF_DEVICE_HAS_DATA_SIZE))
		return "it does not say how large its stream is";
	if ((needs & CHECK_NEEDS_LOG) && !logs)
		return "it has no DMA logging";
	if ((needs & CHECK_NEEDS_LOG) && (c->info.flags & NOT_ITS_OWN))
		return "what it writes is not told by the device, but by the host";
	if ((needs & CHECK_NEEDS_NOLOG) && logs)
		return "it has DMA logging";
	if ((needs & CHECK_NEEDS_LESS) && c->flags == 7)
		return "it has all states";
	if ((needs & CHECK_NEEDS_CONFIG) && !has_config(c))
		return "it has no configuration space";
	if ((needs & CHECK_NEEDS_SECOND) && !c->options.second_uri)
		return "there is no second device (--second)";
	if ((needs & CHECK_NEEDS_DANGER) && !c->options.dangerous)
		return "may lock up a kernel that is not mended (--dangerous)";
	if ((needs & CHECK_NEEDS_DRIVER) && !c->driver)
		return "nothing here drives a device of this model";
	if ((needs & CHECK_NEEDS_DRIVER & ~driver) != 0)
		return "what drives this model here cannot do it";
	if ((needs & CHECK_NEEDS_PEER) && !(c->info.flags & HF_DEVICE_TAKES_P2P))
		return "memory here is no other device's to it"; /* only a map can say so */
	if ((needs & (CHECK_NEEDS_DMA | CHECK_NEEDS_BEAT | CHECK_NEEDS_PEER)) && !c->mapped)
		return "no memory could be mapped for its DMA";
	return NULL;
}

/* ---- one check ----------------------------------------------------------------------------- */

static void settle(struct check *c, const struct check_row *row, struct check_result *result)
{
	const struct check_quirk *quirk = check_quirk_of(&c->info, row->name);

	if (result->verdict != CHECK_FAIL)
		return;
	if (quirk) {
		result->verdict = CHECK_QUIRK;
		result->quirk = quirk->name;
	} else if (row->level != CHECK_MUST) {
		result->verdict = CHECK_WARN;
	}
}

static void run_one(struct check *c, uint32_t row, struct check_result *result)
{
	const char *why;
	uint64_t began;

	result->verdict = CHECK_PASS;
	c->result = result;
	c->random = 20260101 + row;
	c->whole.size = c->other.size = c->damaged.size = 0;
	if (!check_fresh(c)) {
		(void)check_fail(c, "it can be made to run neither by a reset nor by opening it");
	} else if ((why = missing(c, check_rows[row].needs)) != NULL) {
		(void)check_skip(c, "%s", why);
	} else {
		began = check_now_ns();
		functions[row](c);
		result->took_ns = check_now_ns() - began;
	}
	settle(c, &check_rows[row], result);
}

static void *run(void *arg)
{
	struct check *c = arg;

	for (uint32_t row = 0; row < ROWS; row++) {
		struct check_result result = { .verdict = CHECK_NOT_RUN };

		(void)pthread_mutex_lock(&c->lock);
		c->current = row;
		c->started_ns = check_now_ns();
		(void)pthread_mutex_unlock(&c->lock);
		if (chosen(&c->options, row))
			run_one(c, row, &result);
		(void)pthread_mutex_lock(&c->lock);
		c->results[row] = result;
		(void)pthread_cond_signal(&c->changed);
		(void)pthread_mutex_unlock(&c->lock);
	}
	if (c->device.ops)
		(void)OPS(c)->reset(SELF(c)); /* how it is left; its own checks have judged that */
	check_detach(c);
	(void)pthread_mutex_lock(&c->lock);
	c->done = true;
	(void)pthread_cond_signal(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- watching ------------------------------------------------------------------------------ */

/* True: all checks have returned. */
static bool watch(struct check *c)
{
	const uint64_t deadline_ns = c->options.deadline_ms * 1000000ull;
	bool in_time = true;

	(void)pthread_mutex_lock(&c->lock);
	while (!c->done && in_time) {
		uint64_t until = c->started_ns + deadline_ns;
		struct timespec at = { .tv_sec = (time_t)(until / 1000000000ull),
				       .tv_nsec = (long)(until % 1000000000ull) };

		if (pthread_cond_timedwait(&c->changed, &c->lock, &at) == ETIMEDOUT)
			in_time = check_now_ns() < c->started_ns + deadline_ns || c->done;
	}
	(void)pthread_mutex_unlock(&c->lock);
	return in_time;
}

/*
 * The check at hand has not returned, and never may: its thread and all it uses stay behind. That
 * is a failure whatever the check asked.
 */
static void give_up(struct check *c, struct check_report *report)
{
	(void)pthread_mutex_lock(&c->lock);
	memcpy(report->results, c->results, ROWS * sizeof(report->results[0]));
	for (uint32_t row = c->current; row < ROWS; row++) {
		struct check_result *result = &report->results[row];

		if (!chosen(&c->options, row))
			continue;
		result->verdict = row == c->current ? CHECK_FAIL : CHECK_SKIP;
		(void)snprintf(result->text, sizeof(result->text),
			       row == c->current ? "an operation has not returned within %u ms"
						 : "a check before it has not returned (%u ms)",
			       c->options.deadline_ms);
	}
	(void)pthread_mutex_unlock(&c->lock);
	report->hung = true;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void sum_up(struct check *c, struct check_report *report)
{
	for (uint32_t from = 0; from < HF_DEVICE_STATE_COUNT; from++) {
		for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT; to++) {
			struct check_samples *s = c->samples[from][to];

			if (!s)
				continue;
			qsort(s->ns, s->count, sizeof(s->ns[0]), by_number);
			report->arcs[from][to] =
				(struct check_arc_times){ s->count, s->ns[0], s->ns[s->count / 2],
							  s->ns[(uint64_t)s->count * 99 / 100] };
		}
	}
	report->save_bytes = c->save_bytes;
	report->save_ns = c->save_ns;
	report->load_bytes = c->load_bytes;
	report->load_ns = c->load_ns;
	memcpy(report->results, c->results, ROWS * sizeof(report->results[0]));
}

/* ---- the whole ----------------------------------------------------------------------------- */

static void check_free(struct check *c)
{
	for (uint32_t from = 0; from < HF_DEVICE_STATE_COUNT; from++)
		for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT; to++)
			free(c->samples[from][to]);
	check_memory_free(c);
	free(c->whole.data);
	free(c->other.data);
	free(c->damaged.data);
	free(c->results);
	(void)pthread_cond_destroy(&c->changed);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct check *check_new(const struct check_options *options)
{
	struct check *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	c->results = calloc(ROWS, sizeof(c->results[0]));
	c->options = *options;
	if (!c->options.deadline_ms)
		c->options.deadline_ms = CHECK_DEADLINE_MS;
	c->started_ns = check_now_ns();
	(void)pthread_mutex_init(&c->lock, NULL); /* these cannot fail on Linux */
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	if (!c->results) {
		check_free(c);
		return NULL;
	}
	return c;
}

static int meet(struct check *c, struct hf_error *err)
{
	struct check_result unused = { .verdict = CHECK_PASS };

	if (!check_attach(c, err))
		return err->code;
	if (OPS(c)->info(SELF(c), &c->info) < 0) {
		*err = (struct hf_error){ .code = HF_E_DEVICE_LOST,
					  .text = "the device does not say what it is" };
		return err->code;
	}
	c->info.kind[sizeof(c->info.kind) - 1] = 0;
	c->info.name[sizeof(c->info.name) - 1] = 0;
	c->info.compat[sizeof(c->info.compat) - 1] = 0;
	if (!c->info.mig_flags) {
		*err = (struct hf_error){ .code = HF_E_UNSUPPORTED,
					  .text = "the device cannot be migrated" };
		return err->code;
	}
	/* What is unknown is judged by info.flags. */
	c->flags = (c->info.mig_flags & 7u) | HF_MIG_STOP_COPY;
	c->result = &unused;
	c->driver = check_driver_of(c);
	return 0;
}

int check_run(const struct check_options *options, struct check_report *report,
	      struct hf_error *err)
{
	struct check *c = check_new(options);
	pthread_t thread;
	int r;

	memset(report, 0, sizeof(*report));
	report->results = calloc(ROWS, sizeof(report->results[0]));
	*err = (struct hf_error){ 0 };
	if (!c || !report->results)
		*err = (struct hf_error){ .code = HF_E_NO_MEMORY, .text = "checking a device" };
	r = err->code ? err->code : meet(c, err);
	if (r == 0 && (errno = pthread_create(&thread, NULL, run, c)) != 0) {
		*err = (struct hf_error){ .code = HF_E_SYSTEM, .cause = errno, .text = "a thread" };
		r = err->code;
	}
	if (r < 0) {
		if (c) {
			check_detach(c);
			check_free(c);
		}
		check_report_done(report);
		return r;
	}
	report->info = c->info;
	report->driver = c->driver ? c->driver->name : NULL;
	(void)snprintf(report->uri, sizeof(report->uri), "%s", options->uri);
	if (watch(c)) {
		(void)pthread_join(thread, NULL);
		sum_up(c, report);
		check_free(c);
	} else {
		(void)pthread_detach(thread);
		give_up(c, report);
	}
	for (uint32_t row = 0; row < ROWS; row++)
		report->verdicts[report->results[row].verdict]++;
	return 0;
}

void check_report_done(struct check_report *report)
{
	free(report->results);
	report->results = NULL;
}
