/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The world's ledger: one record, durable whatever dies, behind a road of its own. A request takes
 * time to arrive and its answer to come back; either may be lost or late, and a request may arrive
 * twice. A swap is one atomic step at the time at which it arrives.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "net-world.h"

#define WRITES_MAX 256u /* requests under way; the oldest of them has long arrived */

/* A swap on its way: it arrives, also when who sent it has died since. */
struct request {
	struct hf_ledger_record record;
	char who[16];
	bool arrived, written;
	struct hf_ledger_record now; /* as it left it */
};

static struct {
	struct hf_ledger_record record;
	struct request requests[WRITES_MAX];
	uint32_t count;
} book;

const struct hf_ledger_record *sledger_truth(void)
{
	return &book.record;
}

static void begin_with(struct hf_ledger_record *record, enum first_record first)
{
	static const uint32_t states[FIRST_COUNT] = { 0,
						      HF_LEDGER_HOME,
						      HF_LEDGER_AWAY,
						      HF_LEDGER_HOME,
						      HF_LEDGER_OFFERED,
						      HF_LEDGER_CLAIMED };

	if (first == FIRST_NONE || world.scenario->by_hand)
		return;
	record->revision = 7;
	record->epoch = 5;
	record->state = states[first];
	world.not_ours = first >= FIRST_OTHERS;
	(void)snprintf(record->owner, HF_NAME_MAX, first == FIRST_OTHERS ? "other" : "source");
	(void)snprintf(record->attempt, HF_NAME_MAX, "before");
	if (first == FIRST_CAME)
		(void)snprintf(record->offered_to, HF_NAME_MAX, "source");
	if (first == FIRST_OFFERED || first == FIRST_CLAIMED)
		(void)snprintf(record->offered_to, HF_NAME_MAX, "other");
	if (first == FIRST_HOME) {
		record->reason_code = HF_E_CANCELLED;
		(void)snprintf(record->reason, sizeof(record->reason), "an old reason");
	}
}

void sledger_begin(void)
{
	memset(&book, 0, sizeof(book));
	(void)snprintf(book.record.guest, sizeof(book.record.guest), "guest");
	begin_with(&book.record, world.scenario->first);
}

static const char *state_name(uint32_t state)
{
	static const char *const names[] = { "none", "HOME", "OFFERED", "CLAIMED", "AWAY" };

	return state <= HF_LEDGER_AWAY ? names[state] : "?";
}

/* The atomic step. */
static bool write_record(const struct hf_ledger_record *record, const char *who)
{
	if (record->revision != book.record.revision) {
		story("ledger", "%s: %s is refused, revision %llu is not %llu", who,
		      state_name(record->state), (unsigned long long)record->revision,
		      (unsigned long long)book.record.revision);
		return false;
	}
	if (world.scenario->sabotage == SABOTAGE_LIAR && record->state == HF_LEDGER_AWAY)
		return true;
	book.record = *record;
	book.record.revision++;
	story("ledger", "%s: %s, owner %s%s%s", who, state_name(record->state), record->owner,
	      record->offered_to[0] ? ", to " : "", record->offered_to);
	return true;
}

static void arrive(void *ctx, uint64_t index)
{
	struct request *request = &book.requests[index];

	(void)ctx;
	request->written = write_record(&request->record, request->who);
	request->now = book.record;
	request->arrived = true;
	sched_wake(request, true);
}

static struct request *send_request(const struct hf_ledger_record *record, const char *who,
				    uint64_t at_ns)
{
	uint32_t index = book.count++ % WRITES_MAX;
	struct request *request = &book.requests[index];

	*request = (struct request){ .record = *record };
	(void)snprintf(request->who, sizeof(request->who), "%s", who);
	sched_at(at_ns, arrive, NULL, index);
	return request;
}

static bool rolls(uint32_t per_mille)
{
	return !world.calm && per_mille && world.scenario->ledger.whom & 1u << sched_side() &&
	       sched_chance(per_mille);
}

/* How long it is on its way there, or back. */
static uint64_t way_ns(void)
{
	const struct ledger_mood *mood = &world.scenario->ledger;

	if (rolls(mood->slow_per_mille)) {
		story("ledger", "%s: slow", world_side()->name);
		return mood->slow_ns;
	}
	return sched_between(mood->delay_ns_min, mood->delay_ns_max) / 2;
}

