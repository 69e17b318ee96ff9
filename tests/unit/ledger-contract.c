/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every kind of ledger promises, shown for each: compare and swap, one winner, records that
 * stay. What only files can do (be damaged, be left behind, outlive a killed writer) is in
 * ledger-file.c.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/ledger.h"
#include "etcd-servers.h"

#define RACE_ROUNDS_MAX 1000u

/* The kind under test, and a handle that keeps a memory ledger alive for the whole group. */
static char uri[HF_URI_MAX];
static char dir[64];
static struct hf_ledger keeper;
static struct servers *servers;
static unsigned int race_rounds = RACE_ROUNDS_MAX;

static void opened(struct hf_ledger *ledger)
{
	struct hf_error err = { 0 };

	if (hf_ledger_open(uri, ledger, &err) < 0)
		fail_msg("%s", err.text);
}

static struct hf_ledger_record make(const char *guest, uint64_t revision, const char *attempt)
{
	struct hf_ledger_record record;

	memset(&record, 0, sizeof(record));
	(void)snprintf(record.guest, sizeof(record.guest), "%s", guest);
	(void)snprintf(record.owner, sizeof(record.owner), "alpha.1");
	(void)snprintf(record.attempt, sizeof(record.attempt), "%s", attempt);
	record.state = HF_LEDGER_HOME;
	record.revision = revision;
	return record;
}

static void assert_same(const struct hf_ledger_record *a, const struct hf_ledger_record *b)
{
	assert_string_equal(a->guest, b->guest);
	assert_int_equal(a->revision, b->revision);
	assert_int_equal(a->epoch, b->epoch);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->reason_code, b->reason_code);
	assert_string_equal(a->owner, b->owner);
	assert_string_equal(a->offered_to, b->offered_to);
	assert_string_equal(a->attempt, b->attempt);
	assert_memory_equal(a->reason, b->reason, sizeof(a->reason));
}

static void a_guest_without_a_record_has_revision_0(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record;
	struct hf_error err = { 0 };

	(void)state;
	memset(&record, 0xff, sizeof(record));
	opened(&ledger);
	assert_int_equal(ledger_read(&ledger, "nobody", &record, &err), 0);
	assert_int_equal(record.revision, 0);
	assert_string_equal(record.guest, "nobody");
	assert_string_equal(record.owner, "");
	hf_ledger_close(&ledger);
	assert_null(ledger.ops);
	hf_ledger_close(&ledger); /* empty: fine */
}

static void what_is_written_is_read_by_another_handle(void **state)
{
	struct hf_ledger a = { 0 }, b = { 0 };
	struct hf_ledger_record record = make("written", 0, "w1"), now, seen;
	struct hf_error err = { 0 };

	(void)state;
	opened(&a);
	opened(&b);
	assert_string_equal(a.uri, b.uri);
	record.epoch = UINT64_MAX;
	record.state = HF_LEDGER_OFFERED;
	record.reason_code = HF_E_DEVICE_STATE;
	(void)snprintf(record.offered_to, sizeof(record.offered_to), "beta \\ 2");
	for (size_t i = 0; i < sizeof(record.reason) - 1; i++)
		record.reason[i] = (char)(i + 1); /* every byte but 0 */
	if (ledger_swap(&a, &record, &now, &err) != HF_LEDGER_DONE)
		fail_msg("%s", err.text);
	assert_true(now.revision > 0);
	record.revision = now.revision;
	assert_same(&now, &record);
	assert_int_equal(ledger_read(&b, "written", &seen, &err), 0);
	assert_same(&seen, &now);
	hf_ledger_close(&a);
	hf_ledger_close(&b);
}

static void a_record_outlives_its_handle(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record = make("outlives", 0, "o1"), now, seen;

	(void)state;
	opened(&ledger);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	hf_ledger_close(&ledger);
	opened(&ledger);
	assert_int_equal(ledger_read(&ledger, "outlives", &seen, NULL), 0);
	assert_same(&seen, &now);
	hf_ledger_close(&ledger);
}

