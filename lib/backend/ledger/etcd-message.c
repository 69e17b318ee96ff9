/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests are written by hand (base64 needs no escapes); answers are read with jansson. */
#include "backend/ledger/etcd-message.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "backend/ledger.h"
#include "backend/ledger/base64.h"
#include "backend/ledger/record.h"
#include "base/cleanup.h"
#include "base/error.h"

#define FOLDER "/guest/"

static void json_donep(json_t **value)
{
	json_decref(*value);
}

#define _cleanup_json_ _cleanup_(json_donep)

/* ---- requests ---------------------------------------------------------------------------------
 */

void etcd_key(const char *prefix, const char *guest, char ret_key[ETCD_KEY_MAX])
{
	(void)snprintf(ret_key, ETCD_KEY_MAX, "%.63s" FOLDER "%.63s", prefix, guest);
}

/* The sum of the limits is below ETCD_REQUEST_MAX. */
static void __attribute__((format(printf, 2, 3)))
put(char ret_text[ETCD_REQUEST_MAX], const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(ret_text, ETCD_REQUEST_MAX, format, args);
	va_end(args);
	assert(length > 0 && (unsigned int)length < ETCD_REQUEST_MAX);
}

void etcd_read_encode(const char *key, char ret_text[ETCD_REQUEST_MAX])
{
	char key64[BASE64_LENGTH(ETCD_KEY_MAX) + 1];

	base64_encode(key, strlen(key), key64);
	/* Without "serializable": a member that is cut off must not tell us what was. */
	put(ret_text, "{\"key\":\"%s\"}", key64);
}

void etcd_swap_encode(const char *key, const struct hf_ledger_record *record,
		      char ret_text[ETCD_REQUEST_MAX])
{
	char key64[BASE64_LENGTH(ETCD_KEY_MAX) + 1], value64[BASE64_LENGTH(RECORD_TEXT_MAX) + 1];
	struct hf_ledger_record stored = *record;
	char text[RECORD_TEXT_MAX];
	size_t length;

	stored.revision = 0;
	length = record_encode(&stored, text);
	base64_encode(key, strlen(key), key64);
	base64_encode(text, length, value64);
	/* A key that is not there has the mod_revision 0. The read behind the write sees it. */
	put(ret_text,
	    "{\"compare\":[{\"key\":\"%s\",\"target\":\"MOD\",\"result\":\"EQUAL\","
	    "\"mod_revision\":\"%" PRIu64 "\"}],"
	    "\"success\":[{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}},"
	    "{\"request_range\":{\"key\":\"%s\"}}],"
	    "\"failure\":[{\"request_range\":{\"key\":\"%s\"}}]}",
	    key64, record->revision, key64, value64, key64, key64);
}

void etcd_list_encode(const char *prefix, const char *after, char ret_text[ETCD_REQUEST_MAX])
{
	char from[ETCD_KEY_MAX + 1], end[ETCD_KEY_MAX];
	char from64[BASE64_LENGTH(sizeof(from)) + 1], end64[BASE64_LENGTH(sizeof(end)) + 1];
	size_t length;

	etcd_key(prefix, "", end);
	(void)snprintf(from, sizeof(from), "%s", after[0] ? after : end);
	/* The next key behind one is that with a zero byte more; the end, the last byte's next. */
	base64_encode(from, strlen(from) + (after[0] ? 1 : 0), from64);
	length = strlen(end);
	end[length - 1]++;
	base64_encode(end, length, end64);
	put(ret_text, "{\"key\":\"%s\",\"range_end\":\"%s\",\"limit\":\"%u\"}", from64, end64,
	    ETCD_PAGE);
}

bool etcd_login_encode(const char *user, const char *password, char ret_text[ETCD_REQUEST_MAX])
{
	_cleanup_json_ json_t *request = json_pack("{s:s,s:s}", "name", user, "password", password);
	size_t length;

	if (!request)
		return false;
	length = json_dumpb(request, ret_text, ETCD_REQUEST_MAX, JSON_COMPACT);
	if (length == 0 || length >= ETCD_REQUEST_MAX)
		return false;
	ret_text[length] = '\0';
	return true;
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static int strange(struct hf_error *err, const char *what)
{
	(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0, "this is no answer of etcd: %s", what);
	return HF_E_LEDGER_UNKNOWN;
}

/* The object in text, or NULL. */
static json_t *parse(const char *text, size_t length)
{
	json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(root))
		return root;
	json_decref(root);
	return NULL;
}

/* A member that is a 64-bit number: a string of digits, as protocol buffers write it. */
static bool get_u64(const json_t *object, const char *name, uint64_t *ret_value)
{
	const json_t *member = json_object_get(object, name);
	const char *text = json_string_value(member);
	uint64_t value = 0;

	if (!text || json_string_length(member) == 0 || json_string_length(member) > 20)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (unsigned int)(*text - '0'), &value))
			return false;
	}
	*ret_value = value;
	return true;
}

