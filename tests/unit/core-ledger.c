/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each operation of the ledger makes of each record: every combination of state, epoch, owner
 * and offered-to is asked, and what the tables here do not allow must be refused. How operations of
 * several sides meet is the explorer's, tests/sim/explore.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/ledger.h"

#define EPOCH 7u /* of the handover that asks */

enum { NOBODY, S, T, X, NAMES }; /* the source, the target, somebody else */
static const char *const names[NAMES] = { "", "source", "target", "other" };

enum { NONE = 0, HOME = HF_LEDGER_HOME, OFFERED, CLAIMED, AWAY, STATES };
static const char *const states[STATES] = { "none", "home", "offered", "claimed", "away" };

#define ANY 99u

/* One kind of record that an operation does not refuse. */
struct allowed {
	enum ledger_op op;
	unsigned int side; /* who asks */
	unsigned int state, epoch, owner, offered_to; /* of the record; ANY */
	enum ledger_verdict verdict;
	unsigned int next_state, next_epoch, next_owner, next_offered_to; /* ANY: as it was */
};

#define WRITE LEDGER_WRITE
#define ALREADY LEDGER_ALREADY
#define OP(name) LEDGER_OP_##name

/* The first that fits counts; a record for which none fits is refused. */
/* clang-format off */
static const struct allowed allowed[] = {
	/*              asks state    epoch      owner   offered       verdict  next state, epoch, owner, offered */
	{ OP(ENTER),     S,  NONE,    ANY,       ANY,    ANY,          WRITE,   HOME,    0,         S,    NOBODY },
	{ OP(ENTER),     S,  HOME,    ANY,       S,      ANY,          ALREADY, ANY,     ANY,       ANY,  ANY },
	{ OP(ENTER),     S,  AWAY,    ANY,       S,      ANY,          WRITE,   HOME,    ANY,       S,    NOBODY },

	{ OP(OFFER),     S,  HOME,    EPOCH - 1, S,      ANY,          WRITE,   OFFERED, EPOCH,     S,    T },
	{ OP(OFFER),     S,  OFFERED, EPOCH,     S,      T,            ALREADY, ANY,     ANY,       ANY,  ANY },

	{ OP(REVOKE),    S,  HOME,    EPOCH - 1, S,      ANY,          WRITE,   HOME,    EPOCH,     S,    NOBODY },
	{ OP(REVOKE),    S,  OFFERED, EPOCH,     S,      ANY,          WRITE,   HOME,    EPOCH,     S,    NOBODY },
	{ OP(REVOKE),    S,  HOME,    EPOCH,     S,      ANY,          ALREADY, ANY,     ANY,       ANY,  ANY },

	{ OP(TAKE_BACK), S,  NONE,    ANY,       ANY,    ANY,          WRITE,   HOME,    EPOCH,     S,    NOBODY },
	{ OP(TAKE_BACK), S,  HOME,    EPOCH - 1, S,      ANY,          WRITE,   HOME,    EPOCH,     S,    NOBODY },
	{ OP(TAKE_BACK), S,  OFFERED, EPOCH,     S,      ANY,          WRITE,   HOME,    EPOCH,     S,    NOBODY },
	{ OP(TAKE_BACK), S,  CLAIMED, EPOCH,     S,      ANY,          WRITE,   HOME,    EPOCH,     S,    NOBODY },
	{ OP(TAKE_BACK), S,  HOME,    EPOCH,     S,      ANY,          ALREADY, ANY,     ANY,       ANY,  ANY },

	{ OP(CLAIM),     T,  OFFERED, EPOCH,     ANY,    T,            WRITE,   CLAIMED, EPOCH,     ANY,  T },
	{ OP(CLAIM),     T,  CLAIMED, EPOCH,     ANY,    T,            ALREADY, ANY,     ANY,       ANY,  ANY },

	{ OP(STARTED),   T,  CLAIMED, EPOCH,     ANY,    T,            WRITE,   AWAY,    EPOCH,     T,    T },
	{ OP(STARTED),   T,  AWAY,    EPOCH,     ANY,    T,            ALREADY, ANY,     ANY,       ANY,  ANY },

	{ OP(RETURN),    T,  OFFERED, EPOCH,     ANY,    T,            WRITE,   HOME,    EPOCH,     ANY,  NOBODY },
	{ OP(RETURN),    T,  CLAIMED, EPOCH,     ANY,    T,            WRITE,   HOME,    EPOCH,     ANY,  NOBODY },
	{ OP(RETURN),    T,  HOME,    EPOCH,     ANY,    ANY,          ALREADY, ANY,     ANY,       ANY,  ANY },
};
/* clang-format on */

