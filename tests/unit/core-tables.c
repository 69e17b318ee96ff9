/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two tables of the handover, as tables: complete, without doubles, without dead entries, and
 * equal to docs/source-matrix.txt and docs/target-matrix.txt, so that a change of the handover is
 * seen as a change of a document. What they do together is the explorer's, tests/sim/explore.c.
 *
 *   unit-core-tables source > docs/source-matrix.txt     writes a matrix anew; target likewise
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/source.h"
#include "core/target.h"

#define ACTIONS_MAX 4

struct row {
	unsigned int state, event, next, actions[ACTIONS_MAX];
};

/* One table, with its types put aside: both are asked the same questions. */
struct side {
	const char *name;
	unsigned int states, events, actions;
	bool (*row_at)(unsigned int index, struct row *ret_row);
	const char *(*state_name)(unsigned int state);
	const char *(*state_text)(unsigned int state);
	const char *(*event_name)(unsigned int event);
	const char *(*action_name)(unsigned int action);
	bool (*ended)(unsigned int state);
	bool (*can_cancel)(unsigned int state);
	unsigned int fail, cancel, too_late;
};

#define SIDE(who, WHO)                                                                             \
	static bool who##_at(unsigned int index, struct row *ret_row)                              \
	{                                                                                          \
		const struct who##_row *row = who##_row_at(index);                                 \
                                                                                                   \
		if (!row)                                                                          \
			return false;                                                              \
		*ret_row = (struct row){ row->state, row->event, row->next, { 0 } };               \
		for (unsigned int i = 0; i < ACTIONS_MAX; i++)                                     \
			ret_row->actions[i] = row->actions[i];                                     \
		return true;                                                                       \
	}                                                                                          \
	static const char *who##_state(unsigned int state)                                         \
	{                                                                                          \
		return who##_state_name((enum who##_state)state);                                  \
	}                                                                                          \
	static const char *who##_text(unsigned int state)                                          \
	{                                                                                          \
		return who##_state_text((enum who##_state)state);                                  \
	}                                                                                          \
	static const char *who##_event(unsigned int event)                                         \
	{                                                                                          \
		return who##_event_name((enum who##_event)event);                                  \
	}                                                                                          \
	static const char *who##_action(unsigned int action)                                       \
	{                                                                                          \
		return who##_action_name((enum who##_action)action);                               \
	}                                                                                          \
	static bool who##_has_ended(unsigned int state)                                            \
	{                                                                                          \
		return who##_ended((enum who##_state)state);                                       \
	}                                                                                          \
	static bool who##_may_cancel(unsigned int state)                                           \
	{                                                                                          \
		return who##_can_cancel((enum who##_state)state);                                  \
	}                                                                                          \
	static const struct side who##_side = {                                                    \
		#who,		WHO##_STATE_COUNT, WHO##_EVENT_COUNT, WHO##_ACTION_COUNT,          \
		who##_at,	who##_state,	   who##_text,	      who##_event,                 \
		who##_action,	who##_has_ended,   who##_may_cancel,  WHO##_E_FAIL,                \
		WHO##_E_CANCEL, WHO##_A_TOO_LATE,                                                  \
	}

SIDE(source, SOURCE);
SIDE(target, TARGET);

static const struct side *side_of(void **state)
{
	return (const struct side *)*state;
}

static bool find(const struct side *side, unsigned int state, unsigned int event,
		 struct row *ret_row)
{
	for (unsigned int i = 0; side->row_at(i, ret_row); i++)
		if (ret_row->state == state && ret_row->event == event)
			return true;
	return false;
}

static void test_fail_has_a_row_in_every_state(void **state)
{
	const struct side *side = side_of(state);
	struct row row;

	for (unsigned int s = 0; s < side->states; s++)
		if (!find(side, s, side->fail, &row))
			fail_msg("%s: %s has no row for FAIL", side->name, side->state_name(s));
}

static void test_no_pair_has_two_rows(void **state)
{
	const struct side *side = side_of(state);
	struct row a, b;

	for (unsigned int i = 0; side->row_at(i, &a); i++)
		for (unsigned int j = 0; j < i && side->row_at(j, &b); j++)
			if (a.state == b.state && a.event == b.event)
				fail_msg("%s: %s on %s has rows %u and %u", side->name,
					 side->state_name(a.state), side->event_name(a.event), j,
					 i);
}

