/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's rounds. A round sends the dirty pages, then asks everyone who writes guest memory
 * (vCPUs by the memory's source, devices by their DMA logs) what became dirty meanwhile, and lets
 * core/policy.h decide. The last round, with everything stopped, is part of DRAINING.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"

#define POLL_NS (20 * NS_PER_MS)
#define LAST_LOOK_SLACK_US 200000u

/* Below this a round says little about the link: the rate that was measured before stands. */
#define MEASURE_BYTES_MIN (4ull << 20)

/* With less than this dirty, rounds that follow each other at once would only burn both CPUs. */
#define REST_PAGES 256u
#define PROBE_NS NS_PER_S /* a rate this old is measured anew, if that is what does not fit */
#define PROBE_PAGES 4096u

int precopy_init(struct session *session, struct hf_error *err)
{
	struct precopy *precopy = &session->precopy;

	for (uint32_t i = 0; i < session->region_count; i++) {
		uint64_t pages = session->regions[i].size >> HF_PAGE_SHIFT;

		precopy->region_chunks[i] = (pages + CHUNK_PAGES - 1) / CHUNK_PAGES;
		precopy->chunk_count += precopy->region_chunks[i];
		precopy->dirty[i] = session_alloc(session, bitmap_bytes(pages));
		if (!precopy->dirty[i])
			return error_set(err, HF_E_NO_MEMORY, ENOMEM, "bitmap of region %u", i);
		bitmap_set_range(precopy->dirty[i], 0, pages);
		for (uint32_t k = 0; k < session->device_count; k++) {
			session->slots[k].dirty[i] = session_alloc(session, bitmap_bytes(pages));
			if (!session->slots[k].dirty[i])
				return error_set(err, HF_E_NO_MEMORY, ENOMEM,
						 "bitmap of region %u, device %u", i, k);
		}
	}
	precopy->dirty_pages = session->total_pages;
	return 0;
}

void precopy_done(struct session *session)
{
	for (uint32_t i = 0; i < HF_REGIONS_MAX; i++) {
		free(session->precopy.dirty[i]);
		for (uint32_t k = 0; k < HF_DEVICES_MAX; k++)
			free(session->slots[k].dirty[i]);
	}
}

static void begin_round(struct session *session);

/* ---- asking for dirty pages ---------------------------------------------------------------- */

static int run_memory_sync(struct session *session, struct job *job)
{
	int code = memory_dirty_sync(&session->memory, &job->err);

	for (uint32_t i = 0; code == 0 && i < session->region_count; i++)
		code = memory_dirty_read(&session->memory, i, session->precopy.dirty[i], &job->err);
	return code;
}

static void submit_memory(struct session *session, struct phase *phase, job_run_fn run)
{
	struct job job = { .run = run, .done = phase_job_done };

	phase_submit(session, phase, &session->machine_worker, &job);
}

/* All workers are through with dirty[]: what was sent is clean, what has come since is dirty. */
static void begin_sync(struct session *session, struct phase *phase, void (*then)(struct session *))
{
	for (uint32_t i = 0; i < session->region_count; i++)
		bitmap_zero(session->precopy.dirty[i], session->regions[i].size >> HF_PAGE_SHIFT);
	phase_begin(session, phase, then);
	submit_memory(session, phase, run_memory_sync);
	save_sync(session, phase);
	phase_release(session, phase);
}

static void merge(struct session *session)
{
	struct precopy *precopy = &session->precopy;

	precopy->dirty_pages = 0;
	for (uint32_t i = 0; i < session->region_count; i++) {
		uint64_t pages = session->regions[i].size >> HF_PAGE_SHIFT;

		for (uint32_t k = 0; k < session->device_count; k++)
			bitmap_or(precopy->dirty[i], session->slots[k].dirty[i], pages);
		precopy->dirty_pages += bitmap_count(precopy->dirty[i], pages);
	}
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void measure(struct session *session)
{
	struct precopy *precopy = &session->precopy;
	uint64_t bytes = atomic_load(&session->totals.wire_bytes) - precopy->round_begin_bytes;
	uint64_t ns = time_now_ns() - precopy->round_begin_ns;

	if (ns && (bytes >= MEASURE_BYTES_MIN || !precopy->bytes_per_second))
		precopy->bytes_per_second = (uint64_t)((double)bytes * 1e9 / (double)ns);
	if (bytes >= MEASURE_BYTES_MIN)
		precopy->measured_ns = time_now_ns();
}

/*
 * A link that was slow for a moment would count as slow for ever once the guest is idle, since no
 * round is large enough to be measured. So some pages are sent again, other ones each time: clean
 * ones, which does no harm, and zero ones, which measures nothing and costs nothing.
 */
static void probe(struct session *session)
{
	struct precopy *precopy = &session->precopy;
	uint64_t page = precopy->probe_page, left = PROBE_PAGES;

	if (time_now_ns() < precopy->measured_ns + PROBE_NS)
		return;
	for (uint32_t i = 0; i < session->region_count && left; i++) {
		uint64_t pages = session->regions[i].size >> HF_PAGE_SHIFT;

		if (page >= pages) {
			page -= pages;
			continue;
		}
		if (left > pages - page)
			left = pages - page;
		bitmap_set_range(precopy->dirty[i], page, left);
		precopy->probe_page = (precopy->probe_page + left) % session->total_pages;
		left = 0;
	}
	precopy->measured_ns = time_now_ns(); /* or was tried to be */
}

static bool devices_primed(const struct session *session)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		const struct device_slot *slot = &session->slots[i];

		if ((slot->device.info.mig_flags & HF_MIG_PRE_COPY) &&
		    (!slot->primed || slot->pass_running || slot->pass_more))
			return false;
	}
	return true;
}