static void the_wrong_revision_is_refused_with_the_record_as_it_stands(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record first = make("refused", 0, "r1"), now, answer, next;

	(void)state;
	opened(&ledger);
	next = make("refused", 7, "r0");
	assert_int_equal(ledger_swap(&ledger, &next, &answer, NULL), HF_LEDGER_REFUSED);
	assert_int_equal(answer.revision, 0); /* there is none: refused all the same */

	assert_int_equal(ledger_swap(&ledger, &first, &now, NULL), HF_LEDGER_DONE);
	next = make("refused", 0, "r2");
	assert_int_equal(ledger_swap(&ledger, &next, &answer, NULL), HF_LEDGER_REFUSED);
	assert_same(&answer, &now);
	next = make("refused", now.revision + 1, "r3");
	assert_int_equal(ledger_swap(&ledger, &next, &answer, NULL), HF_LEDGER_REFUSED);
	assert_same(&answer, &now);
	next = make("refused", now.revision, "r4");
	assert_int_equal(ledger_swap(&ledger, &next, &answer, NULL), HF_LEDGER_DONE);
	assert_true(answer.revision > now.revision);
	hf_ledger_close(&ledger);
}

static void the_same_attempt_again_is_done_once(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record = make("again", 0, "g1"), now, answer, other;

	(void)state;
	opened(&ledger);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(ledger_swap(&ledger, &record, &answer, NULL), HF_LEDGER_DONE);
	assert_same(&answer, &now);

	/* After somebody else's write, it is late. */
	other = make("again", now.revision, "g2");
	assert_int_equal(ledger_swap(&ledger, &other, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(ledger_swap(&ledger, &record, &answer, NULL), HF_LEDGER_REFUSED);
	assert_same(&answer, &now);
	hf_ledger_close(&ledger);
}

static void names_and_records_are_checked(void **state)
{
	static const char *const bad[] = {
		"",
		".",
		".hidden",
		"a/b",
		"a b",
		"a\n",
		"\xc3\xa4",
		"..",
		"0123456789012345678901234567890123456789012345678901234567890123"
	};
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record, now;
	struct hf_error err = { 0 };
	char longest[HF_NAME_MAX] = { 0 };

	(void)state;
	opened(&ledger);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(ledger_read(&ledger, bad[i], &now, &err), HF_E_INVALID);
		assert_int_equal(err.code, HF_E_INVALID);
		record = make("x", 0, "n1");
		memset(record.guest, 0, sizeof(record.guest));
		memcpy(record.guest, bad[i], strnlen(bad[i], sizeof(record.guest)));
		assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_E_INVALID);
	}
	memset(longest, 'x', sizeof(longest) - 1);
	assert_int_equal(ledger_read(&ledger, longest, &now, NULL), 0);
	record = make(longest, 0, longest);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);

	record = make("checked", 0, "n2");
	record.reason[sizeof(record.reason) - 1] = 'x'; /* behind the NUL */
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_INVALID);
	record = make("checked", 0, "n3");
	memset(record.owner, 'x', sizeof(record.owner)); /* no NUL */
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_INVALID);
	record = make("checked", 0, "");
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_INVALID);
	record = make("checked", 0, "n4");
	record.state = HF_LEDGER_AWAY + 1;
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_INVALID);
	record.state = 0;
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_INVALID);
	record.state = HF_LEDGER_CLAIMED; /* by nobody */
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_INVALID);
	assert_int_equal(ledger_read(&ledger, "checked", &now, NULL), 0);
	assert_int_equal(now.revision, 0);
	hf_ledger_close(&ledger);
}

static void guests_whose_names_resemble_are_apart(void **state)
{
	static const char *const guests[] = {
		"a", "a.lock", "a.tmp", "a.0123456789abcdef", "a.0123456789abcdef.tmp",
		"A", "a-",     "-"
	};
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record, now;
	const size_t count = sizeof(guests) / sizeof(guests[0]);
	uint64_t revisions[sizeof(guests) / sizeof(guests[0])] = { 0 };

	(void)state;
	opened(&ledger);
	for (unsigned int round = 0; round < 2; round++) {
		for (size_t i = 0; i < count; i++) {
			record = make(guests[i], revisions[i], round ? "second" : "first");
			record.epoch = 100 * round + i;
			assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
			revisions[i] = now.revision;
		}
		for (size_t i = 0; i < count; i++) {
			assert_int_equal(ledger_read(&ledger, guests[i], &now, NULL), 0);
			assert_int_equal(now.epoch, 100 * round + i);
		}
	}
	hf_ledger_close(&ledger);
}

/* ---- two handles race ------------------------------------------------------------------------ */

struct racer {
	struct hf_ledger ledger;
	const char *name;
	pthread_barrier_t *start, *end;
	int answers[RACE_ROUNDS_MAX];
	struct hf_ledger_record now[RACE_ROUNDS_MAX];
	uint64_t revision; /* as it was when both began */
};

