/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger in etcd (version 3), by its HTTP/JSON gateway. A write is one transaction: compare the
 * key's mod_revision, put, read. No lease and no lifetime is used: what decides is the record.
 *
 * Endpoints are asked in turn, beginning with the one that answered last, until one answers or the
 * time is over. A write whose answer did not come may have been carried out, or may yet be; sending
 * it again, to the same endpoint or to another, is safe all the same:
 *  - the compare lets at most one of the copies through, since each write moves the mod_revision,
 *    which never comes back (nobody deletes keys);
 *  - a copy that is refused by the other one finds our attempt in the record, which is an id of its
 *    own for each attempt, and is DONE; if somebody has written since, it is REFUSED, as it would
 * be for a write that comes late. Nothing is ever taken for failed because it was not answered:
 * that is UNKNOWN.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/ledger.h"
#include "backend/ledger/etcd-address.h"
#include "backend/ledger/etcd-http.h"
#include "backend/ledger/etcd-message.h"
#include "backend/ledger/kinds.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"

/*
 * Of the ten seconds that a session gives an operation by default, a read and a write must both
 * find their way past members that do not answer.
 */
#define REQUEST_MS 2000u
#define OPERATION_NS (6 * NS_PER_S)
/* Members that answer, but have no leader yet, are asked again: an election takes a second or two.
 */
#define ELECTION_NS (3 * NS_PER_S)
#define ELECTION_POLL_NS (100 * NS_PER_MS)

#define PASSWORD_MAX 256u /* with the NUL */

struct etcd_ledger {
	struct etcd_address address;
	struct etcd_http *http;
	char password[PASSWORD_MAX];
	char token[ETCD_TOKEN_MAX]; /* "": not logged in */
	uint32_t current; /* the endpoint that answered last */
	uint32_t members; /* bit i: endpoint i has told its cluster, and it is ours */
	uint64_t cluster; /* 0: not known yet */
	char request[ETCD_REQUEST_MAX];
};

/* One operation on its way: what is asked, and where the answer goes. */
struct question {
	enum { ASK_READ, ASK_SWAP, ASK_LIST } kind;
	uint64_t deadline_ns;
	char key[ETCD_KEY_MAX]; /* ASK_LIST: the one behind which it begins */
	const char *guest;
	const struct hf_ledger_record *record; /* ASK_SWAP */
	struct hf_ledger_record *ret_now; /* ASK_READ, ASK_SWAP */
	struct etcd_page *page; /* ASK_LIST */
	bool is_sent; /* a write may have reached etcd */
	bool is_undecided; /* somebody is there, and could not decide: an election, maybe */
};

/* How asking one endpoint ended: the operation's answer (0 or above), or one of these. */
#define NEXT_ENDPOINT (-1) /* err says what this one did */
#define HOPELESS (-2) /* another one would say the same; err has the code */

/* ---- one endpoint -----------------------------------------------------------------------------
 */

/* A refusal in etcd's words. What it says definitely did not happen. */
static bool is_definite(unsigned int status)
{
	return status == 400 || status == 401 || status == 403 || status == 404 || status == 412;
}

/* It is etcd, and cannot decide just now: what it was sent may have happened all the same. */
static bool is_undecided(unsigned int status)
{
	return status >= 500 || status == 408 || status == 429;
}

static void tell_refusal(const char *endpoint, const struct etcd_answer *answer,
			 struct hf_error *err)
{
	char words[128];

	etcd_refusal_decode(answer->text, answer->length, words);
	(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0, "%.80s: HTTP %u%s%.100s", endpoint,
			answer->status, words[0] ? ": " : "", words);
}

/* POST what is in ledger->request; an answer with another status than 200 is no success here. */
static enum etcd_sent post(struct etcd_ledger *ledger, struct question *question,
			   const char *endpoint, const char *path, struct etcd_answer *ret_answer,
			   struct hf_error *err)
{
	uint64_t now = time_now_ns(), left_ms;

	left_ms = question->deadline_ns > now ? (question->deadline_ns - now) / NS_PER_MS : 0;
	if (left_ms == 0) {
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0, "%.80s: no time is left", endpoint);
		return ETCD_NOT_SENT;
	}
	return etcd_http_post(ledger->http, endpoint, path, ledger->token, ledger->request,
			      left_ms < REQUEST_MS ? (unsigned int)left_ms : REQUEST_MS, ret_answer,
			      err);
}