static uint64_t device_bytes_left(const struct session *session)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < session->device_count; i++)
		bytes += session->slots[i].final_bytes;
	return bytes;
}

static void give_up(struct session *session, const struct policy_output *output)
{
	struct precopy *precopy = &session->precopy;
	struct hf_error err = { 0 };

	(void)error_set(
		&err, HF_E_NOT_CONVERGED, 0,
		"precopy took its %llu s (%u rounds); %llu pages and %llu bytes of devices are "
		"left, at %llu MiB/s a stand-still of %llu ms, the limit is %llu ms, vCPUs "
		"throttled by %u %%",
		(unsigned long long)(session->config.deadline_us / 1000000), precopy->round,
		(unsigned long long)precopy->dirty_pages,
		(unsigned long long)device_bytes_left(session),
		(unsigned long long)(precopy->bytes_per_second >> 20),
		(unsigned long long)(output->downtime_us / 1000),
		(unsigned long long)(session->config.downtime_us_max / 1000),
		precopy->throttle_percent);
	session_fail(session, &err);
}

static void on_probed(struct session *session)
{
	if (session->source.state == SOURCE_PRECOPY)
		session_post(session, SOURCE_E_CONVERGED);
}

static void decide(struct session *session)
{
	struct precopy *precopy = &session->precopy;
	struct policy_input input = {
		.dirty_bytes = precopy->dirty_pages << HF_PAGE_SHIFT,
		.device_bytes = device_bytes_left(session),
		.bytes_per_second = precopy->bytes_per_second,
		.downtime_us_max = session->config.downtime_us_max,
		.elapsed_us = (time_now_ns() - precopy->begin_ns) / NS_PER_US,
		.deadline_us = session->config.deadline_us,
		.round_sent_bytes =
			atomic_load(&session->totals.wire_bytes) - precopy->round_begin_bytes,
		.round = precopy->round,
		.throttle_percent = precopy->throttle_percent,
		.throttle_max_percent = session->config.throttle_max_percent,
		.slow_rounds = precopy->slow_rounds,
		.primed = devices_primed(session),
	};
	struct policy_output output = policy_decide(&input);

	trace(session, HF_TRACE_ESTIMATE, NULL, output.downtime_us,
	      input.dirty_bytes + input.device_bytes, input.bytes_per_second,
	      input.downtime_us_max);
	precopy->expected_downtime_us = output.downtime_us;
	precopy->slow_rounds = output.slow_rounds;
	precopy->waiting = false;
	switch (output.verdict) {
	case POLICY_SWITCH:
		phase_begin(session, &session->main, on_probed);
		ledger_probe(session, &session->main);
		phase_release(session, &session->main);
		return;
	case POLICY_WAIT:
		precopy->waiting = true; /* precopy_primed() goes on, or the deadline */
		session->poll_ns = time_now_ns() + POLL_NS;
		return;
	case POLICY_GIVE_UP:
		give_up(session, &output);
		return;
	case POLICY_THROTTLE:
		precopy->throttle_percent = output.throttle_percent;
		machine_throttle(session, output.throttle_percent);
		begin_round(session);
		return;
	case POLICY_AGAIN:
		if (output.downtime_us <= input.downtime_us_max ||
		    precopy->dirty_pages >= REST_PAGES) {
			begin_round(session);
			return;
		}
		precopy->resting = true;
		session->poll_ns = time_now_ns() + POLL_NS;
		return;
	}
}

