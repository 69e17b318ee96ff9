/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server that is no etcd, or a broken one: whatever it answers, nothing is taken for true that is
 * not, and nothing for failed that may have happened.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/ledger.h"
#include "backend/ledger/base64.h"
#include "backend/ledger/etcd-message.h"
#include "backend/ledger/record.h"
#include "base/time.h"
#include "etcd-servers.h"

#define KEY "holdfast/guest/g"
#define HEADER "\"header\":{\"cluster_id\":\"77\"}"
/* What stands under KEY at the revision 7, as the text of docs/ledger.md: replaced in answers. */
#define KV "@KV@"
#define READ_DONE "{" HEADER ",\"kvs\":[" KV "],\"count\":\"1\"}"

static struct hf_ledger_record make(uint64_t revision, const char *attempt)
{
	struct hf_ledger_record record;

	memset(&record, 0, sizeof(record));
	(void)snprintf(record.guest, sizeof(record.guest), "g");
	(void)snprintf(record.owner, sizeof(record.owner), "alpha.1");
	(void)snprintf(record.attempt, sizeof(record.attempt), "%s", attempt);
	record.state = HF_LEDGER_HOME;
	record.revision = revision;
	return record;
}

/* The KeyValue of a record; damage: a byte of its text is another one. */
static void put_kv(char *ret_text, size_t size, const struct hf_ledger_record *record, bool damage)
{
	char text[RECORD_TEXT_MAX], value64[BASE64_LENGTH(RECORD_TEXT_MAX) + 1], key64[64];
	struct hf_ledger_record stored = *record;
	size_t length;

	stored.revision = 0;
	length = record_encode(&stored, text);
	if (damage)
		text[length / 2] ^= 1;
	base64_encode(text, length, value64);
	base64_encode(KEY, strlen(KEY), key64);
	(void)snprintf(ret_text, size,
		       "{\"key\":\"%s\",\"create_revision\":\"2\",\"mod_revision\":\"%" PRIu64
		       "\",\"version\":\"5\",\"value\":\"%s\"}",
		       key64, record->revision, value64);
}

/* text with every KV in it replaced. */
static char *fill(const char *text, const char *kv)
{
	size_t size = strlen(text) + 3 * strlen(kv) + 1, used = 0;
	char *filled = calloc(1, size);
	const char *at;

	assert_non_null(filled);
	while ((at = strstr(text, KV))) {
		used += (size_t)snprintf(filled + used, size - used, "%.*s%s", (int)(at - text),
					 text, kv);
		text = at + strlen(KV);
	}
	(void)snprintf(filled + used, size - used, "%s", text);
	return filled;
}

/* What the fake says to reads and to writes. */
struct script {
	int read_status, swap_status;
	const char *read_text, *swap_text;
	char kv[8192];
};

static int play(void *ctx, const char *path, const char *body, char **ret_body)
{
	const struct script *script = ctx;
	bool is_swap = strcmp(path, "/v3/kv/txn") == 0;
	const char *text = is_swap ? script->swap_text : script->read_text;

	(void)body;
	*ret_body = text ? fill(text, script->kv) : NULL;
	return is_swap ? script->swap_status : script->read_status;
}

static struct fake *begin(struct script *script, struct hf_ledger *ret_ledger)
{
	struct fake *fake = fake_new(play, script);
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];

	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u", fake_port(fake));
	if (hf_ledger_open(uri, ret_ledger, &err) < 0)
		fail_msg("%s", err.text);
	return fake;
}

static void end(struct fake *fake, struct hf_ledger *ledger)
{
	hf_ledger_close(ledger);
	fake_free(fake);
}

/* ---- reads ------------------------------------------------------------------------------------
 */

