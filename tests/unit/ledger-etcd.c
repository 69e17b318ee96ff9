/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can happen to a ledger in etcd only, with real ones: members that are killed, stopped and
 * come back, answers that get lost, users, TLS, other people's keys.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
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
#include "backend/ledger/etcd-http.h"
#include "base/time.h"
#include "etcd-servers.h"

/* An operation is over after this, whatever etcd does (docs/ledger.md says 6 s). */
#define OPERATION_NS (8 * NS_PER_S)

static struct servers *shared; /* three of them: a test that kills one starts it again */

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

static void open_uri(const char *uri, struct hf_ledger *ledger)
{
	struct hf_error err = { 0 };

	if (hf_ledger_open(uri, ledger, &err) < 0)
		fail_msg("%s: %s", uri, err.text);
}

static void open_servers(const struct servers *servers, const char *options,
			 struct hf_ledger *ledger)
{
	char uri[HF_URI_MAX], whole[HF_URI_MAX + 1024];

	servers_uri(servers, uri);
	(void)snprintf(whole, sizeof(whole), "%s%s", uri, options);
	open_uri(whole, ledger);
}

static uint64_t ms_since(uint64_t begin_ns)
{
	return (time_now_ns() - begin_ns) / NS_PER_MS;
}

/* Must be done; returns the new revision. */
static uint64_t write_one(struct hf_ledger *ledger, const char *guest, uint64_t revision,
			  const char *attempt)
{
	struct hf_ledger_record record = make(guest, revision, attempt), now;
	struct hf_error err = { 0 };
	int answer = ledger_swap(ledger, &record, &now, &err);

	if (answer != HF_LEDGER_DONE)
		fail_msg("write %s over %" PRIu64 ": %d, %s", guest, revision, answer, err.text);
	return now.revision;
}

static struct hf_ledger_record read_one(struct hf_ledger *ledger, const char *guest)
{
	struct hf_ledger_record record;
	struct hf_error err = { 0 };

	if (ledger_read(ledger, guest, &record, &err) < 0)
		fail_msg("read %s: %s", guest, err.text);
	return record;
}

/* POST to the gateway by hand; status 200, or the test fails. */
static void post(const char *endpoint, const char *path, const char *body)
{
	struct etcd_address address;
	struct etcd_http *http = NULL;
	struct etcd_answer answer;
	struct hf_error err = { 0 };

	assert_int_equal(etcd_address_parse(endpoint, &address, NULL), 0);
	assert_int_equal(etcd_http_new(&address, &http, NULL), 0);
	if (etcd_http_post(http, endpoint, path, "", body, 5000, &answer, &err) != ETCD_ANSWERED)
		fail_msg("%s: %s", path, err.text);
	if (answer.status != 200)
		fail_msg("%s: HTTP %u: %.*s", path, answer.status, (int)answer.length, answer.text);
	(void)etcd_http_free(http);
}

/* ---- members that go away ----------------------------------------------------------------------
 */

static void with_one_of_three_killed_operations_go_on(void **state)
{
	struct hf_ledger ledger = { 0 };
	uint64_t revision = 0, begin_ns;
	char attempt[16];

	(void)state;
	open_servers(shared, "", &ledger);
	revision = write_one(&ledger, "killed", revision, "k");
	for (uint32_t i = 0; i < 3; i++) {
		servers_kill(shared, i); /* one of them is the leader */
		(void)snprintf(attempt, sizeof(attempt), "k%u", i);
		begin_ns = time_now_ns();
		revision = write_one(&ledger, "killed", revision, attempt);
		print_message("# member %u killed: written after %" PRIu64 " ms\n", i,
			      ms_since(begin_ns));
		assert_true(time_now_ns() - begin_ns < OPERATION_NS);
		assert_int_equal(read_one(&ledger, "killed").revision, revision);
		servers_restart(shared, i);
	}
	hf_ledger_close(&ledger);
}

static void a_stopped_member_is_passed_by(void **state)
{
	struct hf_ledger ledger = { 0 };
	uint64_t revision = 0, begin_ns;
	char attempt[16];

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		open_servers(shared, "", &ledger); /* anew: it does not know who answers */
		servers_signal(shared, i, SIGSTOP);
		(void)snprintf(attempt, sizeof(attempt), "s%u", i);
		begin_ns = time_now_ns();
		revision = write_one(&ledger, "stopped", revision, attempt);
		print_message("# member %u stopped: written after %" PRIu64 " ms\n", i,
			      ms_since(begin_ns));
		servers_signal(shared, i, SIGCONT);
		hf_ledger_close(&ledger);
	}
}