static void test_every_state_is_reached_from_idle(void **state)
{
	const struct side *side = side_of(state);
	bool reached[64] = { true }, more = true;
	struct row row;

	assert_true(side->states <= 64);
	while (more) {
		more = false;
		for (unsigned int i = 0; side->row_at(i, &row); i++)
			if (reached[row.state] && !reached[row.next])
				reached[row.next] = more = true;
	}
	for (unsigned int s = 0; s < side->states; s++)
		if (!reached[s])
			fail_msg("%s: nothing leads to %s", side->name, side->state_name(s));
}

static void test_every_state_leads_to_an_end(void **state)
{
	const struct side *side = side_of(state);
	bool leads[64] = { false }, more = true;
	struct row row;

	for (unsigned int s = 0; s < side->states; s++)
		leads[s] = side->ended(s);
	while (more) {
		more = false;
		for (unsigned int i = 0; side->row_at(i, &row); i++)
			if (leads[row.next] && !leads[row.state])
				leads[row.state] = more = true;
	}
	for (unsigned int s = 0; s < side->states; s++)
		if (!leads[s])
			fail_msg("%s: %s does not end", side->name, side->state_name(s));
}

static void test_every_event_and_action_is_used(void **state)
{
	const struct side *side = side_of(state);
	bool events[64] = { false }, actions[64] = { true };
	struct row row;

	for (unsigned int i = 0; side->row_at(i, &row); i++) {
		events[row.event] = true;
		for (unsigned int a = 0; a < ACTIONS_MAX; a++)
			actions[row.actions[a]] = true;
	}
	for (unsigned int e = 0; e < side->events; e++)
		if (!events[e])
			fail_msg("%s: no row has %s", side->name, side->event_name(e));
	for (unsigned int a = 0; a < side->actions; a++)
		if (!actions[a])
			fail_msg("%s: no row does %s", side->name, side->action_name(a));
}

/* NONE ends the actions, and no more than ACTIONS_MAX fit: nothing stands behind it. */
static void test_nothing_stands_behind_the_last_action(void **state)
{
	const struct side *side = side_of(state);
	struct row row;

	for (unsigned int i = 0; side->row_at(i, &row); i++)
		for (unsigned int a = 1; a < ACTIONS_MAX; a++)
			if (row.actions[a] && !row.actions[a - 1])
				fail_msg("%s: row %u has a gap", side->name, i);
}

/* WAITING has ended and is not decided: an operator brings it back. */
static bool is_operators(const struct side *side, const struct row *row)
{
	return side == &source_side && row->state == SOURCE_WAITING &&
	       (row->event == SOURCE_E_ASK || row->event == SOURCE_E_TAKE_BACK ||
		row->event == SOURCE_E_LET_GO);
}

static void test_an_ended_session_stays_as_it_is(void **state)
{
	const struct side *side = side_of(state);
	struct row row;

	for (unsigned int i = 0; side->row_at(i, &row); i++)
		if (side->ended(row.state) && !is_operators(side, &row)) {
			assert_int_equal(row.event, side->fail);
			assert_int_equal(row.next, row.state);
			assert_int_equal(row.actions[0], 0);
		}
}

/* END stands in the rows that lead to an end, and in no others. */
static void test_end_is_said_once(void **state)
{
	const struct side *side = side_of(state);
	struct row row;

	for (unsigned int i = 0; side->row_at(i, &row); i++) {
		bool says = false;

		for (unsigned int a = 0; a < ACTIONS_MAX; a++)
			says |= strcmp(side->action_name(row.actions[a]), "END") == 0;
		assert_int_equal(says, side->ended(row.next) && (!side->ended(row.state) ||
								 is_operators(side, &row)));
	}
}

/* Too late is said where the cancel does nothing, and where cancelling is not promised any more. */
static void test_cancel_does_what_can_cancel_promises(void **state)
{
	const struct side *side = side_of(state);
	struct row row;

	for (unsigned int s = 0; s < side->states; s++) {
		if (!find(side, s, side->cancel, &row)) {
			assert_true(side->ended(s));
			continue;
		}
		if (side->can_cancel(s))
			assert_int_not_equal(row.next, s);
		else
			assert_int_equal(row.next, s);
		if (row.actions[0] == side->too_late)
			assert_false(side->can_cancel(s));
	}
}