static int log_in(struct etcd_ledger *ledger, struct question *question, const char *endpoint,
		  struct hf_error *err)
{
	struct etcd_answer answer;

	ledger->token[0] = '\0';
	if (!etcd_login_encode(ledger->address.user, ledger->password, ledger->request)) {
		(void)error_set(err, HF_E_INVALID, 0, "ledger etcd: the password is no UTF-8");
		return HOPELESS;
	}
	if (post(ledger, question, endpoint, "/v3/auth/authenticate", &answer, err) !=
	    ETCD_ANSWERED)
		return NEXT_ENDPOINT;
	if (answer.status == 412)
		return 0; /* etcd has no users: nothing to be logged in to */
	if (answer.status != 200) {
		tell_refusal(endpoint, &answer, err);
		question->is_undecided = question->is_undecided || is_undecided(answer.status);
		return NEXT_ENDPOINT;
	}
	return etcd_login_decode(answer.text, answer.length, ledger->token, err) < 0 ? NEXT_ENDPOINT
										     : 0;
}

/* Endpoints of two clusters are two ledgers, and nothing that one says holds in the other. */
static int check_cluster(struct etcd_ledger *ledger, uint32_t index, uint64_t cluster,
			 struct hf_error *err)
{
	if (!ledger->cluster)
		ledger->cluster = cluster;
	if (cluster != ledger->cluster) {
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0,
				"%.80s is of another cluster (%" PRIx64 ") than we know (%" PRIx64
				")",
				ledger->address.endpoints[index], cluster, ledger->cluster);
		return NEXT_ENDPOINT;
	}
	ledger->members |= 1u << index;
	return 0;
}

static void encode(struct etcd_ledger *ledger, const struct question *question)
{
	switch (question->kind) {
	case ASK_READ:
		etcd_read_encode(question->key, ledger->request);
		break;
	case ASK_SWAP:
		etcd_swap_encode(question->key, question->record, ledger->request);
		break;
	case ASK_LIST:
		etcd_list_encode(ledger->address.prefix, question->page->last, ledger->request);
		break;
	}
}

static int decode(struct etcd_ledger *ledger, struct question *question, uint32_t index,
		  const struct etcd_answer *answer, struct hf_error *err)
{
	struct hf_ledger_record now;
	uint64_t cluster = 0;
	int r = HF_E_BUG;

	switch (question->kind) {
	case ASK_READ:
		r = etcd_read_decode(answer->text, answer->length, question->key, question->guest,
				     &cluster, &now, err);
		break;
	case ASK_SWAP:
		r = etcd_swap_decode(answer->text, answer->length, question->key, question->record,
				     &cluster, &now, err);
		break;
	case ASK_LIST:
		r = etcd_list_decode(answer->text, answer->length, ledger->address.prefix, &cluster,
				     question->page, err);
		break;
	}
	if (r == HF_E_LEDGER_DAMAGED || r == HF_E_LEDGER_UNKNOWN)
		(void)error_prepend(err, "%.80s", ledger->address.endpoints[index]);
	if (r == HF_E_LEDGER_DAMAGED)
		return HOPELESS;
	if (r < 0 || check_cluster(ledger, index, cluster, err) < 0)
		return NEXT_ENDPOINT;
	if (question->ret_now)
		*question->ret_now = now;
	return r;
}

/* Send the question, whatever it is, and understand the answer. *ret_status: of HTTP, or 0. */
static int ask_once(struct etcd_ledger *ledger, struct question *question, uint32_t index,
		    unsigned int *ret_status, struct hf_error *err)
{
	const char *endpoint = ledger->address.endpoints[index];
	const bool is_swap = question->kind == ASK_SWAP;
	struct etcd_answer answer;
	enum etcd_sent sent;

	*ret_status = 0;
	encode(ledger, question);
	sent = post(ledger, question, endpoint, is_swap ? "/v3/kv/txn" : "/v3/kv/range", &answer,
		    err);
	if (sent == ETCD_NO_ANSWER)
		question->is_sent = true;
	if (sent != ETCD_ANSWERED)
		return NEXT_ENDPOINT;
	*ret_status = answer.status;
	if (answer.status == 200) {
		/* Until it is understood: an answer that is none of etcd's tells nothing. */
		question->is_sent = true;
		return decode(ledger, question, index, &answer, err);
	}
	tell_refusal(endpoint, &answer, err);
	question->is_sent = question->is_sent || !is_definite(answer.status);
	question->is_undecided = question->is_undecided || is_undecided(answer.status);
	return NEXT_ENDPOINT;
}