/* What was unknown is decided by now, or decided by this: it happened once, and is ours. */
static void settle(struct hf_ledger *ledger, const struct hf_ledger_record *record)
{
	struct hf_ledger_record now, seen = read_one(ledger, record->guest);
	struct hf_error err = { 0 };

	assert_true(seen.revision == record->revision ||
		    strcmp(seen.attempt, record->attempt) == 0);
	if (ledger_swap(ledger, record, &now, &err) != HF_LEDGER_DONE)
		fail_msg("settle: %s", err.text);
	assert_string_equal(now.attempt, record->attempt);
	if (seen.revision != record->revision)
		assert_int_equal(now.revision, seen.revision); /* not written a second time */
	assert_int_equal(read_one(ledger, record->guest).revision, now.revision);
}

static void with_two_killed_it_is_unknown_in_time_and_nothing_is_lost(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record, now;
	struct hf_error err = { 0 };
	uint64_t begin_ns;
	int answer;

	(void)state;
	open_servers(shared, "", &ledger);
	record = make("majority", write_one(&ledger, "majority", 0, "m1"), "m2");
	servers_kill(shared, 0);
	servers_kill(shared, 2);
	begin_ns = time_now_ns();
	answer = ledger_swap(&ledger, &record, &now, &err);
	/* A member that was not asked before is read from first: then nothing was sent at all. */
	assert_true(answer == HF_LEDGER_UNKNOWN || answer == HF_E_LEDGER_UNKNOWN);
	assert_int_equal(err.code, HF_E_LEDGER_UNKNOWN);
	assert_true(time_now_ns() - begin_ns < OPERATION_NS);
	print_message("# unknown after %" PRIu64 " ms: %s\n", ms_since(begin_ns), err.text);
	begin_ns = time_now_ns();
	memset(&err, 0, sizeof(err));
	assert_int_equal(ledger_read(&ledger, "majority", &now, &err), HF_E_LEDGER_UNKNOWN);
	assert_true(time_now_ns() - begin_ns < OPERATION_NS);
	servers_restart(shared, 0);
	servers_restart(shared, 2);
	settle(&ledger, &record);
	hf_ledger_close(&ledger);
}

/* One member only, so that not all of them have to be waited for. */
static void open_one(struct hf_ledger *ledger)
{
	char endpoint[HF_URI_MAX], uri[HF_URI_MAX + 8];

	servers_endpoint(shared, 1, endpoint);
	(void)snprintf(uri, sizeof(uri), "etcd:%s", endpoint);
	open_uri(uri, ledger);
}

static void a_write_to_stopped_members_is_done_once_or_comes_too_late(void **state)
{
	struct hf_ledger left = { 0 }, right = { 0 };
	struct hf_ledger_record frozen, late, now;
	uint64_t revision;

	(void)state;
	open_one(&left);
	frozen = make("frozen", write_one(&left, "frozen", 0, "f1"), "f2");
	late = make("late", write_one(&left, "late", 0, "l1"), "l2");
	for (uint32_t i = 0; i < 3; i++)
		servers_signal(shared, i, SIGSTOP);
	assert_int_equal(ledger_swap(&left, &frozen, &now, NULL), HF_LEDGER_UNKNOWN);
	assert_int_equal(ledger_swap(&left, &late, &now, NULL), HF_LEDGER_UNKNOWN);
	for (uint32_t i = 0; i < 3; i++)
		servers_signal(shared, i, SIGCONT);
	settle(&left, &frozen);

	/* Whatever of the other arrives now, somebody else writes over what he reads. */
	open_servers(shared, "", &right);
	revision = write_one(&right, "late", read_one(&right, "late").revision, "r1");
	assert_int_equal(ledger_swap(&left, &late, &now, NULL), HF_LEDGER_REFUSED);
	assert_int_equal(now.revision, revision);
	assert_string_equal(read_one(&left, "late").attempt, "r1");
	hf_ledger_close(&left);
	hf_ledger_close(&right);
}

