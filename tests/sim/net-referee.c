/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The numbered invariants of docs/invariants.md, checked on what the fakes know to be true: after
 * every step of the schedule, when vCPUs are to run, and when both sides have ended.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net-cover.h"
#include "net-world.h"

void referee_fail(const char *what, const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	story("referee", "%s is broken: %s", what, text);
	if (world.violated)
		return; /* the first one tells most */
	world.violated = true;
	(void)snprintf(world.violation, sizeof(world.violation), "%s: %s", what, text);
}

static bool is_owner(const char *name)
{
	return strcmp(sledger_truth()->owner, name) == 0;
}

/* I3: may this side run the guest, as the ledger stands? */
static bool may_run(const struct side *side)
{
	const struct hf_ledger_record *record = sledger_truth();

	if (world.scenario->by_hand || (world.not_ours && side->id == SOURCE))
		return true;
	if (side->id == TARGET)
		return record->state == HF_LEDGER_AWAY && is_owner("target");
	return !record->revision || (is_owner("source") && record->state != HF_LEDGER_OFFERED &&
				     record->state != HF_LEDGER_CLAIMED);
}

void referee_step(void)
{
	const struct side *source = &world.sides[SOURCE], *target = &world.sides[TARGET];

	if (source->running && target->running)
		referee_fail("I1", "both sides run the guest");
	for (int i = 0; i < 2; i++)
		if (world.sides[i].running && !may_run(&world.sides[i]))
			referee_fail("I3",
				     "the %s runs the guest, and the ledger says state %u of %s",
				     world.sides[i].name, sledger_truth()->state,
				     sledger_truth()->owner);
}

/* All of the guest is here, as it was when it last executed. */
static void check_state(const struct side *side, const char *when)
{
	char text[160];

	if (side->exec != world.truth.exec)
		referee_fail("I2", "%s %s from an old state: %llu executed, not %llu", side->name,
			     when, (unsigned long long)side->exec,
			     (unsigned long long)world.truth.exec);
	if (!guest_memory_is_true(side, text, sizeof(text)))
		referee_fail("I14", "%s %s, %s", side->name, when, text);
	for (uint32_t i = 0; i < world.scenario->devices; i++)
		if (!device_is_true(side, i, text, sizeof(text)))
			referee_fail("I14", "%s %s, %s", side->name, when, text);
}

void referee_run(struct side *side)
{
	const struct side *other = &world.sides[side->id == SOURCE ? TARGET : SOURCE];

	if (other->running)
		referee_fail("I1", "%s runs a guest that the %s runs", side->name, other->name);
	if (side->id == SOURCE && world.sides[TARGET].was_run)
		referee_fail("I2", "the source runs a guest that the target has run");
	if (side->id == TARGET && !may_run(side))
		referee_fail("I5", "the target runs before its start is recorded");
	if (world.guest_died)
		referee_fail("I2", "%s runs a guest that died elsewhere", side->name);
	check_state(side, "runs");
}

/* I14: the target says that it has all of it; as long as the source waits for that. */
void referee_loaded(void)
{
	const struct side *source = &world.sides[SOURCE], *target = &world.sides[TARGET];
	char text[160];

	if (source->dead || source->running || cover_source_state() != SOURCE_PROVING)
		return;
	if (!guest_memory_is_true(target, text, sizeof(text)))
		referee_fail("I14", "the target is LOADED, %s", text);
	if (target->exec != world.truth.exec)
		referee_fail("I14", "the target is LOADED, and its vCPUs are not the source's");
}

void referee_side_ended(struct side *side)
{
	char text[96];

	if (seam_left(side->id, text, sizeof(text)))
		referee_fail("L1", "the %s has ended and leaves %s", side->name, text);
}

/* ---- the end ------------------------------------------------------------------------------- */

/* I10, I15: what honest sides never say of each other, and that there is a reason. */
static void check_reason(const struct side *side)
{
	switch (side->error.code) {
	case HF_E_PROTOCOL:
	case HF_E_VERSION:
	case HF_E_STREAM_DAMAGED:
	case HF_E_LEDGER_DAMAGED:
	case HF_E_LEDGER_UNEQUAL:
	case HF_E_MISMATCH:
	case HF_E_INVALID:
	case HF_E_BUG:
		referee_fail("I10", "the %s ended with %s: %s", side->name,
			     hf_error_name(side->error.code), side->error.text);
		return;
	default:
		break;
	}
	if (!side->error.code || !side->error.text[0])
		referee_fail("I15", "the %s failed, and does not say why", side->name);
}

static bool anything_fails(void)
{
	for (int i = 0; i < SEAM_COUNT; i++)
		if (world.scenario->fail_per_mille[i])
			return true;
	return world.scenario->fail_nth != 0;
}