static void test_names_are_all_different(void **state)
{
	const struct side *side = side_of(state);

	for (unsigned int a = 0; a < side->states; a++) {
		assert_true(side->state_text(a)[0]);
		for (unsigned int b = 0; b < a; b++)
			assert_string_not_equal(side->state_name(a), side->state_name(b));
	}
	for (unsigned int a = 0; a < side->events; a++)
		for (unsigned int b = 0; b < a; b++)
			assert_string_not_equal(side->event_name(a), side->event_name(b));
	for (unsigned int a = 0; a < side->actions; a++)
		for (unsigned int b = 0; b < a; b++)
			assert_string_not_equal(side->action_name(a), side->action_name(b));
	assert_string_equal(side->state_name(side->states), "?");
	assert_string_equal(side->state_text(side->states), "?");
	assert_string_equal(side->event_name(side->events), "?");
	assert_string_equal(side->action_name(side->actions), "?");
}

/* ---- the matrix as a document ---------------------------------------------------------------- */

static void print_state(const struct side *side, unsigned int state, FILE *out)
{
	struct row row;
	unsigned int column = 0;

	fprintf(out, "\n%s waits for %s\n", side->state_name(state), side->state_text(state));
	for (unsigned int e = 0; e < side->events; e++) {
		if (!find(side, state, e, &row))
			continue;
		fprintf(out, "  %-14s -> %-11s", side->event_name(e), side->state_name(row.next));
		for (unsigned int a = 0; a < ACTIONS_MAX && row.actions[a]; a++)
			fprintf(out, "%s%s", a ? ", " : " ", side->action_name(row.actions[a]));
		fprintf(out, "\n");
	}
	if (side->ended(state))
		return; /* nothing is applied any more */
	for (unsigned int e = 0; e < side->events; e++) {
		if (find(side, state, e, &row))
			continue;
		if (column == 0 || column + strlen(side->event_name(e)) > 92)
			column = (unsigned int)fprintf(out, "%s  as FAIL:", column ? "\n" : "");
		column += (unsigned int)fprintf(out, " %s", side->event_name(e));
	}
	fprintf(out, "\n");
}

static void print_matrix(const struct side *side, FILE *out)
{
	fprintf(out,
		"The %s's table, lib/core/%s.c. Written by: unit-core-tables %s\n"
		"Each pair of state and event: where it leads, and what is done. A pair without a\n"
		"row is a breach of the protocol, or of our own rules, and is taken as FAIL.\n",
		side->name, side->name, side->name);
	for (unsigned int s = 0; s < side->states; s++)
		print_state(side, s, out);
}

static void trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && (end[-1] == '\n' || end[-1] == ' '))
		*--end = '\0';
}

static void test_the_document_says_the_same(void **state)
{
	const struct side *side = side_of(state);
	char path[4096], said[256], is[256];
	FILE *document, *now = tmpfile();
	unsigned int line = 0;
	char *a, *b;

	(void)snprintf(path, sizeof(path), DOCS "/%s-matrix.txt", side->name);
	document = fopen(path, "r");
	assert_non_null(now);
	if (!document)
		fail_msg("%s cannot be read", path);
	print_matrix(side, now);
	rewind(now);
	do {
		line++;
		a = fgets(is, sizeof(is), now);
		b = fgets(said, sizeof(said), document);
		trim(a ? is : strcpy(is, "(nothing)"));
		trim(b ? said : strcpy(said, "(nothing)"));
		if (strcmp(is, said) != 0)
			fail_msg("%s:%u says \"%s\", the table \"%s\"; after a wanted change: "
				 "unit-core-tables %s > docs/%s-matrix.txt",
				 path, line, said, is, side->name, side->name);
	} while (a && b);
	(void)fclose(now);
	(void)fclose(document);
}

/* ---- what only one of them has --------------------------------------------------------------- */