/* The same, logged in. A token that is too old (or a member's that was restarted) gets us 401. */
static int ask_logged_in(struct etcd_ledger *ledger, struct question *question, uint32_t index,
			 struct hf_error *err)
{
	const char *endpoint = ledger->address.endpoints[index];
	unsigned int status;
	int r;

	if (ledger->address.user[0] && !ledger->token[0]) {
		r = log_in(ledger, question, endpoint, err);
		if (r < 0)
			return r;
	}
	r = ask_once(ledger, question, index, &status, err);
	if (r != NEXT_ENDPOINT || !ledger->token[0] || (status != 401 && status != 400))
		return r;
	error_clear(err);
	r = log_in(ledger, question, endpoint, err);
	return r < 0 ? r : ask_once(ledger, question, index, &status, err);
}

/*
 * A write goes to members of our cluster only. An endpoint that never answered before is read from
 * first: afterwards would be too late to find out that it is somewhere else.
 */
static int ask_endpoint(struct etcd_ledger *ledger, struct question *question, uint32_t index,
			struct hf_error *err)
{
	struct hf_ledger_record now;
	struct question first = { .kind = ASK_READ, .ret_now = &now };
	int r;

	if (question->kind == ASK_SWAP && !(ledger->members & 1u << index)) {
		first.guest = question->guest;
		first.deadline_ns = question->deadline_ns;
		memcpy(first.key, question->key, sizeof(first.key));
		r = ask_logged_in(ledger, &first, index, err);
		question->is_undecided = question->is_undecided || first.is_undecided;
		if (r < 0)
			return r;
	}
	return ask_logged_in(ledger, question, index, err);
}

/* ---- all endpoints ----------------------------------------------------------------------------
 */

/* What one more endpoint said, behind what others did. */
static void collect(struct hf_error *story, const struct hf_error *one)
{
	size_t used = strlen(story->text), left = sizeof(story->text) - 1 - used;

	story->code = HF_E_LEDGER_UNKNOWN;
	if (strstr(story->text, one->text))
		return; /* the second time round */
	(void)snprintf(story->text + used, left + 1, "%s%.*s", used && left > 2 ? "; " : "",
		       left > 2 ? (int)left - 2 : 0, one->text);
}

/* Each endpoint once. */
static int ask_round(struct etcd_ledger *ledger, struct question *question, struct hf_error *story)
{
	const uint32_t begin = ledger->current, count = ledger->address.count;
	int r = NEXT_ENDPOINT;

	for (uint32_t i = 0; i < count && r == NEXT_ENDPOINT; i++) {
		struct hf_error one = { 0 };
		uint32_t index = (begin + i) % count;

		r = ask_endpoint(ledger, question, index, &one);
		if (r >= 0)
			ledger->current = index;
		else if (r == HOPELESS)
			*story = one;
		else
			collect(story, &one);
	}
	return r;
}

/* The answer, or the code of an error. */
static int ask(struct etcd_ledger *ledger, struct question *question, struct hf_error *err)
{
	const struct timespec pause = { .tv_nsec = (long)ELECTION_POLL_NS };
	const uint64_t begin_ns = time_now_ns();
	struct hf_error story = { 0 };
	int r;

	question->deadline_ns = begin_ns + OPERATION_NS;
	for (;;) {
		question->is_undecided = false;
		r = ask_round(ledger, question, &story);
		if (r != NEXT_ENDPOINT || !question->is_undecided ||
		    time_now_ns() >= begin_ns + ELECTION_NS)
			break;
		(void)nanosleep(&pause, NULL); /* who is elected, the gateway tells nobody */
	}
	if (r >= 0)
		return r;
	assert(story.code < 0);
	return error_set(err, story.code, story.cause, "%s", story.text);
}