static struct hf_ledger_record record_of(unsigned int state, uint64_t epoch, unsigned int owner,
					 unsigned int offered_to)
{
	struct hf_ledger_record record = { .state = state, .epoch = epoch };

	if (state == NONE)
		return (struct hf_ledger_record){ 0 };
	record.revision = 41;
	strcpy(record.guest, "guest");
	strcpy(record.owner, names[owner]);
	strcpy(record.offered_to, names[offered_to]);
	strcpy(record.attempt, "an earlier one");
	return record;
}

static struct ledger_request request_of(enum ledger_op op, unsigned int side)
{
	struct ledger_request request = { .op = op, .epoch = EPOCH };

	strcpy(request.guest, "guest");
	strcpy(request.side, names[side]);
	strcpy(request.peer, names[side == S ? T : S]);
	strcpy(request.attempt, "this one");
	return request;
}

static const struct allowed *find(enum ledger_op op, unsigned int side, unsigned int state,
				  uint64_t epoch, unsigned int owner, unsigned int offered_to)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		const struct allowed *a = &allowed[i];

		if (a->op == op && a->side == side && a->state == state &&
		    (a->epoch == ANY || a->epoch == epoch) &&
		    (a->owner == ANY || a->owner == owner) &&
		    (a->offered_to == ANY || a->offered_to == offered_to))
			return a;
	}
	return NULL;
}

static void compare(const struct allowed *a, const struct hf_ledger_record *now,
		    const struct hf_ledger_record *next)
{
	assert_int_equal(next->state, a->next_state);
	assert_int_equal(next->epoch, a->next_epoch == ANY ? now->epoch : a->next_epoch);
	assert_string_equal(next->owner, a->next_owner == ANY ? now->owner : names[a->next_owner]);
	assert_string_equal(next->offered_to, names[a->next_offered_to]);
	assert_string_equal(next->guest, "guest");
	assert_string_equal(next->attempt, "this one");
	/* It is swapped against what was read. */
	assert_int_equal(next->revision, now->revision);
}

static void ask(enum ledger_op op, unsigned int side, unsigned int state, uint64_t epoch,
		unsigned int owner, unsigned int offered_to)
{
	struct ledger_request request = request_of(op, side);
	struct hf_ledger_record now = record_of(state, epoch, owner, offered_to), next, untouched;
	const struct allowed *a = find(op, side, state, epoch, owner, offered_to);
	enum ledger_verdict verdict, expected = a ? a->verdict : LEDGER_REFUSE;

	memset(&next, 0xa5, sizeof(next));
	untouched = next;
	verdict = ledger_next(&request, &now, &next);
	if (verdict != expected)
		fail_msg("%s by the %s on %s, epoch %+d, owner %s, offered to \"%s\": %d, not %d",
			 ledger_op_name(op), names[side], states[state], (int)epoch - (int)EPOCH,
			 names[owner], names[offered_to], (int)verdict, (int)expected);
	if (verdict != LEDGER_WRITE) {
		assert_memory_equal(&next, &untouched, sizeof(next));
		return;
	}
	compare(a, &now, &next);
	/* Repeated, it finds its own effect. */
	next.revision++;
	assert_int_equal(ledger_next(&request, &next, &untouched), LEDGER_ALREADY);
}

static void ask_all(enum ledger_op op, unsigned int side)
{
	for (unsigned int state = NONE; state < STATES; state++)
		for (uint64_t epoch = EPOCH - 2; epoch <= EPOCH + 1; epoch++)
			for (unsigned int owner = S; owner < NAMES; owner++)
				for (unsigned int to = NOBODY; to < NAMES; to++)
					ask(op, side, state, epoch, owner, to);
}

static void test_enter_takes_what_the_source_owns(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_ENTER, S);
}

static void test_offer_follows_the_epoch_before(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_OFFER, S);
}

static void test_revoke_takes_back_what_is_not_claimed(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_REVOKE, S);
}

static void test_take_back_takes_what_is_not_started(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_TAKE_BACK, S);
}

static void test_claim_takes_what_was_offered_to_this_side(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_CLAIM, T);
}

static void test_started_follows_the_own_claim(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_STARTED, T);
}

static void test_return_gives_back_what_is_not_started(void **state)
{
	(void)state;
	ask_all(LEDGER_OP_RETURN, T);
}

