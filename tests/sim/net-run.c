/* SPDX-License-Identifier: BSD-3-Clause */
/* One scenario, from beginning to end. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net-cover.h"
#include "net-road.h"
#include "net-world.h"

#define AFTER_NS (3 * S) /* late writes must change nothing */
#define RESOLVES_MAX 8u

struct world world;

static uint64_t finished_ns;

uint64_t world_ns(void)
{
	return sched_now() - world.begin_ns;
}

struct side *world_side(void)
{
	uint32_t side = sched_side();

	return side < 2 ? &world.sides[side] : NULL;
}

bool anything_slow(void)
{
	return world.scenario->device.slow_per_mille != 0;
}

/* ---- a side -------------------------------------------------------------------------------- */

static void on_trace(void *ctx, const struct hf_event *event)
{
	const struct side *side = ctx;
	const char *text = event->text ? event->text : "";

	switch (event->id) {
	case HF_TRACE_TRANSITION:
		story(side->name, "%s", text);
		return;
	case HF_TRACE_ROUND:
		story(side->name, "round %u, %u pages, %u zero, %u left", (unsigned)event->arg[0],
		      (unsigned)event->arg[1], (unsigned)event->arg[2], (unsigned)event->arg[3]);
		return;
	case HF_TRACE_RECORD_SENT:
		story(side->name, "-> %s", text);
		return;
	case HF_TRACE_RECORD_RECV:
		story(side->name, "<- %s", text);
		return;
	case HF_TRACE_LEDGER:
		story(side->name, "ledger: %s %s", text,
		      event->arg[1] == 0   ? "done"
		      : event->arg[1] == 1 ? "refused"
					   : "unknown");
		return;
	case HF_TRACE_DEVICE_ARC:
		story(side->name, "%s: %s -> %s", text,
		      hf_device_state_name((uint32_t)event->arg[1]),
		      hf_device_state_name((uint32_t)event->arg[2]));
		return;
	case HF_TRACE_DEVICE_FAIL:
	case HF_TRACE_DEVICE_RESET:
	case HF_TRACE_FAILED:
	case HF_TRACE_WAITING:
	case HF_TRACE_OUTCOME:
	case HF_TRACE_MACHINE:
		story(side->name, "%s: %s", hf_trace_name(event->id), text);
		return;
	default:
		return;
	}
}

/*
 * With a ledger an operator may be wrong, and it does no harm. Without one his word is all there
 * is, so this one only speaks when he has seen the target himself.
 */
static enum hf_resolve operator_word(const struct side *side)
{
	const struct side *target = &world.sides[TARGET];

	if (world.scenario->by_hand && world.target_has_it)
		return HF_RESOLVE_LET_GO;
	if (world.scenario->by_hand)
		return target->ended || target->dead ? HF_RESOLVE_TAKE_BACK : HF_RESOLVE_ASK;
	/* At last he does decide; when the ledger is well again, his word counts. */
	if (sched_chance(world.scenario->resolve_take_per_mille) ||
	    side->resolves == RESOLVES_MAX - 1)
		return HF_RESOLVE_TAKE_BACK;
	return HF_RESOLVE_ASK;
}

static bool operator_decides(struct side *side)
{
	static const char *const words[] = { "?", "ask again", "take it back", "let it go" };
	const struct scenario *scenario = world.scenario;
	enum hf_resolve how;
	struct hf_error err = { 0 };

	if (!scenario->resolve_ns || side->id != SOURCE || side->outcome != HF_OUTCOME_WAITING ||
	    side->resolves == RESOLVES_MAX)
		return false;
	sched_sleep_until(sched_now() + scenario->resolve_ns);
	how = operator_word(side);
	side->resolves++;
	story("operator", "%s", words[how]);
	if (hf_session_resolve(side->session, how, &err) < 0) {
		referee_fail("I9", "the operator is refused: %s", err.text);
		return false;
	}
	return true;
}

/* A process that comes after one that died: what has that one kept? false: nothing. */
static bool finds_kept(struct side *side)
{
	struct hf_kept kept = { .size = sizeof(kept) };
	struct hf_error err = { 0 };
	int code = hf_kept_read(world.keep, &kept, &err);

	story(side->name, "another process: %s", code > 0 ? "a guest is kept" : "nothing is kept");
	if (code < 0)
		referee_fail("I8", "what is kept cannot be read: %s", err.text);
	if (code <= 0) {
		world.guest_died |= !world.target_has_it; /* with the process that had it */
		side->dead = true;
		return false;
	}
	side->config.restart = 1;
	return true;
}