static void on_synced(struct session *session)
{
	struct precopy *precopy = &session->precopy;
	uint64_t now = time_now_ns(), ns = now - precopy->sync_end_ns;

	if (session->source.state != SOURCE_PRECOPY)
		return;
	merge(session);
	precopy->dirty_pages_per_second =
		ns ? (uint64_t)((double)precopy->dirty_pages * 1e9 / (double)ns) : 0;
	precopy->sync_end_ns = now;
	decide(session);
}

static void on_round_sent(struct session *session)
{
	struct precopy *precopy = &session->precopy;

	if (session->source.state != SOURCE_PRECOPY)
		return;
	measure(session);
	trace(session, HF_TRACE_ROUND, NULL, precopy->round,
	      atomic_load(&session->totals.normal_pages), atomic_load(&session->totals.zero_pages),
	      precopy->dirty_pages);
	begin_sync(session, &session->main, on_synced);
}

static void begin_round(struct session *session)
{
	struct precopy *precopy = &session->precopy;
	struct hf_error err = { 0 };

	/* The stream counts rounds in 16 bits; one is kept for the last look. */
	if (precopy->round + 2 > WIRE_ROUNDS_MAX) {
		(void)error_set(&err, HF_E_NOT_CONVERGED, 0,
				"%u rounds were sent, and what is left never fitted the limit",
				precopy->round);
		session_fail(session, &err);
		return;
	}

	precopy->round++;
	precopy->round_begin_ns = time_now_ns();
	precopy->round_begin_bytes = atomic_load(&session->totals.wire_bytes);
	for (uint32_t i = 0; i < session->device_count; i++)
		save_pass(session, i);
	phase_begin(session, &session->main, on_round_sent);
	send_round(session, &session->main);
	phase_release(session, &session->main);
}

/*
 * The rounds wait for devices. One that had nothing more to read for now may have again: it is
 * asked from time to time, since a data fd that is always ready cannot be waited for (some drivers
 * have no poll).
 */
void precopy_poll(struct session *session)
{
	if (session->source.state == SOURCE_PRECOPY && session->precopy.resting) {
		session->precopy.resting = false;
		probe(session);
		begin_round(session);
		return;
	}
	if (session->source.state != SOURCE_PRECOPY || !session->precopy.waiting)
		return;
	for (uint32_t i = 0; i < session->device_count; i++)
		if (!session->slots[i].initial_done)
			save_pass(session, i);
	session->poll_ns = time_now_ns() + POLL_NS;
}

/* Whom the rounds wait for, in words; "" if for nobody. */
const char *precopy_waits_for(const struct session *session)
{
	for (uint32_t i = 0; session->precopy.waiting && i < session->device_count; i++)
		if (!session->slots[i].primed)
			return session->slots[i].device.name;
	return "";
}

/* A device was primed, or its pass ended: if the rounds waited for that, look again. */
void precopy_primed(struct session *session)
{
	if (session->source.state != SOURCE_PRECOPY || !session->precopy.waiting ||
	    !devices_primed(session))
		return;
	/* Much may have become dirty while we waited. What is in dirty[] has not been sent. */
	session->precopy.waiting = false;
	begin_round(session);
}

/* ---- beginning and end --------------------------------------------------------------------- */

static int run_memory_track(struct session *session, struct job *job)
{
	session->precopy.tracking = true; /* also after a failure: what was begun is stopped */
	return memory_dirty_start(&session->memory, &job->err);
}

static void on_pre_copy(struct session *session)
{
	for (uint32_t i = 0; i < session->device_count; i++)
		if (!(session->slots[i].device.info.mig_flags & HF_MIG_PRE_COPY))
			session->slots[i].primed = true; /* it has nothing to be primed with */
	phase_begin(session, &session->main, begin_round);
	save_size(session, &session->main);
	phase_release(session, &session->main);
}