/* What belongs to one side is refused to a stranger, whatever the record says of others. */
static void test_strangers_are_refused(void **state)
{
	static const enum ledger_op of_source[] = { LEDGER_OP_OFFER, LEDGER_OP_REVOKE,
						    LEDGER_OP_TAKE_BACK };
	static const enum ledger_op of_target[] = { LEDGER_OP_CLAIM, LEDGER_OP_STARTED };
	struct hf_ledger_record next;

	(void)state;
	for (unsigned int s = HOME; s < STATES; s++)
		for (uint64_t epoch = EPOCH - 1; epoch <= EPOCH; epoch++) {
			struct hf_ledger_record now = record_of(s, epoch, S, T);

			for (size_t i = 0; i < 3; i++) {
				struct ledger_request request = request_of(of_source[i], X);

				assert_int_equal(ledger_next(&request, &now, &next), LEDGER_REFUSE);
			}
			for (size_t i = 0; i < 2; i++) {
				struct ledger_request request = request_of(of_target[i], X);

				assert_int_equal(ledger_next(&request, &now, &next), LEDGER_REFUSE);
			}
		}
}

/* A guest that is booted is a new one; but not while a handover of its name is undecided. */
static void test_register_counts_the_epoch_up(void **state)
{
	struct ledger_request request = request_of(LEDGER_OP_REGISTER, S);
	struct hf_ledger_record next;

	(void)state;
	for (unsigned int s = NONE; s < STATES; s++)
		for (unsigned int owner = S; owner < NAMES; owner++) {
			struct hf_ledger_record now = record_of(s, EPOCH, owner, T);
			enum ledger_verdict verdict = ledger_next(&request, &now, &next);

			if (s == OFFERED || s == CLAIMED) {
				assert_int_equal(verdict, LEDGER_REFUSE);
				continue;
			}
			assert_int_equal(verdict, LEDGER_WRITE);
			assert_int_equal(next.state, HOME);
			assert_int_equal(next.epoch, now.epoch + 1);
			assert_string_equal(next.owner, "source");
			assert_string_equal(next.offered_to, "");
			assert_int_equal(next.revision, now.revision);
		}
}

/* An offer of the old guest that comes late finds another epoch. */
static void test_register_makes_offers_under_way_fail(void **state)
{
	struct ledger_request offer = request_of(LEDGER_OP_OFFER, S);
	struct ledger_request boot = request_of(LEDGER_OP_REGISTER, S);
	struct hf_ledger_record now = record_of(HOME, EPOCH - 1, S, NOBODY), next, last;

	(void)state;
	assert_int_equal(ledger_next(&boot, &now, &next), LEDGER_WRITE);
	assert_int_equal(ledger_next(&offer, &next, &last), LEDGER_REFUSE);
}

static void test_the_reason_is_kept_until_the_next_handover(void **state)
{
	struct ledger_request giving = request_of(LEDGER_OP_RETURN, T);
	struct ledger_request enter = request_of(LEDGER_OP_ENTER, S);
	struct ledger_request revoke = request_of(LEDGER_OP_REVOKE, S);
	struct hf_ledger_record now = record_of(CLAIMED, EPOCH, S, T), next, last;

	(void)state;
	giving.reason_code = -4097;
	strcpy(giving.reason, "device 3 does not leave RESUMING");
	assert_int_equal(ledger_next(&giving, &now, &next), LEDGER_WRITE);
	assert_int_equal(next.reason_code, -4097);
	assert_string_equal(next.reason, "device 3 does not leave RESUMING");

	/* The source's revoke, which comes too late, does not paint it over. */
	assert_int_equal(ledger_next(&revoke, &next, &last), LEDGER_ALREADY);
	/* The next handover begins without. */
	assert_int_equal(ledger_next(&enter, &next, &last), LEDGER_WRITE);
	assert_int_equal(last.reason_code, 0);
	assert_string_equal(last.reason, "");
	assert_int_equal(last.epoch, EPOCH);
}

static void test_a_request_without_a_reason_leaves_what_is_there(void **state)
{
	struct ledger_request revoke = request_of(LEDGER_OP_REVOKE, S);
	struct hf_ledger_record now = record_of(OFFERED, EPOCH, S, T), next;

	(void)state;
	now.reason_code = -5;
	strcpy(now.reason, "an older one");
	assert_int_equal(ledger_next(&revoke, &now, &next), LEDGER_WRITE);
	assert_int_equal(next.reason_code, -5);
	assert_string_equal(next.reason, "an older one");
}