/* A loop of its own, in which an operator may speak while the source is in doubt. */
static void run_by_step(struct side *side)
{
	struct pollfd ready = { .fd = hf_session_fd(side->session), .events = POLLIN };

	while (hf_session_step(side->session) == HF_STEP_WAIT) {
		uint64_t deadline = hf_session_deadline(side->session);
		bool can = source_can_resolve(cover_source_state());
		enum hf_resolve how = operator_word(side);

		if (can && side->resolves < RESOLVES_MAX - 1 && sched_chance(100)) {
			side->resolves++;
			story("operator", "in doubt: %d", (int)how);
			if (hf_session_resolve(side->session, how, NULL) < 0)
				referee_fail("I9", "the operator is refused in doubt");
			continue;
		}
		if (deadline > sched_now() + 50 * MS)
			deadline = sched_now() + 50 * MS;
		(void)sched_poll(&ready, 1, deadline);
	}
	side->error = *hf_session_error(side->session);
}

static void *drive(void *arg)
{
	struct side *side = arg;
	struct hf_session *session;
	struct hf_error err = { 0 };

	if (side->returned && !finds_kept(side)) {
		referee_side_ended(side);
		return NULL;
	}
	if (!side->returned)
		sched_sleep_until(world.begin_ns + world.scenario->start_ns[side->id]);
	side->begun = true;
	if (hf_session_new(&side->config, &session, &err) < 0) {
		side->refused = true;
		side->error = err;
		story(side->name, "no session: %s", err.text);
		if (!err.code || !err.text[0])
			referee_fail("I15", "no session, and no reason");
	} else {
		side->session = session;
		do {
			memset(&side->error, 0, sizeof(side->error));
			if (world.scenario->by_step && side->id == SOURCE)
				run_by_step(side);
			else
				(void)hf_session_run(session, &side->error);
			side->outcome = hf_session_outcome(session);
		} while (operator_decides(side));
		side->session = NULL;
		(void)hf_session_free(session);
	}
	story(side->name, "has ended: %s %s", hf_outcome_name(side->outcome), side->error.text);
	referee_side_ended(side);
	side->ended = true;
	return NULL;
}

static void side_begin(struct side *side)
{
	const struct scenario *scenario = world.scenario;

	side->config = (struct hf_config)HF_CONFIG_INIT;
	side->config.role = side->id == SOURCE ? HF_ROLE_SOURCE : HF_ROLE_TARGET;
	side->config.guest = "guest";
	side->config.side = side->name;
	side->config.uri = world.uri[side->id];
	side->config.paused = side->id == SOURCE ? scenario->paused : 0;
	side->config.channels = scenario->channels;
	side->config.on_device_lost = scenario->on_device_lost;
	side->config.deadline_us = 500000;
	side->config.wait_us_max = scenario->wait_us_max;
	side->config.arc_us_max = 1000000;
	side->config.ledger_us_max = 300000;
	side->config.doubt_us_max = 4000000;
	side->config.listen_us_max = 4000000;
	if (scenario->keeps && side->id == SOURCE)
		side->config.keep = world.keep;
	side->config.trace = on_trace;
	side->config.trace_ctx = side;
	guest_begin(side);
	for (uint32_t i = 0; i < scenario->devices; i++)
		device_begin(side, i);
	side->config.devices = side->devices;
	side->config.device_count = scenario->devices;
	sledger_open(side);
	(void)sched_spawn(side->id, "driver", drive, side);
	(void)sched_spawn(side->id, "guest", guest_live, side);
}

/* ---- what the scenario does to it ---------------------------------------------------------- */

static void calm_down(void *ctx, uint64_t arg)
{
	(void)ctx;
	(void)arg;
	world.calm = true;
	story("world", "nothing fails from now on");
}

static void cancel(void *ctx, uint64_t id)
{
	struct side *side = &world.sides[id];

	(void)ctx;
	if (!side->session || side->ended)
		return;
	story("operator", "cancels the %s: %s", side->name,
	      hf_session_cancel(side->session) == 0 ? "yes" : "too late");
}