/* A member that is base64 of at most room bytes; absent is empty. Its length, or -1. */
static ssize_t get_bytes(const json_t *object, const char *name, void *ret_bytes, size_t room)
{
	const json_t *member = json_object_get(object, name);

	if (!member)
		return 0;
	if (!json_is_string(member))
		return -1;
	return base64_decode(json_string_value(member), json_string_length(member), ret_bytes,
			     room);
}

/* The whole answer, and which cluster gave it. */
static json_t *get_answer(const char *text, size_t length, uint64_t *ret_cluster,
			  struct hf_error *err)
{
	json_t *root = parse(text, length);

	if (!root) {
		(void)strange(err, "no JSON object");
		return NULL;
	}
	if (get_u64(json_object_get(root, "header"), "cluster_id", ret_cluster) && *ret_cluster)
		return root;
	(void)strange(err, "it does not say which cluster it comes from");
	json_decref(root);
	return NULL;
}

static int damaged(struct hf_error *err, const char *key, const char *what)
{
	(void)error_set(err, HF_E_LEDGER_DAMAGED, 0, "key %s: %s", key, what);
	return HF_E_LEDGER_DAMAGED;
}

/* The record of a KeyValue, whose key was checked. */
static int get_record(const json_t *kv, const char *key, const char *guest,
		      struct hf_ledger_record *ret_record, struct hf_error *err)
{
	struct hf_ledger_record record;
	char text[RECORD_TEXT_MAX];
	const char *why = NULL;
	unsigned int line;
	uint64_t revision;
	ssize_t length;

	if (!get_u64(kv, "mod_revision", &revision) || revision == 0)
		return strange(err, "a key without mod_revision");
	length = get_bytes(kv, "value", text, sizeof(text));
	if (length < 0)
		return damaged(err, key, "the value is no text, or longer than any record");
	line = record_decode(text, (size_t)length, &record, &why);
	if (line)
		return error_set(err, HF_E_LEDGER_DAMAGED, 0, "key %s, line %u: %s", key, line,
				 why);
	if (record.revision)
		return damaged(err, key, "line 3: in etcd the text has the revision 0");
	if (strcmp(record.guest, guest) != 0)
		return damaged(err, key, "line 2: the record is another guest's");
	record.revision = revision;
	if (ledger_record_check(&record, NULL) < 0)
		return damaged(err, key, "the record contradicts itself");
	*ret_record = record;
	return 0;
}

/* The record of a RangeResponse for one key: at most one KeyValue. */
static int get_one(const json_t *range, const char *key, const char *guest,
		   struct hf_ledger_record *ret_record, struct hf_error *err)
{
	const json_t *kvs = json_object_get(range, "kvs"), *kv;
	char found[ETCD_KEY_MAX];
	ssize_t length;

	if (!json_is_object(range) || (kvs && !json_is_array(kvs)) || json_array_size(kvs) > 1)
		return strange(err, "one key was asked for, and this is not what stands there");
	if (json_array_size(kvs) == 0) {
		memset(ret_record, 0, sizeof(*ret_record));
		(void)snprintf(ret_record->guest, sizeof(ret_record->guest), "%.63s", guest);
		return 0;
	}
	kv = json_array_get(kvs, 0);
	length = get_bytes(kv, "key", found, sizeof(found));
	if (length != (ssize_t)strlen(key) || memcmp(found, key, (size_t)length) != 0)
		return strange(err, "another key was asked for");
	return get_record(kv, key, guest, ret_record, err);
}

int etcd_read_decode(const char *text, size_t length, const char *key, const char *guest,
		     uint64_t *ret_cluster, struct hf_ledger_record *ret_record,
		     struct hf_error *err)
{
	_cleanup_json_ json_t *root = get_answer(text, length, ret_cluster, err);

	if (!root)
		return HF_E_LEDGER_UNKNOWN;
	return get_one(root, key, guest, ret_record, err);
}

int etcd_swap_decode(const char *text, size_t length, const char *key,
		     const struct hf_ledger_record *record, uint64_t *ret_cluster,
		     struct hf_ledger_record *ret_now, struct hf_error *err)
{
	_cleanup_json_ json_t *root = get_answer(text, length, ret_cluster, err);
	const json_t *succeeded, *responses;
	struct hf_ledger_record now;
	bool done;
	int r;