static void check_home(const struct side *source)
{
	const struct hf_ledger_record *record = sledger_truth();
	char text[160];

	check_reason(source);
	if (source->running == !!world.scenario->paused)
		referee_fail("I7", "the source is HOME, and its guest %s",
			     source->running ? "runs; it was paused" : "does not run");
	for (uint32_t i = 0; i < world.scenario->devices; i++)
		if (!device_is_true(source, i, text, sizeof(text)))
			referee_fail("I7", "the source is HOME, %s", text);
	if (source->throttle && !anything_fails())
		referee_fail("I7", "the source is HOME, throttled by %u %%", source->throttle);
	if (record->revision && !world.scenario->by_hand && !world.not_ours && !may_run(source))
		referee_fail("I3", "the source is HOME, and the ledger says state %u of %s",
			     record->state, record->owner);
}

static void check_away(const struct side *source)
{
	const struct hf_ledger_record *record = sledger_truth();
	const struct side *target = &world.sides[TARGET];

	if (source->running)
		referee_fail("I7", "the source is AWAY, and its guest runs");
	if (!world.scenario->by_hand && (record->state != HF_LEDGER_AWAY || !is_owner("target")))
		referee_fail("I4", "the source is AWAY, and the ledger says state %u of %s",
			     record->state, record->owner);
	if (!target->dead && target->outcome != HF_OUTCOME_RUNNING &&
	    target->outcome != HF_OUTCOME_WAITING)
		referee_fail("I8", "the source is AWAY, and the target has %s",
			     hf_outcome_name(target->outcome));
}

static void check_lost(const struct side *source)
{
	bool reset = false;

	check_reason(source);
	for (uint32_t i = 0; i < world.scenario->devices; i++)
		reset |= device_was_reset(source, i);
	if (!reset && !source->run_failed)
		referee_fail("I6", "the source is LOST: no device was reset, and its vCPUs run");
	if (source->running && !source->stop_failed)
		referee_fail("I7", "the source is LOST, and its guest runs");
}

/* Only a target that cannot answer, or a ledger that does not, leaves a source in doubt. */
static void check_waiting(const struct side *source)
{
	const struct side *target = &world.sides[TARGET];
	const struct hf_ledger_record *record = sledger_truth();

	check_reason(source);
	if (source->running)
		referee_fail("I7", "the source is WAITING, and its guest runs");
	if (world.scenario->by_hand)
		return;
	if (world.scenario->resolve_ns && source->resolves)
		referee_fail("I9", "the operator has decided, and the source is WAITING");
	if (record->state == HF_LEDGER_CLAIMED && (target->dead || world.doubt_allowed))
		return;
	if (!world.doubt_allowed)
		referee_fail("I9", "the source is WAITING, the ledger answers, and says state %u",
			     record->state);
}

static void check_source(const struct side *source)
{
	switch (source->outcome) {
	case HF_OUTCOME_HOME:
		check_home(source);
		return;
	case HF_OUTCOME_AWAY:
		check_away(source);
		return;
	case HF_OUTCOME_LOST:
		check_lost(source);
		return;
	case HF_OUTCOME_WAITING:
		check_waiting(source);
		return;
	case HF_OUTCOME_NONE:
	case HF_OUTCOME_RUNNING:
	case HF_OUTCOME_FAILED:
		referee_fail("I8", "the source ended with %s", hf_outcome_name(source->outcome));
		return;
	}
}

static void check_target(const struct side *target)
{
	const struct side *source = &world.sides[SOURCE];
	const struct hf_ledger_record *record = sledger_truth();

	switch (target->outcome) {
	case HF_OUTCOME_RUNNING:
		if (target->running == !!world.scenario->paused)
			referee_fail("I7", "the target is RUNNING, and its guest is not");
		if (!world.scenario->by_hand && !may_run(target))
			referee_fail("I3", "the target is RUNNING, and the ledger says state %u",
				     record->state);
		if (!source->dead && source->outcome != HF_OUTCOME_AWAY &&
		    source->outcome != HF_OUTCOME_WAITING)
			referee_fail("I8", "the target is RUNNING, and the source is %s",
				     hf_outcome_name(source->outcome));
		return;
	case HF_OUTCOME_WAITING:
		if (!target->run_failed)
			referee_fail("I6", "the target is HELD, and nothing of it has failed");
		if (target->running)
			referee_fail("I7", "the target is HELD, and its vCPUs run");
		return;
	case HF_OUTCOME_FAILED:
		check_reason(target);
		if (target->running)
			referee_fail("I7", "the target has FAILED, and runs the guest");
		return;
	case HF_OUTCOME_NONE:
	case HF_OUTCOME_AWAY:
	case HF_OUTCOME_HOME:
	case HF_OUTCOME_LOST:
		referee_fail("I8", "the target ended with %s", hf_outcome_name(target->outcome));
		return;
	}
}

void referee_end(void)
{
	const struct side *source = &world.sides[SOURCE], *target = &world.sides[TARGET];

	if (!source->dead && !source->refused)
		check_source(source);
	if (!target->dead && !target->refused)
		check_target(target);
	/* A target that recorded its start is the only one who has the guest. */
	if (target->outcome == HF_OUTCOME_FAILED && !target->dead && !world.scenario->by_hand &&
	    sledger_truth()->state == HF_LEDGER_AWAY && is_owner("target"))
		referee_fail("I8",
			     "the target has FAILED, and the ledger says that it has the guest");
}