static void crash_now(void *ctx, uint64_t id);

static void go_out(void *ctx, uint64_t arg)
{
	(void)ctx;
	(void)arg;
	if (world.out_to_ns)
		return; /* once is enough */
	story("ledger", "is out");
	world.out_from_ns = world_ns();
	world.out_to_ns = world_ns() + world.scenario->ledger.out_for_ns;
}

static void begin_to_fail(void *ctx, uint64_t arg)
{
	(void)ctx;
	if (arg)
		world.slowing = true;
	else
		world.failing = true;
}

static void at_moment(const struct moment *moment, uint32_t side, uint32_t state,
		      void (*happen)(void *ctx, uint64_t arg), uint64_t arg)
{
	if (moment->set && moment->side == side && moment->state == state)
		sched_at(sched_now() + moment->after_ns, happen, NULL, arg);
}

void run_came_to(uint32_t side, uint32_t state)
{
	const struct scenario *scenario = world.scenario;

	if (side == SOURCE && state == SOURCE_QUIETING)
		world.quiet_step = sched_steps();
	for (uint32_t i = 0; i < ROAD_FAULTS_MAX; i++)
		at_moment(&scenario->road[i].moment, side, state, road_happen, i);
	for (uint32_t i = 0; i < 2; i++) {
		at_moment(&scenario->cancel[i], side, state, cancel, i);
		at_moment(&scenario->crash[i], side, state, crash_now, i);
	}
	at_moment(&scenario->ledger.out, side, state, go_out, 0);
	at_moment(&scenario->fail, side, state, begin_to_fail, 0);
	at_moment(&scenario->device.slow, side, state, begin_to_fail, 1);
}

/* The machine and the devices are fresh; the memory is in a file that nobody has touched. */
static void come_back(void *ctx, uint64_t arg)
{
	struct side *side = &world.sides[SOURCE];

	(void)ctx;
	(void)arg;
	side->dead = side->ended = side->tracking = false;
	side->returned = true;
	side->exec = 0;
	side->sections_loaded = side->configs_loaded = side->throttle = 0;
	memset(side->configs, 0, sizeof(side->configs));
	for (uint32_t i = 0; i < world.scenario->devices; i++)
		device_forget(side, i);
	(void)sched_spawn(SOURCE, "driver", drive, side);
	(void)sched_spawn(SOURCE, "guest", guest_live, side);
}

static void crash(struct side *side)
{
	bool silent = sched_chance(300);

	story("world", "the %s dies%s", side->name, silent ? ", and its host" : "");
	if (silent)
		road_silence();
	sched_kill(side->id);
	seam_bury(side->id);
	side->dead = true;
	side->session = NULL;
	if (side->running) {
		side->running = false;
		world.guest_died = true;
	}
	if (side->id == SOURCE && world.scenario->restart_ns && !side->returned)
		sched_at(sched_now() + world.scenario->restart_ns, come_back, NULL, 0);
}

static void crash_now(void *ctx, uint64_t id)
{
	struct side *side = &world.sides[id];

	(void)ctx;
	if (!side->dead && !side->returned && !side->ended)
		crash(side);
}

static void after_step(void)
{
	for (uint32_t i = 0; i < 2; i++)
		if (world.scenario->crash_step[i] && sched_steps() == world.scenario->crash_step[i])
			crash_now(NULL, i);
	if (world.scenario->freeze_step && sched_steps() == world.scenario->freeze_step) {
		sched_pass(world.scenario->freeze_ns);
		story("world", "everything stood still for %llu ms",
		      (unsigned long long)(world.scenario->freeze_ns / MS));
	}
	referee_step();
}

static void nothing(void *ctx, uint64_t arg)
{
	(void)ctx;
	(void)arg;
}

static bool over(void)
{
	const struct side *source = &world.sides[SOURCE], *target = &world.sides[TARGET];

	if (world.violated)
		return true;
	if (!(source->ended || source->dead) || !(target->ended || target->dead))
		return false;
	if (source->dead && world.scenario->restart_ns && !source->returned)
		return false;
	if (!finished_ns) {
		finished_ns = sched_now();
		sched_at(finished_ns + AFTER_NS, nothing, NULL, 0);
	}
	return sched_now() >= finished_ns + AFTER_NS;
}