/* ---- the operations ---------------------------------------------------------------------------
 */

static int etcd_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		     struct hf_error *err)
{
	struct etcd_ledger *ledger = self;
	struct question question = { .kind = ASK_READ, .guest = guest, .ret_now = ret_record };

	etcd_key(ledger->address.prefix, guest, question.key);
	return ask(ledger, &question, err);
}

static int etcd_swap(void *self, const struct hf_ledger_record *record,
		     struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct etcd_ledger *ledger = self;
	struct question question = {
		.kind = ASK_SWAP, .guest = record->guest, .record = record, .ret_now = ret_now
	};
	int r;

	etcd_key(ledger->address.prefix, record->guest, question.key);
	r = ask(ledger, &question, err);
	/* Otherwise no copy of the request has left this host, or each one was refused in words. */
	return r == HF_E_LEDGER_UNKNOWN && question.is_sent ? HF_LEDGER_UNKNOWN : r;
}

static int etcd_list(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		     void *ctx, struct hf_error *err)
{
	struct etcd_ledger *ledger = self;
	struct etcd_page page = { .each = each, .ctx = ctx };
	int r;

	do {
		struct question question = { .kind = ASK_LIST, .page = &page };

		r = ask(ledger, &question, err);
	} while (r == 0 && page.more);
	if (r == 0 && page.damaged.code) {
		error_copy(err, &page.damaged);
		return page.damaged.code;
	}
	return r;
}

/* ---- open and close ---------------------------------------------------------------------------
 */

static void etcd_close(void *self)
{
	struct etcd_ledger *ledger = self;

	if (!ledger)
		return;
	(void)etcd_http_free(ledger->http);
	explicit_bzero(ledger, sizeof(*ledger)); /* the password and the token */
	free(ledger);
}

static const struct hf_ledger_ops etcd_ops = {
	.size = sizeof(etcd_ops),
	.kind = "etcd",
	.read = etcd_read,
	.swap = etcd_swap,
	.close = etcd_close,
	.list = etcd_list,
};

/* The first line of the file, which others than its owner and group must not be able to read. */
static int read_password(struct etcd_ledger *ledger, struct hf_error *err)
{
	const char *path = ledger->address.password_file;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	ssize_t length;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, HF_E_INVALID, errno, "ledger etcd: password-file %.150s",
				 path);
	if (!S_ISREG(st.st_mode) || (st.st_mode & S_IRWXO))
		return error_set(
			err, HF_E_INVALID, 0,
			"ledger etcd: password-file %.100s: not a file, or others may read "
			"or write it",
			path);
	length = read(fd, ledger->password, sizeof(ledger->password) - 1);
	if (length < 0)
		return error_set(err, HF_E_INVALID, errno, "ledger etcd: password-file %.150s",
				 path);
	ledger->password[length] = '\0';
	ledger->password[strcspn(ledger->password, "\r\n")] = '\0';
	if (!ledger->password[0] || strlen(ledger->password) == sizeof(ledger->password) - 1)
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: password-file %.100s: its first line has not 1..%u "
				 "characters",
				 path, PASSWORD_MAX - 2);
	return 0;
}

/* Nobody is asked yet: an etcd that is away must not keep a guest from being looked at. */
int ledger_etcd_open(const char *address, struct hf_ledger *ret_ledger, struct hf_error *err)
{
	struct etcd_ledger *ledger = calloc(1, sizeof(*ledger));
	int r;

	if (!ledger)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "ledger etcd");
	r = etcd_address_parse(address, &ledger->address, err);
	if (r == 0 && ledger->address.user[0])
		r = read_password(ledger, err);
	if (r == 0)
		r = etcd_http_new(&ledger->address, &ledger->http, err);
	if (r < 0) {
		etcd_close(ledger);
		return r;
	}
	memset(ret_ledger, 0, sizeof(*ret_ledger));
	ret_ledger->ops = &etcd_ops;
	ret_ledger->self = ledger;
	memcpy(ret_ledger->uri, ledger->address.uri, sizeof(ret_ledger->uri));
	return 0;
}
