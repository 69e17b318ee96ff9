/* SPDX-License-Identifier: BSD-3-Clause */
/* What a seed stands for. */
#include <string.h>

#include "net-world.h"

const char *sabotage_name(enum sabotage sabotage)
{
#define NAME(name, breaks, text) #name,
	static const char *const names[] = { SABOTAGE_LIST(NAME) };
#undef NAME

	return sabotage < SABOTAGE_COUNT ? names[sabotage] : "?";
}

/* Nothing goes wrong, and everything is quick. */
struct scenario scenario_plain(uint64_t seed)
{
	return (struct scenario){
		.seed = seed,
		.sched = { .yield_per_mille = 100, .steps_max = 600000, .time_ns_max = 60 * S },
		.pages = 96,
		.devices = 2,
		.channels = 2,
		.writes_per_ms = 2,
		.start_ns = { 2 * MS, 1 * MS },
		.hop_ns = 50 * US,
		.jitter_ns = 20 * US,
		.bandwidth = 200u << 20,
		.window = 64 << 10,
		.ledger = { .delay_ns_min = 100 * US, .delay_ns_max = 400 * US, .whom = 3 },
		.device = { .mig_flags = HF_MIG_STOP_COPY | HF_MIG_P2P | HF_MIG_PRE_COPY,
			    .state_bytes = 3000,
			    .piece_bytes = 1000,
			    .delay_ns_max = 200 * US,
			    .whom = 3 },
		.machine_ns_max = 100 * US,
		.wait_us_max = 2000000,
		.fail_whom = 3,
	};
}

/* ---- the swarm ----------------------------------------------------------------------------- */

static uint64_t seed_now;