static void *race(void *arg)
{
	struct racer *racer = arg;

	for (unsigned int i = 0; i < race_rounds; i++) {
		struct hf_ledger_record record = make("raced", racer->revision, "");

		(void)snprintf(record.attempt, sizeof(record.attempt), "%s-%u", racer->name, i);
		(void)pthread_barrier_wait(racer->start);
		/* Unknown (a slow disk, say) is asked again: the attempt is the same. */
		for (unsigned int tries = 0; tries < 10; tries++) {
			racer->answers[i] =
				ledger_swap(&racer->ledger, &record, &racer->now[i], NULL);
			if (racer->answers[i] != HF_LEDGER_UNKNOWN)
				break;
		}
		racer->revision = racer->now[i].revision;
		(void)pthread_barrier_wait(racer->end);
	}
	return NULL;
}

static void of_two_that_race_exactly_one_wins(void **state)
{
	struct racer *racers = calloc(2, sizeof(*racers));
	pthread_barrier_t start, end;
	pthread_t threads[2];
	unsigned int wins[2] = { 0 };

	(void)state;
	assert_non_null(racers);
	assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
	assert_int_equal(pthread_barrier_init(&end, NULL, 2), 0);
	for (unsigned int i = 0; i < 2; i++) {
		opened(&racers[i].ledger);
		racers[i].name = i ? "right" : "left";
		racers[i].start = &start;
		racers[i].end = &end;
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (unsigned int i = 0; i < race_rounds; i++) {
		int left = racers[0].answers[i], right = racers[1].answers[i];

		if (!(left == HF_LEDGER_DONE && right == HF_LEDGER_REFUSED) &&
		    !(left == HF_LEDGER_REFUSED && right == HF_LEDGER_DONE))
			fail_msg("round %u: answers %d and %d", i, left, right);
		wins[left == HF_LEDGER_DONE ? 0 : 1]++;
		assert_same(&racers[0].now[i], &racers[1].now[i]);
	}
	print_message("# wins: %u and %u\n", wins[0], wins[1]);
	for (unsigned int i = 0; i < 2; i++)
		hf_ledger_close(&racers[i].ledger);
	(void)pthread_barrier_destroy(&start);
	(void)pthread_barrier_destroy(&end);
	free(racers);
}

/* ---- lists -------------------------------------------------------------------------------------
 */

#define LISTED 150u /* more than one page of those that have pages */

struct heard {
	unsigned int count, mine;
	char last[HF_NAME_MAX];
};

static void hear(void *ctx, const struct hf_ledger_record *record)
{
	struct heard *heard = ctx;
	char name[HF_NAME_MAX];

	if (heard->count++ && strcmp(record->guest, heard->last) <= 0)
		fail_msg("%s behind %s", record->guest, heard->last);
	(void)snprintf(heard->last, sizeof(heard->last), "%s", record->guest);
	(void)snprintf(name, sizeof(name), "listed-%03u", heard->mine);
	if (strcmp(record->guest, name) != 0)
		return;
	assert_int_equal(record->epoch, heard->mine);
	assert_true(record->revision > 0);
	heard->mine++;
}

static void a_list_tells_each_record_once_and_in_order(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct heard before = { 0 }, after = { 0 };
	struct hf_ledger_record record, now;
	struct hf_error err = { 0 };
	char name[HF_NAME_MAX];

	(void)state;
	opened(&ledger);
	assert_int_equal(ledger_list(&ledger, hear, &before, &err), 0);
	assert_int_equal(before.mine, 0);
	for (unsigned int i = 0; i < LISTED; i++) {
		(void)snprintf(name, sizeof(name), "listed-%03u", i);
		record = make(name, 0, name);
		record.epoch = i;
		assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	}
	if (ledger_list(&ledger, hear, &after, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(after.mine, LISTED);
	assert_int_equal(after.count, before.count + LISTED);
	hf_ledger_close(&ledger);
}

static void a_table_from_before_there_was_a_list_has_none(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_ops old;
	struct hf_error err = { 0 };
	struct heard heard = { 0 };

	(void)state;
	opened(&ledger);
	old = *ledger.ops;
	old.size = offsetof(struct hf_ledger_ops, list);
	old.list = NULL;
	ledger.ops = &old;
	assert_int_equal(hf_ledger_list(&ledger, hear, &heard, &err), HF_E_UNSUPPORTED);
	assert_int_equal(heard.count, 0);
	hf_ledger_close(&ledger);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void addresses_are_checked_and_none_keeps_nothing(void **state)
{
	static const struct {
		const char *uri;
		int code;
	} cases[] = {
		{ "", HF_E_INVALID },
		{ "file", HF_E_INVALID },
		{ "file:", HF_E_INVALID },
		{ "file:relative", HF_E_INVALID },
		{ "file:/dev/null", HF_E_INVALID },
		{ "file:/nowhere/at/all", HF_E_INVALID },
		{ "memory:", HF_E_INVALID },
		{ "memory:a/b", HF_E_INVALID },
		{ "etcd:", HF_E_INVALID },
		{ "etcd:h:1", HF_E_INVALID },
		{ "none:", HF_E_INVALID },
	};
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record = make("x", 0, "x"), now;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hf_error err = { 0 };

		if (hf_ledger_open(cases[i].uri, &ledger, &err) != cases[i].code)
			fail_msg("%s: %s", cases[i].uri, err.text);
		assert_int_equal(err.code, cases[i].code);
		assert_null(ledger.ops);
	}
	assert_int_equal(hf_ledger_open("none", &ledger, NULL), 0);
	assert_int_equal(ledger_read(&ledger, "x", &now, NULL), HF_E_UNSUPPORTED);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_UNSUPPORTED);
	assert_int_equal(ledger_list(&ledger, hear, NULL, NULL), HF_E_UNSUPPORTED);
	assert_string_equal(ledger.uri, "none");
	hf_ledger_close(&ledger);
}

/* ---- the kinds ------------------------------------------------------------------------------- */

static int use_memory(void **state)
{
	(void)state;
	(void)snprintf(uri, sizeof(uri), "memory:contract");
	return hf_ledger_open(uri, &keeper, NULL);
}

static int use_file(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/hf-ledger-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(uri, sizeof(uri), "file:%s/made", dir);
	return hf_ledger_open(uri, &keeper, NULL);
}

static int use_servers(uint32_t count)
{
	servers = servers_new(count, false);
	servers_uri(servers, uri);
	race_rounds = 200; /* each write is on the disks of a majority before it is done */
	return hf_ledger_open(uri, &keeper, NULL);
}

static int use_etcd(void **state)
{
	(void)state;
	return use_servers(1);
}

static int use_etcd_3(void **state)
{
	(void)state;
	return use_servers(3);
}

static int leave(void **state)
{
	char command[128];

	(void)state;
	hf_ledger_close(&keeper);
	servers_free(servers);
	if (!dir[0])
		return 0;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command); /* made by mkdtemp() above */
}

#define CONTRACT(kind)                                                                             \
	{                                                                                          \
		TEST(kind, a_guest_without_a_record_has_revision_0),                               \
			TEST(kind, what_is_written_is_read_by_another_handle),                     \
			TEST(kind, a_record_outlives_its_handle),                                  \
			TEST(kind, the_wrong_revision_is_refused_with_the_record_as_it_stands),    \
			TEST(kind, the_same_attempt_again_is_done_once),                           \
			TEST(kind, names_and_records_are_checked),                                 \
			TEST(kind, guests_whose_names_resemble_are_apart),                         \
			TEST(kind, of_two_that_race_exactly_one_wins),                             \
			TEST(kind, a_list_tells_each_record_once_and_in_order),                    \
			TEST(kind, a_table_from_before_there_was_a_list_has_none),                 \
			TEST(kind, addresses_are_checked_and_none_keeps_nothing),                  \
	}
#define TEST(kind, function)                                                                       \
	{                                                                                          \
		kind ": " #function, function, NULL, NULL, NULL                                    \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest memory[] = CONTRACT("memory"), file[] = CONTRACT("file");
	const struct CMUnitTest etcd[] = CONTRACT("etcd"), etcd_3[] = CONTRACT("etcd-3");

	if (argc == 2 && strcmp(argv[1], "memory") == 0)
		return cmocka_run_group_tests_name("ledger-contract memory", memory, use_memory,
						   leave);
	if (argc == 2 && strcmp(argv[1], "file") == 0)
		return cmocka_run_group_tests_name("ledger-contract file", file, use_file, leave);
	if (argc == 2 && strncmp(argv[1], "etcd", 4) == 0 && !servers_can()) {
		(void)printf("1..0 # SKIP there is no etcd here (Debian: etcd-server)\n");
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "etcd") == 0)
		return cmocka_run_group_tests_name("ledger-contract etcd", etcd, use_etcd, leave);
	if (argc == 2 && strcmp(argv[1], "etcd-3") == 0)
		return cmocka_run_group_tests_name("ledger-contract etcd, three nodes", etcd_3,
						   use_etcd_3, leave);
	(void)fprintf(stderr, "usage: %s memory|file|etcd|etcd-3\n", argv[0]);
	return 99;
}