static void records_outlive_all_members(void **state)
{
	struct hf_ledger ledger = { 0 };
	uint64_t revision;

	(void)state;
	open_servers(shared, "", &ledger);
	revision = write_one(&ledger, "outlives", 0, "o1");
	servers_kill(shared, 0);
	servers_kill(shared, 1);
	servers_restart(shared, 0); /* of three, two are enough */
	servers_kill(shared, 2);
	servers_restart(shared, 1);
	servers_restart(shared, 2);
	assert_int_equal(read_one(&ledger, "outlives").revision, revision);
	hf_ledger_close(&ledger);
}

/* ---- an answer that gets lost ------------------------------------------------------------------
 */

/* Stands between us and an etcd, and may swallow its answers to writes. */
struct thief {
	char endpoint[HF_URI_MAX];
	struct etcd_http *http;
	struct fake *fake;
	bool is_stealing;
	unsigned int stolen;
};

static int steal(void *ctx, const char *path, const char *body, char **ret_body)
{
	struct thief *thief = ctx;
	struct etcd_answer answer;

	if (etcd_http_post(thief->http, thief->endpoint, path, "", body, 5000, &answer, NULL) !=
	    ETCD_ANSWERED)
		return 599;
	if (thief->is_stealing && strcmp(path, "/v3/kv/txn") == 0) {
		thief->stolen++;
		return FAKE_CLOSE;
	}
	*ret_body = strndup(answer.text, answer.length);
	return (int)answer.status;
}

static void set_stealing(struct thief *thief, bool is_stealing)
{
	fake_lock(thief->fake);
	thief->is_stealing = is_stealing;
	fake_unlock(thief->fake);
}

static void a_write_whose_answer_got_lost_is_found_done(void **state)
{
	struct thief thief = { .is_stealing = false };
	struct etcd_address address;
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record, now;
	uint64_t revision;
	char uri[HF_URI_MAX];

	(void)state;
	servers_endpoint(shared, 0, thief.endpoint);
	assert_int_equal(etcd_address_parse(thief.endpoint, &address, NULL), 0);
	assert_int_equal(etcd_http_new(&address, &thief.http, NULL), 0);
	thief.fake = fake_new(steal, &thief);

	/* Alone: unknown, and the same again is done, by the first one. */
	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u", fake_port(thief.fake));
	open_uri(uri, &ledger);
	revision = write_one(&ledger, "stolen", 0, "t1");
	set_stealing(&thief, true);
	record = make("stolen", revision, "t2");
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_UNKNOWN);
	set_stealing(&thief, false);
	revision = read_one(&ledger, "stolen").revision;
	assert_true(revision > record.revision);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(now.revision, revision);
	hf_ledger_close(&ledger);

	/* With another endpoint behind it (by the order of names): done, and once. */
	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u,http://localhost:%u",
		       fake_port(thief.fake), shared->client_ports[0]);
	open_uri(uri, &ledger);
	(void)read_one(&ledger, "stolen");
	set_stealing(&thief, true);
	record = make("stolen", revision, "t3");
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(now.revision, revision + 1);
	assert_int_equal(read_one(&ledger, "stolen").revision, now.revision);
	hf_ledger_close(&ledger);
	fake_free(thief.fake);
	assert_int_equal(thief.stolen, 2);
	(void)etcd_http_free(thief.http);
}

/* ---- other people's keys -----------------------------------------------------------------------
 */

static void put_raw(const char *key, const char *value)
{
	char key64[256], value64[256], body[600], endpoint[HF_URI_MAX];

	base64_encode(key, strlen(key), key64);
	base64_encode(value, strlen(value), value64);
	(void)snprintf(body, sizeof(body), "{\"key\":\"%s\",\"value\":\"%s\"}", key64, value64);
	servers_endpoint(shared, 0, endpoint);
	post(endpoint, "/v3/kv/put", body);
}

struct heard {
	unsigned int count;
	char last[HF_NAME_MAX];
};

static void hear(void *ctx, const struct hf_ledger_record *record)
{
	struct heard *heard = ctx;

	heard->count++;
	(void)snprintf(heard->last, sizeof(heard->last), "%s", record->guest);
}