static void a_read_that_is_not_etcds_is_unknown_or_damaged(void **state)
{
	static const struct {
		int status, code;
		const char *text, *words;
	} cases[] = {
		{ 200, HF_E_LEDGER_UNKNOWN, "", "no JSON object" },
		{ 200, HF_E_LEDGER_UNKNOWN, "garbage \x01\xff", "no JSON object" },
		{ 200, HF_E_LEDGER_UNKNOWN, "[]", "no JSON object" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{", "no JSON object" },
		{ 200, HF_E_LEDGER_UNKNOWN, READ_DONE "x", "no JSON object" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{\"a\":\"1\",\"a\":\"2\"}", "no JSON object" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{}", "which cluster" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{\"header\":7}", "which cluster" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{\"header\":{\"cluster_id\":77}}", "which cluster" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{\"header\":{\"cluster_id\":\"0\"}}",
		  "which cluster" },
		{ 200, HF_E_LEDGER_UNKNOWN,
		  "{\"header\":{\"cluster_id\":\"18446744073709551616\"}}", "which cluster" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{" HEADER ",\"kvs\":{}}", "not what stands there" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{" HEADER ",\"kvs\":[" KV "," KV "]}",
		  "not what stands there" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{" HEADER ",\"kvs\":[7]}", "another key" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{" HEADER ",\"kvs\":[{}]}", "another key" },
		{ 200, HF_E_LEDGER_UNKNOWN, "{" HEADER ",\"kvs\":[{\"key\":\"Zm9v\"}]}",
		  "another key" },
		{ 200, HF_E_LEDGER_UNKNOWN,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvZw==\"}]}",
		  "without mod_revision" },
		{ 200, HF_E_LEDGER_UNKNOWN,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvZw==\","
		  "\"mod_revision\":7}]}",
		  "without mod_revision" },
		{ 200, HF_E_LEDGER_UNKNOWN,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvZw==\","
		  "\"mod_revision\":\"-7\"}]}",
		  "without mod_revision" },
		{ 200, HF_E_LEDGER_DAMAGED,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvZw==\","
		  "\"mod_revision\":\"7\"}]}",
		  KEY ", line 1" },
		{ 200, HF_E_LEDGER_DAMAGED,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvZw==\","
		  "\"mod_revision\":\"7\",\"value\":\"!\"}]}",
		  KEY ": the value is no text" },
		{ 200, HF_E_LEDGER_DAMAGED,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvZw==\","
		  "\"mod_revision\":\"7\",\"value\":17}]}",
		  KEY ": the value is no text" },
		{ 301, HF_E_LEDGER_UNKNOWN, READ_DONE, "HTTP 301" },
		{ 204, HF_E_LEDGER_UNKNOWN, READ_DONE, "HTTP 204" },
		{ 404, HF_E_LEDGER_UNKNOWN, "404 page not found", "HTTP 404" },
		{ 403, HF_E_LEDGER_UNKNOWN, "{\"error\":\"etcdserver: permission denied\"}",
		  "HTTP 403: etcdserver: permission denied" },
		{ 403, HF_E_LEDGER_UNKNOWN, "{\"code\":7,\"message\":\"permission denied\"}",
		  "HTTP 403: permission denied" },
		{ 403, HF_E_LEDGER_UNKNOWN, "{\"error\":\"a\\u001b[2Jb\"}", "HTTP 403: a?[2Jb" },
		{ FAKE_CLOSE, HF_E_LEDGER_UNKNOWN, NULL, "127.0.0.1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script script = { .read_status = cases[i].status,
					 .read_text = cases[i].text };
		struct hf_ledger_record record = make(7, "a"), seen;
		struct hf_ledger ledger = { 0 };
		struct hf_error err = { 0 };
		struct fake *fake;
		int r;

		put_kv(script.kv, sizeof(script.kv), &record, false);
		fake = begin(&script, &ledger);
		r = ledger_read(&ledger, "g", &seen, &err);
		if (r != cases[i].code || err.code != r || !strstr(err.text, cases[i].words))
			fail_msg("case %zu: %d, \"%s\", and not %d, \"%s\"", i, r, err.text,
				 cases[i].code, cases[i].words);
		assert_non_null(strstr(err.text, "http://127.0.0.1:"));
		end(fake, &ledger);
	}
}

static void a_right_read_is_the_record(void **state)
{
	struct script script = { .read_status = 200, .read_text = READ_DONE };
	struct hf_ledger_record record = make(UINT64_MAX, "a"), seen;
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	struct fake *fake;

	(void)state;
	put_kv(script.kv, sizeof(script.kv), &record, false);
	fake = begin(&script, &ledger);
	if (ledger_read(&ledger, "g", &seen, &err) < 0)
		fail_msg("%s", err.text);
	assert_memory_equal(&seen, &record, sizeof(seen));
	fake_lock(fake);
	script.read_text = "{" HEADER "}";
	fake_unlock(fake);
	assert_int_equal(ledger_read(&ledger, "g", &seen, NULL), 0);
	assert_int_equal(seen.revision, 0);
	/* Another cluster has taken its place. */
	fake_lock(fake);
	script.read_text = "{\"header\":{\"cluster_id\":\"78\"}}";
	fake_unlock(fake);
	assert_int_equal(ledger_read(&ledger, "g", &seen, &err), HF_E_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, "another cluster"));
	end(fake, &ledger);
}

static void every_damaged_byte_of_a_record_is_noticed(void **state)
{
	struct hf_ledger_record record = make(7, "attempt"), seen;
	char kv[8192], *text;
	uint64_t cluster;
	struct hf_error err = { 0 };
	size_t begins, length;

	(void)state;
	put_kv(kv, sizeof(kv), &record, false);
	text = fill(READ_DONE, kv);
	length = strlen(text);
	begins = (size_t)(strstr(text, "\"value\":\"") + 9 - text);
	assert_int_equal(etcd_read_decode(text, length, KEY, "g", &cluster, &seen, &err), 0);
	for (size_t i = begins; text[i] != '"'; i++) {
		char was = text[i];

		text[i] = was == 'A' ? 'B' : 'A';
		if (etcd_read_decode(text, length, KEY, "g", &cluster, &seen, NULL) == 0)
			fail_msg("byte %zu of the value is another one, and nobody noticed",
				 i - begins);
		text[i] = was;
	}
	/* Cut off, or with any byte gone wrong: an answer or an error, never a crash or half a
	 * record. */
	for (size_t i = 0; i < length; i++) {
		char was = text[i];

		assert_true(etcd_read_decode(text, i, KEY, "g", &cluster, &seen, NULL) < 0);
		for (unsigned int bit = 0; bit < 8; bit++) {
			text[i] = (char)(was ^ 1 << bit);
			memset(&seen, 0, sizeof(seen));
			if (etcd_read_decode(text, length, KEY, "g", &cluster, &seen, NULL) == 0 &&
			    seen.revision)
				assert_string_equal(seen.attempt, "attempt");
		}
		text[i] = was;
	}
	free(text);
}

static void a_huge_answer_is_not_taken(void **state)
{
	struct script script = { .read_status = 200 };
	struct hf_ledger_record seen;
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	const size_t size = 4u << 20;
	char *huge = malloc(size);
	struct fake *fake;

	(void)state;
	assert_non_null(huge);
	memset(huge, ' ', size - 1);
	huge[size - 1] = '\0';
	script.read_text = huge;
	fake = begin(&script, &ledger);
	assert_int_equal(ledger_read(&ledger, "g", &seen, &err), HF_E_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, "too long"));
	end(fake, &ledger);
	free(huge);
}

/* ---- writes -----------------------------------------------------------------------------------
 */

#define RANGE(kv) "{\"response_range\":{\"header\":{\"revision\":\"9\"},\"kvs\":[" kv "]}}"
#define PUT "{\"response_put\":{\"header\":{\"revision\":\"9\"}}}"

static void what_a_write_was_answered_decides(void **state)
{
	/* Written over revision 5. KV is at revision 7: ours, or (by "other") somebody else's. */
	static const struct {
		int status, answer;
		bool is_other;
		const char *text;
	} cases[] = {
		{ 200, HF_LEDGER_DONE, false,
		  "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "," RANGE(KV) "]}" },
		/* `succeeded` is absent when false. */
		{ 200, HF_LEDGER_REFUSED, true, "{" HEADER ",\"responses\":[" RANGE(KV) "]}" },
		{ 200, HF_LEDGER_REFUSED, true,
		  "{" HEADER ",\"succeeded\":false,\"responses\":[" RANGE(KV) "]}" },
		{ 200, HF_LEDGER_REFUSED, true,
		  "{" HEADER ",\"responses\":[{\"response_range\":{}}]}" },
		/* Refused, and it is ours all the same: done before. */
		{ 200, HF_LEDGER_DONE, false, "{" HEADER ",\"responses\":[" RANGE(KV) "]}" },

		{ 200, HF_LEDGER_UNKNOWN, true,
		  "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "," RANGE(KV) "]}" },
		{ 200, HF_LEDGER_UNKNOWN, false,
		  "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "]}" },
		{ 200, HF_LEDGER_UNKNOWN, false, "{" HEADER ",\"succeeded\":true}" },
		{ 200, HF_LEDGER_UNKNOWN, false, "{" HEADER "}" },
		{ 200, HF_LEDGER_UNKNOWN, false, "{" HEADER ",\"responses\":7}" },
		{ 200, HF_LEDGER_UNKNOWN, false, "{" HEADER ",\"responses\":[7]}" },
		{ 200, HF_LEDGER_UNKNOWN, false,
		  "{" HEADER ",\"succeeded\":\"true\",\"responses\":[" PUT "," RANGE(KV) "]}" },
		{ 200, HF_LEDGER_UNKNOWN, false,
		  "{" HEADER ",\"succeeded\":1,\"responses\":[" PUT "," RANGE(KV) "]}" },
		{ 200, HF_LEDGER_UNKNOWN, false,
		  "{\"succeeded\":true,\"responses\":[" PUT "," RANGE(KV) "]}" },
		{ 200, HF_LEDGER_UNKNOWN, false,
		  "{\"header\":{\"cluster_id\":\"78\"},\"succeeded\":true,\"responses\":[" PUT
		  "," RANGE(KV) "]}" },
		{ 200, HF_LEDGER_UNKNOWN, false, "garbage" },
		{ 200, HF_LEDGER_UNKNOWN, false, "" },
		{ 302, HF_LEDGER_UNKNOWN, false, "" },
		{ 408, HF_LEDGER_UNKNOWN, false, "" },
		{ FAKE_CLOSE, HF_LEDGER_UNKNOWN, false, NULL },
		/* Refused in words: it did not happen. */
		{ 400, HF_E_LEDGER_UNKNOWN, false, "{\"error\":\"etcdserver: no\"}" },
		{ 403, HF_E_LEDGER_UNKNOWN, false, "{\"error\":\"etcdserver: no\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script script = { .read_status = 200,
					 .read_text = "{" HEADER "}",
					 .swap_status = cases[i].status,
					 .swap_text = cases[i].text };
		struct hf_ledger_record record = make(5, "mine"), other = make(7, "other"), now;
		struct hf_ledger_record mine = make(7, "mine");
		struct hf_ledger ledger = { 0 };
		struct hf_error err = { 0 };
		struct fake *fake;
		int answer;

		put_kv(script.kv, sizeof(script.kv), cases[i].is_other ? &other : &mine, false);
		fake = begin(&script, &ledger);
		answer = ledger_swap(&ledger, &record, &now, &err);
		if (answer != cases[i].answer)
			fail_msg("case %zu: %d, \"%s\"", i, answer, err.text);
		if (answer == HF_LEDGER_DONE)
			assert_memory_equal(&now, &mine, sizeof(now));
		if (answer == HF_LEDGER_UNKNOWN)
			assert_int_equal(err.code, HF_E_LEDGER_UNKNOWN);
		end(fake, &ledger);
	}
}

static void a_damaged_record_is_not_written_over(void **state)
{
	struct script script = { .read_status = 200,
				 .read_text = "{" HEADER "}",
				 .swap_status = 200,
				 .swap_text = "{" HEADER ",\"responses\":[" RANGE(KV) "]}" };
	struct hf_ledger_record record = make(5, "mine"), other = make(7, "other"), now;
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	struct fake *fake;

	(void)state;
	put_kv(script.kv, sizeof(script.kv), &other, true);
	fake = begin(&script, &ledger);
	assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_E_LEDGER_DAMAGED);
	assert_non_null(strstr(err.text, "http://127.0.0.1:"));
	assert_non_null(strstr(err.text, "key " KEY));
	end(fake, &ledger);
}

/* Counts what it is asked, and does what the script says at each. */
struct counter {
	struct script script;
	unsigned int swaps, fail_before; /* writes that are answered with 503 */
	char keep[ETCD_REQUEST_MAX];
	bool is_same; /* all writes were the same octets */
};

static int play_election(void *ctx, const char *path, const char *body, char **ret_body)
{
	struct counter *counter = ctx;

	if (strcmp(path, "/v3/kv/txn") != 0)
		return play(&counter->script, path, body, ret_body);
	if (counter->swaps++ == 0)
		(void)snprintf(counter->keep, sizeof(counter->keep), "%s", body);
	counter->is_same = strcmp(counter->keep, body) == 0;
	if (counter->swaps <= counter->fail_before)
		return 503;
	return play(&counter->script, path, body, ret_body);
}

static void a_member_without_a_leader_is_asked_again(void **state)
{
	struct hf_ledger_record record = make(5, "mine"), mine = make(7, "mine"), now;
	struct counter counter = {
		.script = { .read_status = 200,
			    .read_text = "{" HEADER "}",
			    .swap_status = 200,
			    .swap_text = "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT
					 "," RANGE(KV) "]}" },
		.fail_before = 3
	};
	struct fake *fake = fake_new(play_election, &counter);
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	uint64_t begin_ns, took_ns;
	char uri[HF_URI_MAX];

	(void)state;
	put_kv(counter.script.kv, sizeof(counter.script.kv), &mine, false);
	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u", fake_port(fake));
	assert_int_equal(hf_ledger_open(uri, &ledger, NULL), 0);
	if (ledger_swap(&ledger, &record, &now, &err) != HF_LEDGER_DONE)
		fail_msg("%s", err.text);
	fake_lock(fake);
	assert_int_equal(counter.swaps, 4);
	assert_true(counter.is_same);
	/* But not for ever. */
	counter.swaps = 0;
	counter.fail_before = UINT32_MAX;
	fake_unlock(fake);
	begin_ns = time_now_ns();
	assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_LEDGER_UNKNOWN);
	took_ns = time_now_ns() - begin_ns;
	assert_true(took_ns >= 2 * NS_PER_S && took_ns < 8 * NS_PER_S);
	fake_lock(fake);
	assert_true(counter.swaps > 3);
	fake_unlock(fake);
	hf_ledger_close(&ledger);
	fake_free(fake);
}

static void who_does_not_answer_is_not_waited_for(void **state)
{
	struct script script = { .read_status = 200,
				 .read_text = "{" HEADER "}",
				 .swap_status = FAKE_SILENT };
	struct hf_ledger_record record = make(5, "mine"), mine = make(7, "mine"), now;
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	struct fake *fake;
	uint64_t begin_ns = time_now_ns();

	(void)state;
	put_kv(script.kv, sizeof(script.kv), &mine, false);
	fake = begin(&script, &ledger);
	assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_LEDGER_UNKNOWN);
	assert_true(time_now_ns() - begin_ns < 7 * NS_PER_S);
	assert_int_equal(fake_requests(fake), 2);
	/* It had arrived: the same again is found done. */
	fake_lock(fake);
	script.swap_status = 200;
	script.swap_text = "{" HEADER ",\"responses\":[" RANGE(KV) "]}";
	fake_unlock(fake);
	if (ledger_swap(&ledger, &record, &now, &err) != HF_LEDGER_DONE)
		fail_msg("%s", err.text);
	assert_int_equal(now.revision, 7);
	end(fake, &ledger);
}

/* Answers reads, and must never see a write. */
static int play_foreign(void *ctx, const char *path, const char *body, char **ret_body)
{
	static const char text[] = "{\"header\":{\"cluster_id\":\"1234\"}}";
	bool *is_written = ctx;

	(void)body;
	if (strcmp(path, "/v3/kv/range") != 0)
		*is_written = true;
	*ret_body = strdup(text);
	return 200;
}

static void nothing_is_written_to_another_cluster(void **state)
{
	bool is_written = false;
	struct script script = { .read_status = 200,
				 .read_text = "{" HEADER "}",
				 .swap_status = FAKE_CLOSE };
	struct fake *ours = fake_new(play, &script), *foreign = fake_new(play_foreign, &is_written);
	struct hf_ledger_record record = make(5, "mine"), now;
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];

	(void)state;
	/* By the order of names ours is asked first; it then fails to answer. */
	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u,http://localhost:%u",
		       fake_port(ours), fake_port(foreign));
	assert_int_equal(hf_ledger_open(uri, &ledger, NULL), 0);
	assert_int_equal(ledger_read(&ledger, "g", &now, NULL), 0);
	assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, "another cluster"));
	assert_int_equal(fake_requests(foreign), 1);
	hf_ledger_close(&ledger);
	fake_free(ours);
	fake_free(foreign);
	assert_false(is_written);
}