static void test_note_changes_the_reason_only(void **state)
{
	struct ledger_request note = request_of(LEDGER_OP_NOTE, T);
	struct hf_ledger_record next, last;

	(void)state;
	for (unsigned int s = HOME; s < STATES; s++) {
		struct hf_ledger_record now = record_of(s, EPOCH, S, T);

		note.reason_code = 0;
		assert_int_equal(ledger_next(&note, &now, &next), LEDGER_REFUSE);
		note.reason_code = -9;
		strcpy(note.reason, "words");
		if (s == AWAY) { /* nothing has failed */
			assert_int_equal(ledger_next(&note, &now, &next), LEDGER_REFUSE);
			continue;
		}
		assert_int_equal(ledger_next(&note, &now, &next), LEDGER_WRITE);
		assert_int_equal(next.state, s);
		assert_int_equal(next.epoch, EPOCH);
		assert_string_equal(next.owner, "source");
		assert_string_equal(next.offered_to, "target");
		assert_int_equal(next.reason_code, -9);
		assert_int_equal(ledger_next(&note, &next, &last), LEDGER_ALREADY);
	}
	last = record_of(HOME, EPOCH - 1, S, T); /* before the offer */
	assert_int_equal(ledger_next(&note, &last, &next), LEDGER_WRITE);
	last = record_of(OFFERED, EPOCH + 1, S, T); /* too late: of another handover */
	assert_int_equal(ledger_next(&note, &last, &next), LEDGER_REFUSE);
	last = record_of(NONE, 0, S, T);
	assert_int_equal(ledger_next(&note, &last, &next), LEDGER_REFUSE);
}

static bool zero_behind(const char *text, size_t size)
{
	for (size_t i = strnlen(text, size); i < size; i++)
		if (text[i])
			return false;
	return true;
}

/* Names and reasons at their limits are cut, ended, and nothing stale is behind them. */
static void test_a_record_leaves_whole(void **state)
{
	struct ledger_request request = request_of(LEDGER_OP_RETURN, T);
	struct hf_ledger_record now = record_of(CLAIMED, EPOCH, S, T), next;

	(void)state;
	memset(now.attempt, 'x', sizeof(now.attempt));
	memset(now.reason, 'x', sizeof(now.reason));
	memset(request.reason, 'r', sizeof(request.reason));
	request.reason_code = -1;
	assert_int_equal(ledger_next(&request, &now, &next), LEDGER_WRITE);
	assert_true(zero_behind(next.attempt, sizeof(next.attempt)));
	assert_true(zero_behind(next.offered_to, sizeof(next.offered_to)));
	assert_int_equal(strnlen(next.reason, sizeof(next.reason)), sizeof(next.reason) - 1);
	request.reason[0] = '\0';
	assert_int_equal(ledger_next(&request, &now, &next), LEDGER_WRITE);
	assert_true(zero_behind(next.reason, sizeof(next.reason)));
}

static void test_the_view_of_every_record(void **state)
{
	(void)state;
	for (unsigned int s = NONE; s < STATES; s++)
		for (uint64_t epoch = EPOCH - 1; epoch <= EPOCH + 1; epoch++)
			for (unsigned int owner = S; owner < NAMES; owner++) {
				struct hf_ledger_record now = record_of(s, epoch, owner, T);
				enum ledger_view expected = LEDGER_VIEW_HOME;

				if (owner != S)
					expected = LEDGER_VIEW_AWAY;
				else if (epoch == EPOCH && s == OFFERED)
					expected = LEDGER_VIEW_OFFERED;
				else if (epoch == EPOCH && s == CLAIMED)
					expected = LEDGER_VIEW_CLAIMED;
				/* A record that was lost does not say that the guest is gone. */
				if (s == NONE)
					expected = LEDGER_VIEW_CLAIMED;
				assert_int_equal(ledger_view(&now, "source", EPOCH), expected);
			}
}

static void test_names_are_all_different(void **state)
{
	(void)state;
	for (int a = 0; a < LEDGER_OP_COUNT; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(ledger_op_name((enum ledger_op)a),
						ledger_op_name((enum ledger_op)b));
	assert_string_equal(ledger_op_name(LEDGER_OP_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enter_takes_what_the_source_owns),
		cmocka_unit_test(test_offer_follows_the_epoch_before),
		cmocka_unit_test(test_revoke_takes_back_what_is_not_claimed),
		cmocka_unit_test(test_take_back_takes_what_is_not_started),
		cmocka_unit_test(test_claim_takes_what_was_offered_to_this_side),
		cmocka_unit_test(test_started_follows_the_own_claim),
		cmocka_unit_test(test_return_gives_back_what_is_not_started),
		cmocka_unit_test(test_strangers_are_refused),
		cmocka_unit_test(test_register_counts_the_epoch_up),
		cmocka_unit_test(test_register_makes_offers_under_way_fail),
		cmocka_unit_test(test_the_reason_is_kept_until_the_next_handover),
		cmocka_unit_test(test_a_request_without_a_reason_leaves_what_is_there),
		cmocka_unit_test(test_note_changes_the_reason_only),
		cmocka_unit_test(test_a_record_leaves_whole),
		cmocka_unit_test(test_the_view_of_every_record),
		cmocka_unit_test(test_names_are_all_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