static void on_tracked(struct session *session)
{
	devices_ask(session, DEVICE_GOAL_PRE_COPY, on_pre_copy);
}

/* All tracking is on before the first page is read; then devices to PRE_COPY; then round 1. */
void precopy_start(struct session *session)
{
	session->precopy.begin_ns = session->precopy.sync_end_ns = time_now_ns();
	phase_begin(session, &session->main, on_tracked);
	submit_memory(session, &session->main, run_memory_track);
	save_track(session, &session->main, true);
	phase_release(session, &session->main);
}

static int run_memory_untrack(struct session *session, struct job *job)
{
	if (!session->precopy.tracking)
		return 0;
	session->precopy.tracking = false;
	return memory_dirty_stop(&session->memory, &job->err);
}

static void on_untracked(struct session *session, const struct job *job)
{
	(void)session; /* tracking that cannot be stopped costs time, nothing else */
	(void)job;
}

void precopy_untrack(struct session *session)
{
	struct job job = { .run = run_memory_untrack, .done = on_untracked };

	phase_cancel(&session->main);
	phase_cancel(&session->side_phase);
	if (session->precopy.throttle_percent) {
		machine_throttle(session, 0);
		session->precopy.throttle_percent = 0;
	}
	worker_submit(&session->machine_worker, &job);
	save_track(session, NULL, false);
}

static void on_channels_ended(struct session *session)
{
	session_post(session, SOURCE_E_DRAINED);
}

/* Pages, device data, configuration and machine state are out: close the bulk connections. */
static void on_drained(struct session *session)
{
	phase_begin(session, &session->main, on_channels_ended);
	send_channel_end(session, &session->main);
	phase_release(session, &session->main);
}

/*
 * The last look may find far more than the round before let expect, for instance when the kernel
 * lost count and calls every page dirty. The limit holds then, too: the guest goes home. Some slack
 * is given, since what is dirtied between the decision and the stop could not be known.
 */
static bool against_the_limit(struct session *session)
{
	struct precopy *precopy = &session->precopy;
	uint64_t limit_us = 2 * session->config.downtime_us_max + LAST_LOOK_SLACK_US;
	struct hf_error err = { 0 };
	double us;

	if (!precopy->bytes_per_second)
		return false;
	us = (double)(precopy->dirty_pages << HF_PAGE_SHIFT) * 1e6 /
	     (double)precopy->bytes_per_second;
	if (us <= (double)limit_us)
		return false;
	(void)error_set(&err, HF_E_NOT_CONVERGED, 0,
			"with the vCPUs stopped %llu pages were found dirty: at %llu MiB/s a "
			"stand-still of %.0f ms, the limit is %llu ms",
			(unsigned long long)precopy->dirty_pages,
			(unsigned long long)(precopy->bytes_per_second >> 20), us / 1000,
			(unsigned long long)(session->config.downtime_us_max / 1000));
	session_fail(session, &err);
	return true;
}

static void on_final_synced(struct session *session)
{
	struct precopy *precopy = &session->precopy;

	if (session->source.state != SOURCE_DRAINING)
		return;
	merge(session);
	if (against_the_limit(session))
		return;
	precopy->round++;
	precopy->final_pages = true;
	trace(session, HF_TRACE_ROUND, NULL, precopy->round,
	      atomic_load(&session->totals.normal_pages), atomic_load(&session->totals.zero_pages),
	      precopy->dirty_pages);
	send_round(session, &session->main);
	phase_release(session, &session->main);
}

/*
 * Everything stands still: one last look for dirty pages, and at the same time the devices' data,
 * their configuration and the machine's state. What the decision left in dirty[] is still to be
 * sent: the last look adds to it.
 */
void precopy_drain(struct session *session)
{
	phase_begin(session, &session->main, on_drained);
	phase_hold(&session->main); /* for the last round; on_final_synced() releases it */

	phase_begin(session, &session->side_phase, on_final_synced);
	submit_memory(session, &session->side_phase, run_memory_sync);
	save_sync(session, &session->side_phase);
	phase_release(session, &session->side_phase);

	save_final(session, &session->main);
	machine_save(session, &session->main);
	phase_release(session, &session->main);
}