static void report_line(const char *text)
{
	story("stuck", "%s", text);
}

static void check_end(enum sched_end end)
{
	static const char *const why[] = { "?", "it ended", "nobody can go on, and nobody waits",
					   "it goes round in circles", "it does not end" };

	if (end == SCHED_OVER) {
		if (!world.violated)
			referee_end();
		return;
	}
	sched_report(report_line);
	referee_fail("P5", "%s", why[end]);
}

/* ---- the world ----------------------------------------------------------------------------- */

static void make_dir(void)
{
	static char dir[64];

	if (!dir[0]) {
		/* In memory, if there is such a place: nothing of it is worth a disk. */
		(void)snprintf(dir, sizeof(dir), "%s/hf-net-XXXXXX",
			       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		if (!mkdtemp(dir))
			assert(!"a folder for the sockets");
	}
	memcpy(world.dir, dir, sizeof(world.dir));
}

static void remove_dir(void)
{
	static const char *const names[] = { "road",	      "target",
					     "keep/control",  "keep/control.part",
					     "keep/device-0", "keep/device-1",
					     "keep/device-2" };
	char path[128];

	for (int i = 0; i < 7; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", world.dir, names[i]);
		(void)unlink(path);
	}
	if (world.scenario->keeps)
		(void)rmdir(world.keep);
}

void net_leave(void)
{
	if (world.dir[0])
		(void)rmdir(world.dir);
}

static void world_begin(const struct scenario *scenario)
{
	static const char *const names[] = { "source", "target" };

	memset(&world, 0, sizeof(world));
	finished_ns = 0;
	sched_begin(scenario->seed, &scenario->sched);
	seam_begin();
	world.scenario = scenario;
	world.begin_ns = sched_now();
	make_dir();
	(void)snprintf(world.uri[SOURCE], sizeof(world.uri[SOURCE]), "unix:%s/road", world.dir);
	(void)snprintf(world.uri[TARGET], sizeof(world.uri[TARGET]), "unix:%s/target", world.dir);
	if (scenario->keeps) {
		(void)snprintf(world.keep, sizeof(world.keep), "%s/keep", world.dir);
		(void)mkdir(world.keep, 0700);
	}
	world.doubt_allowed = scenario->calm_ns > 3 * S || scenario->ledger.slow_ns > 500 * MS ||
			      scenario->device.slow_ns > 1 * S;
	world.out_from_ns = scenario->ledger.out_from_ns;
	world.out_to_ns = scenario->ledger.out_to_ns;
	world.failing = !scenario->fail.set;
	world.slowing = !scenario->device.slow.set;
	sledger_begin();
	road_begin();
	for (uint32_t i = 0; i < 2; i++) {
		world.sides[i].id = i;
		world.sides[i].name = names[i];
		side_begin(&world.sides[i]);
		if (scenario->cancel_ns[i])
			sched_at(world.begin_ns + scenario->cancel_ns[i], cancel, NULL, i);
	}
	if (scenario->calm_ns)
		sched_at(world.begin_ns + scenario->calm_ns, calm_down, NULL, 0);
	(void)sched_spawn(ROAD, "road", road_run, NULL);
}

static void world_end(void)
{
	for (uint32_t i = 0; i < 2; i++)
		sched_kill(i);
	for (uint32_t i = 0; i < 2; i++)
		seam_bury(i);
	sched_kill(ROAD);
	road_done();
	for (uint32_t i = 0; i < 2; i++)
		guest_done(&world.sides[i]);
	sched_finish();
	remove_dir();
}

struct net_result net_run(const struct scenario *scenario, bool tell)
{
	struct net_result result = { 0 };

	story_begin(tell);
	world_begin(scenario);
	check_end(sched_run(over, after_step));
	result.violated = world.violated;
	memcpy(result.violation, world.violation, sizeof(result.violation));
	for (int i = 0; i < 2; i++)
		result.outcome[i] = world.sides[i].outcome;
	result.steps = sched_steps();
	result.quiet_step = world.quiet_step;
	result.seams = seam_count();
	result.hash = world.hash;
	result.virtual_ns = world_ns();
	result.failed_seam = world.failed_seam;
	memcpy(result.failed_op, world.failed_op, sizeof(result.failed_op));
	world_end();
	world.scenario = NULL;
	return result;
}