	if (!root)
		return HF_E_LEDGER_UNKNOWN;
	succeeded = json_object_get(root, "succeeded"); /* absent: false */
	if (succeeded && !json_is_boolean(succeeded))
		return strange(err, "succeeded is neither true nor false");
	done = json_is_true(succeeded);
	responses = json_object_get(root, "responses");
	if (json_array_size(responses) != (done ? 2u : 1u))
		return strange(err, "not as many responses as there were requests");
	r = get_one(json_object_get(json_array_get(responses, done ? 1 : 0), "response_range"), key,
		    record->guest, &now, err);
	if (r < 0)
		return r;
	/* Refused, but ours: what is repeated here was done before, and its answer got lost. */
	if (now.revision && ledger_record_is_written(&now, record)) {
		*ret_now = now;
		return HF_LEDGER_DONE;
	}
	if (done || now.revision == record->revision)
		return strange(err, "the record contradicts what was decided");
	*ret_now = now;
	return HF_LEDGER_REFUSED;
}

/* The key of a list's KeyValue, below prefix; what stands behind prefix is the guest. */
static const char *get_key(const json_t *kv, const char *folder, char ret_key[ETCD_KEY_MAX])
{
	size_t begin = strlen(folder);
	ssize_t length = get_bytes(kv, "key", ret_key, ETCD_KEY_MAX - 1);

	if (length < (ssize_t)begin || memcmp(ret_key, folder, begin) != 0)
		return NULL;
	ret_key[length] = '\0';
	return strlen(ret_key) == (size_t)length ? ret_key + begin : NULL;
}

/* Before the first record is told, all keys are looked at: a page is told whole, or not at all. */
static int check_page(const json_t *kvs, const char *folder, struct etcd_page *page,
		      struct hf_error *err)
{
	char keys[2][ETCD_KEY_MAX] = { 0 };
	size_t i;

	(void)snprintf(keys[1], sizeof(keys[1]), "%s", page->last);
	for (i = 0; i < json_array_size(kvs); i++)
		if (!get_key(json_array_get(kvs, i), folder, keys[i & 1]) ||
		    strcmp(keys[i & 1], keys[~i & 1]) <= 0)
			return strange(err, "a key that is not of this list, or not in its order");
	(void)snprintf(page->last, sizeof(page->last), "%s", keys[~i & 1]);
	return 0;
}

static void tell_one(const json_t *kv, const char *folder, struct etcd_page *page)
{
	struct hf_ledger_record record;
	char key[ETCD_KEY_MAX];
	const char *guest = get_key(kv, folder, key);
	struct hf_error story = { 0 };
	int r;

	assert(guest);
	if (ledger_name_ok(guest))
		r = get_record(kv, key, guest, &record, &story);
	else
		r = damaged(&story, key, "no guest has this name");
	if (r == 0)
		page->each(page->ctx, &record);
	else if (!page->damaged.code)
		page->damaged = story;
}

int etcd_list_decode(const char *text, size_t length, const char *prefix, uint64_t *ret_cluster,
		     struct etcd_page *page, struct hf_error *err)
{
	_cleanup_json_ json_t *root = get_answer(text, length, ret_cluster, err);
	const json_t *kvs, *more;
	char folder[ETCD_KEY_MAX];

	if (!root)
		return HF_E_LEDGER_UNKNOWN;
	kvs = json_object_get(root, "kvs");
	more = json_object_get(root, "more");
	if ((kvs && !json_is_array(kvs)) || (more && !json_is_boolean(more)))
		return strange(err, "a list was asked for");
	page->more = json_is_true(more);
	if (page->more && json_array_size(kvs) == 0)
		return strange(err, "an empty page, and more behind it");
	etcd_key(prefix, "", folder);
	if (check_page(kvs, folder, page, err) < 0)
		return HF_E_LEDGER_UNKNOWN;
	for (size_t i = 0; i < json_array_size(kvs); i++)
		tell_one(json_array_get(kvs, i), folder, page);
	return 0;
}

int etcd_login_decode(const char *text, size_t length, char ret_token[ETCD_TOKEN_MAX],
		      struct hf_error *err)
{
	_cleanup_json_ json_t *root = parse(text, length);
	const json_t *token = json_object_get(root, "token");
	const char *at = json_string_value(token);

	if (!at || !*at || json_string_length(token) >= ETCD_TOKEN_MAX)
		return strange(err, "a token was asked for");
	/* It goes into a line of a header: nothing in it may end the line. */
	for (; *at; at++)
		if (*at <= ' ' || *at > '~')
			return strange(err, "the token is not printable");
	(void)snprintf(ret_token, ETCD_TOKEN_MAX, "%s", json_string_value(token));
	return 0;
}

void etcd_refusal_decode(const char *text, size_t length, char ret_words[128])
{
	_cleanup_json_ json_t *root = parse(text, length);
	const char *words = json_string_value(json_object_get(root, "error"));

	if (!words) /* the gateway of etcd 3.6 */
		words = json_string_value(json_object_get(root, "message"));
	(void)snprintf(ret_words, 128, "%s", words ? words : "");
	for (char *at = ret_words; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
}