static void travel(void)
{
	sched_sleep_until(sched_now() + way_ns());
}

static bool is_out(void)
{
	return !world.calm && world.scenario->ledger.whom & 1u << sched_side() &&
	       world.out_to_ns > world_ns() && world.out_from_ns <= world_ns();
}

static int fail(struct hf_error *err, const char *why)
{
	story("ledger", "%s: %s", world_side()->name, why);
	return error_set(err, HF_E_LEDGER_UNKNOWN, EIO, "%s", why);
}

static int book_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		     struct hf_error *err)
{
	const struct ledger_mood *mood = &world.scenario->ledger;

	(void)self;
	assert(strcmp(guest, "guest") == 0);
	if (seam_fails(SEAM_LEDGER, "read"))
		return fail(err, "a failed read");
	travel();
	if (is_out() || rolls(mood->fails_per_mille) || rolls(mood->lost_per_mille))
		return fail(err, "a read that is not answered");
	*ret_record = book.record;
	travel();
	return 0;
}

static int book_swap(void *self, const struct hf_ledger_record *record,
		     struct hf_ledger_record *ret_now, struct hf_error *err)
{
	const struct ledger_mood *mood = &world.scenario->ledger;
	const char *who = world_side()->name;
	const struct request *request;

	(void)self;
	if (seam_fails(SEAM_LEDGER, "swap"))
		return fail(err, "a failed swap");
	if (rolls(mood->late_per_mille)) {
		story("ledger", "%s: a swap that will come late", who);
		(void)send_request(record, "late", sched_now() + sched_between(1 * MS, 2 * S));
		travel();
		return HF_LEDGER_UNKNOWN;
	}
	if (is_out() || rolls(mood->fails_per_mille) || rolls(mood->lost_per_mille)) {
		travel();
		return fail(err, "a swap that is lost");
	}
	request = send_request(record, who, sched_now() + way_ns());
	if (rolls(mood->twice_per_mille))
		(void)send_request(record, "again", sched_now() + sched_between(1 * MS, 2 * S));
	while (!request->arrived)
		(void)sched_wait(request, SCHED_NEVER, "the ledger");
	travel();
	if (seam_fails(SEAM_LEDGER, "answer") || rolls(mood->mute_per_mille) || is_out()) {
		story("ledger", "%s: the answer is lost", who);
		return HF_LEDGER_UNKNOWN;
	}
	*ret_now = request->now;
	if (request->written && world.scenario->sabotage == SABOTAGE_LIAR) {
		*ret_now = *record;
		ret_now->revision = record->revision + 1;
	}
	return request->written ? HF_LEDGER_DONE : HF_LEDGER_REFUSED;
}

static void book_close(void *self)
{
	(void)self;
}

static const struct hf_ledger_ops ops = { .size = sizeof(ops),
					  .kind = "net",
					  .read = book_read,
					  .swap = book_swap,
					  .close = book_close };

static int none_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		     struct hf_error *err)
{
	(void)self;
	(void)guest;
	(void)ret_record;
	return error_set(err, HF_E_BUG, 0, "there is no ledger to read");
}

static int none_swap(void *self, const struct hf_ledger_record *record,
		     struct hf_ledger_record *ret_now, struct hf_error *err)
{
	(void)self;
	(void)record;
	(void)ret_now;
	return error_set(err, HF_E_BUG, 0, "there is no ledger to write");
}

static const struct hf_ledger_ops none_ops = { .size = sizeof(none_ops),
					       .kind = "none",
					       .read = none_read,
					       .swap = none_swap,
					       .close = book_close };

void sledger_open(struct side *side)
{
	side->config.ledger = (struct hf_ledger){ .ops = &ops, .self = &book };
	(void)snprintf(side->config.ledger.uri, sizeof(side->config.ledger.uri), "net:book");
	if (world.scenario->by_hand) {
		side->config.ledger = (struct hf_ledger){ .ops = &none_ops, .self = &book };
		(void)snprintf(side->config.ledger.uri, sizeof(side->config.ledger.uri), "none");
	}
}