static void nobody_there_is_told_at_once_and_nothing_was_written(void **state)
{
	struct script script = { .read_status = 200 };
	struct fake *fake = fake_new(play, &script);
	struct hf_ledger_record record = make(0, "mine"), now;
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };
	uint64_t begin_ns = time_now_ns();
	char uri[HF_URI_MAX];

	(void)state;
	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u", fake_port(fake));
	fake_free(fake); /* nobody listens there now */
	assert_int_equal(hf_ledger_open(uri, &ledger, NULL), 0);
	assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_E_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, uri + strlen("etcd:")));
	assert_true(time_now_ns() - begin_ns < 2 * NS_PER_S);
	hf_ledger_close(&ledger);
}

/* ---- lists, and logging in ---------------------------------------------------------------------
 */

static void count(void *ctx, const struct hf_ledger_record *record)
{
	(void)record;
	++*(unsigned int *)ctx;
}

static void a_list_that_is_not_etcds_is_not_told(void **state)
{
	static const struct {
		int code;
		unsigned int told;
		const char *text;
	} cases[] = {
		{ 0, 0, "{" HEADER "}" },
		{ 0, 1, READ_DONE },
		{ HF_E_LEDGER_UNKNOWN, 0, "{" HEADER ",\"kvs\":[" KV "," KV "]}" },
		{ HF_E_LEDGER_UNKNOWN, 0, "{" HEADER ",\"kvs\":[" KV "],\"more\":7}" },
		{ HF_E_LEDGER_UNKNOWN, 0, "{" HEADER ",\"kvs\":[],\"more\":true}" },
		{ HF_E_LEDGER_UNKNOWN, 0, "{" HEADER ",\"kvs\":[{\"key\":\"Zm9v\"}]}" },
		/* The same page for ever: the second one is not behind the first. */
		{ HF_E_LEDGER_UNKNOWN, 1, "{" HEADER ",\"kvs\":[" KV "],\"more\":true}" },
		/* holdfast/guest/.x */
		{ HF_E_LEDGER_DAMAGED, 0,
		  "{" HEADER ",\"kvs\":[{\"key\":\"aG9sZGZhc3QvZ3Vlc3QvLng=\","
		  "\"mod_revision\":\"3\"}]}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script script = { .read_status = 200, .read_text = cases[i].text };
		struct hf_ledger_record record = make(7, "a");
		struct hf_ledger ledger = { 0 };
		struct hf_error err = { 0 };
		unsigned int told = 0;
		struct fake *fake;
		int r;

		put_kv(script.kv, sizeof(script.kv), &record, false);
		fake = begin(&script, &ledger);
		r = ledger_list(&ledger, count, &told, &err);
		if (r != cases[i].code || told != cases[i].told)
			fail_msg("case %zu: %d, told %u, \"%s\"", i, r, told, err.text);
		end(fake, &ledger);
	}
}

static int play_login(void *ctx, const char *path, const char *body, char **ret_body)
{
	(void)body;
	assert_string_equal(path, "/v3/auth/authenticate");
	*ret_body = strdup(ctx);
	return 200;
}

static void a_token_that_could_end_a_header_is_not_used(void **state)
{
	static const char *const cases[] = { "{\"token\":\"a\\r\\nX: y\"}", "{\"token\":\"\"}",
					     "{\"token\":7}", "{}", "garbage" };
	char path[] = "/tmp/hf-password-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "secret\n", 7), 7);
	(void)close(fd);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[64], uri[HF_URI_MAX];
		struct fake *fake;
		struct hf_ledger_record seen;
		struct hf_ledger ledger = { 0 };
		struct hf_error err = { 0 };

		(void)snprintf(text, sizeof(text), "%s", cases[i]);
		fake = fake_new(play_login, text);
		(void)snprintf(uri, sizeof(uri),
			       "etcd:http://127.0.0.1:%u?user=me&password-file=%s", fake_port(fake),
			       path);
		assert_int_equal(hf_ledger_open(uri, &ledger, NULL), 0);
		assert_int_equal(ledger_read(&ledger, "g", &seen, &err), HF_E_LEDGER_UNKNOWN);
		assert_null(strstr(err.text, "secret"));
		assert_int_equal(fake_requests(fake), 1);
		end(fake, &ledger);
	}
	(void)unlink(path);
}