static void test_the_source_frees_only_what_is_away(void **state)
{
	const struct source_row *row;

	(void)state;
	for (unsigned int i = 0; (row = source_row_at(i)); i++)
		for (unsigned int a = 0; a < SOURCE_ACTIONS_MAX; a++)
			if (row->actions[a] == SOURCE_A_RELEASE) {
				assert_int_equal(row->next, SOURCE_AWAY);
				assert_true(row->event == SOURCE_E_STARTED ||
					    row->event == SOURCE_E_LEDGER_AWAY ||
					    row->event == SOURCE_E_LET_GO);
			}
}

/* Whoever comes back must not assume that nothing was offered, nor that vCPUs run. */
static void test_a_source_that_comes_back_is_exposed(void **state)
{
	struct source source;
	bool unexpected;

	(void)state;
	source_init(&source);
	assert_int_equal(source_step(&source, SOURCE_E_RESTART, &unexpected)->actions[0],
			 SOURCE_A_LEDGER_REVOKE);
	assert_false(unexpected);
	assert_true(source.stopped);
	assert_true(source.exposed);
}

static void test_an_operator_is_heard_only_in_doubt(void **state)
{
	(void)state;
	for (int s = 0; s < SOURCE_STATE_COUNT; s++) {
		bool can = source_can_resolve((enum source_state)s);

		assert_int_equal(can, source_row((enum source_state)s, SOURCE_E_ASK) != NULL);
		assert_int_equal(can, source_row((enum source_state)s, SOURCE_E_TAKE_BACK) != NULL);
	}
}

static void test_the_target_runs_only_what_it_recorded(void **state)
{
	const struct target_row *row;

	(void)state;
	for (unsigned int i = 0; (row = target_row_at(i)); i++)
		for (unsigned int a = 0; a < TARGET_ACTIONS_MAX; a++)
			if (row->actions[a] == TARGET_A_MACHINE_RUN) {
				assert_int_equal(row->state, TARGET_RECORDING);
				assert_int_equal(row->event, TARGET_E_LEDGER_DONE);
			}
}

static void test_an_event_without_a_row_is_a_failure(void **state)
{
	struct source source;
	struct target target;
	bool unexpected = false;

	(void)state;
	source_init(&source);
	assert_ptr_equal(source_step(&source, SOURCE_E_STARTED, &unexpected),
			 source_row(SOURCE_IDLE, SOURCE_E_FAIL));
	assert_true(unexpected);
	assert_int_equal(source.state, SOURCE_HOME);
	target_init(&target);
	assert_ptr_equal(target_step(&target, TARGET_E_GO, &unexpected),
			 target_row(TARGET_IDLE, TARGET_E_FAIL));
	assert_true(unexpected);
	assert_int_equal(target.state, TARGET_FAILED);
	assert_non_null(target_step(&target, TARGET_E_FAIL, &unexpected));
	assert_false(unexpected);
}

#define OF(who, test)                                                                              \
	{                                                                                          \
#test "_" #who, test, NULL, NULL, (void *)(uintptr_t)&who##_side                   \
	}
#define OF_BOTH(test) OF(source, test), OF(target, test)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		OF_BOTH(test_fail_has_a_row_in_every_state),
		OF_BOTH(test_no_pair_has_two_rows),
		OF_BOTH(test_every_state_is_reached_from_idle),
		OF_BOTH(test_every_state_leads_to_an_end),
		OF_BOTH(test_every_event_and_action_is_used),
		OF_BOTH(test_nothing_stands_behind_the_last_action),
		OF_BOTH(test_an_ended_session_stays_as_it_is),
		OF_BOTH(test_end_is_said_once),
		OF_BOTH(test_cancel_does_what_can_cancel_promises),
		OF_BOTH(test_names_are_all_different),
		OF_BOTH(test_the_document_says_the_same),
		cmocka_unit_test(test_the_source_frees_only_what_is_away),
		cmocka_unit_test(test_a_source_that_comes_back_is_exposed),
		cmocka_unit_test(test_an_operator_is_heard_only_in_doubt),
		cmocka_unit_test(test_the_target_runs_only_what_it_recorded),
		cmocka_unit_test(test_an_event_without_a_row_is_a_failure),
	};

	if (argc > 1) {
		print_matrix(strcmp(argv[1], "target") == 0 ? &target_side : &source_side, stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