/* The scenario's own numbers, whatever the run draws later. */
static uint64_t draw(void)
{
	uint64_t z = (seed_now += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t between(uint64_t low, uint64_t high)
{
	return low + draw() % (high - low + 1);
}

static bool chance(uint32_t per_mille)
{
	return draw() % 1000 < per_mille;
}

/* Small ones as often as large ones. */
static uint64_t scale(uint64_t low, uint64_t high)
{
	uint64_t top = high;

	while (top / 2 > low && chance(600))
		top /= 2;
	return between(low, top);
}

/* Mostly where it hurts: from END on. */
static struct moment some_moment(void)
{
	struct moment moment = { .set = true, .after_ns = scale(1 * US, 20 * MS) };

	moment.side = chance(500) ? SOURCE : TARGET;
	if (moment.side == SOURCE)
		moment.state = (uint32_t)(chance(300) ? between(SOURCE_ENTERING, SOURCE_DRAINING)
						      : between(SOURCE_PROVING, SOURCE_LOSING));
	else
		moment.state = (uint32_t)(chance(300) ? between(TARGET_LISTENING, TARGET_SETTING)
						      : between(TARGET_LOADED, TARGET_GIVING_BACK));
	return moment;
}

static void draw_guest(struct scenario *scenario)
{
	static const uint32_t flags[] = { 7, 7, 3, 5, 1 };

	scenario->pages = (uint32_t)between(8, PAGES_MAX);
	scenario->devices = (uint32_t)between(0, DEVICES_MAX);
	scenario->channels = (uint32_t)between(1, 4);
	scenario->paused = chance(100);
	scenario->writes_per_ms = (uint32_t)scale(0, 24);
	scenario->device.mig_flags = flags[between(0, 4)];
	if (scenario->devices > 1) /* beside others none goes without P2P */
		scenario->device.mig_flags |= HF_MIG_P2P;
	scenario->device.state_bytes = (uint32_t)scale(1, 60000);
	scenario->device.piece_bytes = 200 + scenario->device.state_bytes / 4;
	scenario->device.delay_ns_max = scale(10 * US, 20 * MS);
	scenario->machine_ns_max = scale(10 * US, 10 * MS);
	scenario->on_device_lost = chance(300) ? HF_DEVICE_LOST_RESUME : HF_DEVICE_LOST_PAUSE;
}

static void draw_road(struct scenario *scenario)
{
	scenario->hop_ns = scale(5 * US, 30 * MS);
	scenario->jitter_ns = scale(1 * US, 10 * MS);
	scenario->bandwidth = scale(4u << 20, 1u << 30);
	scenario->window = scale(2048, 64 << 10);
}

static void break_road(struct scenario *scenario)
{
	for (uint32_t i = 0; i < ROAD_FAULTS_MAX; i++) {
		struct road_fault *fault = &scenario->road[i];

		if (i && chance(600))
			return;
		fault->kind = (enum road_kind)between(ROAD_NONE + 1, ROAD_KINDS - 1);
		fault->link = chance(600) ? UINT32_MAX : (uint32_t)between(0, scenario->channels);
		fault->for_ns = scale(1 * MS, 4 * S);
		if (chance(700))
			fault->moment = some_moment();
		else if (chance(500))
			fault->at_ns = scale(1 * MS, 300 * MS);
		else
			fault->at_byte = scale(1, 1 << 20);
	}
}

static void draw_ledger(struct scenario *scenario)
{
	struct ledger_mood *mood = &scenario->ledger;

	mood->delay_ns_min = scale(10 * US, 5 * MS);
	mood->delay_ns_max = mood->delay_ns_min + scale(10 * US, 20 * MS);
	mood->whom = (uint32_t)between(1, 3);
	if (chance(100))
		scenario->first = (enum first_record)between(1, FIRST_COUNT - 1);
}

static void trouble_ledger(struct scenario *scenario)
{
	struct ledger_mood *mood = &scenario->ledger;

	if (chance(200))
		mood->fails_per_mille = (uint32_t)scale(1, 600);
	if (chance(200))
		mood->lost_per_mille = (uint32_t)scale(1, 600);
	if (chance(300))
		mood->mute_per_mille = (uint32_t)scale(1, 800);
	if (chance(300))
		mood->late_per_mille = (uint32_t)scale(1, 600);
	if (chance(300))
		mood->twice_per_mille = (uint32_t)scale(1, 900);
	if (chance(300)) {
		mood->slow_per_mille = (uint32_t)scale(1, 600);
		mood->slow_ns = scale(50 * MS, 6 * S);
	}
	if (chance(400)) {
		mood->out = some_moment();
		mood->out_for_ns = scale(10 * MS, 8 * S);
	} else if (chance(100)) {
		mood->out_from_ns = scale(1 * MS, 200 * MS);
		mood->out_to_ns = mood->out_from_ns + scale(10 * MS, 8 * S);
	}
}

static void fail_parts(struct scenario *scenario)
{
	static const enum seam seams[] = { SEAM_DEVICE,	 SEAM_DEVICE, SEAM_DEVICE, SEAM_MACHINE,
					   SEAM_MACHINE, SEAM_SEND,   SEAM_RECV,   SEAM_MEMORY,
					   SEAM_LEDGER,	 SEAM_FILE,   SEAM_WATCH,  SEAM_CONNECT };
	uint32_t count = (uint32_t)between(1, 2);

	while (count-- > 0)
		scenario->fail_per_mille[seams[between(0, 11)]] = (uint32_t)scale(2, 500);
	scenario->fail_whom = (uint32_t)between(1, 3);
	if (chance(700))
		scenario->fail = some_moment();
	if (chance(200))
		scenario->fail_nth = between(1, 900);
}

static void slow_devices(struct scenario *scenario)
{
	scenario->device.slow_per_mille = (uint32_t)scale(1, 300);
	scenario->device.slow_ns =
		chance(500) ? between(700 * MS, 990 * MS) : scale(100 * MS, 4 * S);
}

/*
 * The target takes so long that the source loses patience, and the connection is there all the
 * while: then the target's words meet a source in doubt, and an operator is heard in it.
 */
static void lose_patience(struct scenario *scenario)
{
	scenario->device.slow_per_mille = 1000;
	scenario->device.slow_ns = between(700 * MS, 990 * MS);
	scenario->device.whom = 1u << TARGET;
	scenario->device.slow = (struct moment){
		.set = true, .side = TARGET, .state = chance(700) ? TARGET_LOADED : TARGET_LOADING
	};
	if (!scenario->devices)
		scenario->devices = 1;
	scenario->wait_us_max = 1200000;
	scenario->calm_ns = 12 * S;
	scenario->by_step = chance(700);
	if (chance(500)) {
		scenario->ledger.whom = (uint32_t)between(1, 2);
		scenario->ledger.out_for_ns = between(100 * MS, 5 * S);
		scenario->ledger.out = some_moment();
	}
	if (chance(300)) {
		scenario->fail_whom = 1u << TARGET;
		scenario->fail_per_mille[SEAM_DEVICE] = 300;
		scenario->fail =
			(struct moment){ .set = true,
					 .side = TARGET,
					 .state = chance(500) ? TARGET_STARTING : TARGET_REVIVING };
	}
	if (chance(300))
		scenario->cancel[between(0, 1)] = some_moment();
}

static void crash_somebody(struct scenario *scenario)
{
	for (int i = 0; i < 2; i++)
		if (chance(200))
			scenario->crash_step[i] = scale(1, 6000);
		else if (chance(600))
			scenario->crash[i] = some_moment();
}

static void cancel_it(struct scenario *scenario)
{
	for (int i = 0; i < 2; i++)
		if (chance(200))
			scenario->cancel_ns[i] = scale(1 * MS, 300 * MS);
		else if (chance(500))
			scenario->cancel[i] = some_moment();
}

static void draw_people(struct scenario *scenario)
{
	if (chance(700))
		scenario->resolve_ns = scale(10 * MS, 3 * S);
	scenario->resolve_take_per_mille = chance(500) ? 0 : 500;
	scenario->by_step = chance(400);
	scenario->keeps = chance(300);
	scenario->by_hand = chance(120);
	if (scenario->keeps && chance(800))
		scenario->restart_ns = scale(1 * MS, 4 * S);
}

static void draw_schedule(struct scenario *scenario)
{
	scenario->sched.yield_per_mille = (uint32_t)between(0, 3) * 100;
	scenario->sched.spurious_per_mille = chance(300) ? 10 : 0;
	scenario->sched.by_priority = chance(400);
	scenario->sched.late_per_mille = chance(400) ? (uint32_t)between(50, 500) : 0;
	scenario->sched.late_ns = scale(100 * US, 50 * MS);
	scenario->start_ns[SOURCE] = chance(950) ? 5 * MS : 1 * MS;
	scenario->start_ns[TARGET] = chance(950) ? 1 * MS : 50 * MS;
	/* Longer than a doubt may last: then it may end in WAITING. */
	scenario->calm_ns = scale(100 * MS, chance(200) ? 12 * S : 3 * S);
}

static const struct {
	uint32_t per_mille;
	void (*draw)(struct scenario *scenario);
} parts[] = {
	{ 1000, draw_schedule }, { 1000, draw_guest },	{ 1000, draw_road },
	{ 1000, draw_ledger },	 { 1000, draw_people }, { 350, break_road },
	{ 350, trouble_ledger }, { 250, fail_parts },	{ 120, slow_devices },
	{ 150, crash_somebody }, { 150, cancel_it },	{ 120, lose_patience },
};

/* Each part has numbers of its own: what is added to one leaves the others as they were. */
struct scenario scenario_swarm(uint64_t seed)
{
	struct scenario scenario = scenario_plain(seed);

	for (uint32_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		seed_now = seed * 64 + i;
		(void)draw();
		if (chance(parts[i].per_mille))
			parts[i].draw(&scenario);
	}
	return scenario;
}