static void a_password_that_others_can_read_is_refused(void **state)
{
	char path[] = "/tmp/hf-password-XXXXXX", uri[HF_URI_MAX];
	int fd = mkstemp(path);
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };

	(void)state;
	assert_true(fd >= 0);
	(void)snprintf(uri, sizeof(uri), "etcd:http://h?user=me&password-file=%s", path);
	assert_int_equal(hf_ledger_open(uri, &ledger, &err), HF_E_INVALID); /* empty */
	assert_int_equal(write(fd, "secret\n", 7), 7);
	assert_int_equal(hf_ledger_open(uri, &ledger, NULL), 0);
	hf_ledger_close(&ledger);
	assert_int_equal(fchmod(fd, 0604), 0);
	memset(&err, 0, sizeof(err));
	assert_int_equal(hf_ledger_open(uri, &ledger, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, path));
	(void)close(fd);
	(void)unlink(path);
	memset(&err, 0, sizeof(err));
	assert_int_equal(hf_ledger_open(uri, &ledger, &err), HF_E_INVALID);
	assert_int_equal(hf_ledger_open("etcd:https://h?cacert=/nowhere/ca.pem", &ledger, NULL),
			 HF_E_INVALID);
	assert_null(ledger.ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_that_is_not_etcds_is_unknown_or_damaged),
		cmocka_unit_test(a_right_read_is_the_record),
		cmocka_unit_test(every_damaged_byte_of_a_record_is_noticed),
		cmocka_unit_test(a_huge_answer_is_not_taken),
		cmocka_unit_test(what_a_write_was_answered_decides),
		cmocka_unit_test(a_damaged_record_is_not_written_over),
		cmocka_unit_test(a_member_without_a_leader_is_asked_again),
		cmocka_unit_test(who_does_not_answer_is_not_waited_for),
		cmocka_unit_test(nothing_is_written_to_another_cluster),
		cmocka_unit_test(nobody_there_is_told_at_once_and_nothing_was_written),
		cmocka_unit_test(a_list_that_is_not_etcds_is_not_told),
		cmocka_unit_test(a_token_that_could_end_a_header_is_not_used),
		cmocka_unit_test(a_password_that_others_can_read_is_refused),
	};

	/* Nobody is there. Whoever used it would not reach the fakes. */
	(void)setenv("http_proxy", "http://127.0.0.1:1", 1);
	(void)setenv("all_proxy", "http://127.0.0.1:1", 1);
	return cmocka_run_group_tests_name("ledger-etcd-fake", tests, NULL, NULL);
}