static void what_is_no_record_is_named_and_left_alone(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record, now;
	struct heard heard = { 0 };
	struct hf_error err = { 0 };

	(void)state;
	open_servers(shared, "?prefix=odd", &ledger);
	(void)write_one(&ledger, "fine", 0, "a");
	(void)write_one(&ledger, "zebra", 0, "a");
	put_raw("odd/guest/note", "to self: buy milk\n");
	put_raw("odd/guest/x/y", "");
	put_raw("odd/guest", "not below it");
	put_raw("odd/guest0", "nor this");
	assert_int_equal(ledger_read(&ledger, "note", &now, &err), HF_E_LEDGER_DAMAGED);
	assert_non_null(strstr(err.text, "odd/guest/note"));
	assert_non_null(strstr(err.text, "http://127.0.0.1:"));
	for (uint64_t revision = 0; revision < 2; revision++) {
		record = make("note", revision, "n");
		assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_LEDGER_DAMAGED);
	}
	memset(&err, 0, sizeof(err));
	assert_int_equal(ledger_list(&ledger, hear, &heard, &err), HF_E_LEDGER_DAMAGED);
	assert_non_null(strstr(err.text, "odd/guest/note"));
	assert_int_equal(heard.count, 2);
	assert_string_equal(heard.last, "zebra");
	hf_ledger_close(&ledger);
}

static void prefixes_are_apart(void **state)
{
	struct hf_ledger a = { 0 }, b = { 0 };

	(void)state;
	open_servers(shared, "?prefix=a", &a);
	open_servers(shared, "?prefix=a/guest", &b);
	assert_string_not_equal(a.uri, b.uri);
	(void)write_one(&a, "g", 0, "x");
	assert_int_equal(read_one(&b, "g").revision, 0);
	(void)write_one(&b, "g", 0, "x");
	hf_ledger_close(&a);
	hf_ledger_close(&b);
}

/* ---- users and TLS -----------------------------------------------------------------------------
 */

static void put_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

/* Users root and holdfast; the second may touch what is below holdfast/guest/ only. */
static void enable_users(const char *endpoint)
{
	char from[64], to[64], body[256];

	base64_encode("holdfast/guest/", 15, from);
	base64_encode("holdfast/guest0", 15, to);
	(void)snprintf(body, sizeof(body),
		       "{\"name\":\"holdfast\",\"perm\":{\"permType\":\"READWRITE\",\"key\":\"%s\","
		       "\"range_end\":\"%s\"}}",
		       from, to);
	post(endpoint, "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"r\"}");
	post(endpoint, "/v3/auth/user/add", "{\"name\":\"holdfast\",\"password\":\"\\\"s3 cret\"}");
	post(endpoint, "/v3/auth/role/add", "{\"name\":\"root\"}");
	post(endpoint, "/v3/auth/role/add", "{\"name\":\"holdfast\"}");
	post(endpoint, "/v3/auth/role/grant", body);
	post(endpoint, "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
	post(endpoint, "/v3/auth/user/grant", "{\"user\":\"holdfast\",\"role\":\"holdfast\"}");
	post(endpoint, "/v3/auth/enable", "{}");
}

/* Both are refused: a read with an error, a write as not done; the words are etcd's. */
static void assert_refused(const struct servers *servers, const char *options, const char *words)
{
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record record = make("refused", 0, "r"), now;
	struct hf_error err = { 0 };

	open_servers(servers, options, &ledger);
	assert_int_equal(ledger_read(&ledger, "refused", &now, &err), HF_E_LEDGER_UNKNOWN);
	if (!strstr(err.text, words))
		fail_msg("\"%s\", and not \"%s\"", err.text, words);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_E_LEDGER_UNKNOWN);
	hf_ledger_close(&ledger);
}

static void user_and_password_are_shown(void **state)
{
	struct servers *servers = servers_new(1, false);
	struct hf_ledger ledger = { 0 };
	char endpoint[HF_URI_MAX], right[128], wrong[128], options[512];
	uint64_t revision;

	(void)state;
	servers_endpoint(servers, 0, endpoint);
	(void)snprintf(right, sizeof(right), "%s/password", servers->dir);
	(void)snprintf(wrong, sizeof(wrong), "%s/wrong", servers->dir);
	put_file(right, "\"s3 cret\n");
	put_file(wrong, "guess");
	(void)snprintf(options, sizeof(options), "?user=holdfast&password-file=%s", right);

	/* Before etcd has users, and after; the handle stays open. */
	open_servers(servers, options, &ledger);
	revision = write_one(&ledger, "users", 0, "u1");
	enable_users(endpoint);
	revision = write_one(&ledger, "users", revision, "u2");
	assert_int_equal(read_one(&ledger, "users").revision, revision);

	/* Tokens are gone with the process that gave them. */
	servers_kill(servers, 0);
	servers_restart(servers, 0);
	revision = write_one(&ledger, "users", revision, "u3");
	servers_kill(servers, 0);
	servers_restart(servers, 0);
	assert_int_equal(read_one(&ledger, "users").revision, revision);
	hf_ledger_close(&ledger);

	assert_refused(servers, "", "user name is empty");
	(void)snprintf(options, sizeof(options), "?user=holdfast&password-file=%s", wrong);
	assert_refused(servers, options, "authentication failed");
	(void)snprintf(options, sizeof(options), "?user=holdfast&password-file=%s&prefix=else",
		       right);
	assert_refused(servers, options, "permission denied");
	servers_free(servers);
}

static void tls_shows_who_is_who(void **state)
{
	struct servers *servers = servers_new(1, true);
	struct servers *others = servers_new(1, true); /* with another CA */
	struct hf_ledger ledger = { 0 };
	struct hf_ledger_record now;
	struct hf_error err = { 0 };
	char options[1024], uri[HF_URI_MAX], whole[2 * HF_URI_MAX];

	(void)state;
	(void)snprintf(options, sizeof(options),
		       "?cacert=%s/ca.pem&cert=%s/client.pem&key=%s/client.key", servers->dir,
		       servers->dir, servers->dir);
	open_servers(servers, options, &ledger);
	(void)write_one(&ledger, "tls", 0, "t1");
	assert_string_equal(read_one(&ledger, "tls").attempt, "t1");
	assert_null(strchr(ledger.uri, '?'));
	/* What is written to a connection that is gone must not end us by SIGPIPE. */
	servers_kill(servers, 0);
	assert_int_equal(ledger_read(&ledger, "tls", &now, NULL), HF_E_LEDGER_UNKNOWN);
	servers_restart(servers, 0);
	(void)write_one(&ledger, "tls", read_one(&ledger, "tls").revision, "t2");
	hf_ledger_close(&ledger);

	/* We do not show who we are. */
	(void)snprintf(options, sizeof(options), "?cacert=%s/ca.pem", servers->dir);
	open_servers(servers, options, &ledger);
	assert_int_equal(ledger_read(&ledger, "tls", &now, NULL), HF_E_LEDGER_UNKNOWN);
	hf_ledger_close(&ledger);
	/* We do not know them: nothing is sent. */
	assert_refused(servers, "", "certificate");
	(void)snprintf(options, sizeof(options),
		       "?cacert=%s/ca.pem&cert=%s/client.pem&key=%s/client.key", others->dir,
		       servers->dir, servers->dir);
	assert_refused(servers, options, "certificate");
	/* Their certificate is of another host. */
	(void)snprintf(whole, sizeof(whole), "etcd:https://localhost:%u?cacert=%s/ca.pem",
		       servers->client_ports[0], servers->dir);
	open_uri(whole, &ledger);
	assert_int_equal(ledger_read(&ledger, "tls", &now, &err), HF_E_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, "localhost"));
	hf_ledger_close(&ledger);
	/* Plain HTTP is not what they speak. */
	(void)snprintf(uri, sizeof(uri), "etcd:http://127.0.0.1:%u", servers->client_ports[0]);
	open_uri(uri, &ledger);
	assert_int_equal(ledger_read(&ledger, "tls", &now, NULL), HF_E_LEDGER_UNKNOWN);
	hf_ledger_close(&ledger);
	servers_free(servers);
	servers_free(others);
}

static int begin(void **state)
{
	(void)state;
	shared = servers_new(3, false);
	return 0;
}

static int end(void **state)
{
	(void)state;
	servers_free(shared);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_one_of_three_killed_operations_go_on),
		cmocka_unit_test(a_stopped_member_is_passed_by),
		cmocka_unit_test(with_two_killed_it_is_unknown_in_time_and_nothing_is_lost),
		cmocka_unit_test(a_write_to_stopped_members_is_done_once_or_comes_too_late),
		cmocka_unit_test(records_outlive_all_members),
		cmocka_unit_test(a_write_whose_answer_got_lost_is_found_done),
		cmocka_unit_test(what_is_no_record_is_named_and_left_alone),
		cmocka_unit_test(prefixes_are_apart),
		cmocka_unit_test(user_and_password_are_shown),
		cmocka_unit_test(tls_shows_who_is_who),
	};

	if (!servers_can()) {
		(void)printf("1..0 # SKIP there is no etcd here (Debian: etcd-server)\n");
		return 0;
	}
	return cmocka_run_group_tests_name("ledger-etcd", tests, begin, end);
}
