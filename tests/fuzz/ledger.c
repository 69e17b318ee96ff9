/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any octets as what a ledger's store hands us; the first one says as what: etcd's answer to a
 * read, a write, a list, a log-in, a refusal; a record's text; an address. What is taken keeps the
 * rules, and texts have one spelling.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/ledger.h"
#include "backend/ledger/etcd-address.h"
#include "backend/ledger/etcd-message.h"
#include "backend/ledger/record.h"

#define KEY "holdfast/guest/g"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void hear(void *ctx, const struct hf_ledger_record *record)
{
	(void)ctx;
	must(record->revision && ledger_record_check(record, NULL) == 0);
}

static void as_read(const char *text, size_t length)
{
	struct hf_ledger_record record;
	uint64_t cluster = 0;

	if (etcd_read_decode(text, length, KEY, "g", &cluster, &record, NULL) < 0)
		return;
	must(cluster != 0 && strcmp(record.guest, "g") == 0);
	must(record.revision == 0 || ledger_record_check(&record, NULL) == 0);
}

static void as_swap(const char *text, size_t length)
{
	struct hf_ledger_record now, record = { .guest = "g",
						.revision = 5,
						.state = HF_LEDGER_HOME,
						.owner = "a",
						.attempt = "mine" };
	uint64_t cluster = 0;
	int answer = etcd_swap_decode(text, length, KEY, &record, &cluster, &now, NULL);

	if (answer == HF_LEDGER_DONE)
		must(ledger_record_is_written(&now, &record));
	else if (answer == HF_LEDGER_REFUSED)
		must(now.revision != record.revision);
	else
		must(answer < 0);
}

static void as_list(const char *text, size_t length)
{
	struct etcd_page page = { .each = hear };
	uint64_t cluster = 0;

	if (etcd_list_decode(text, length, "holdfast", &cluster, &page, NULL) == 0)
		must(!page.more || page.last[0]);
}

static void as_login(const char *text, size_t length)
{
	char token[ETCD_TOKEN_MAX];

	if (etcd_login_decode(text, length, token, NULL) < 0)
		return;
	must(token[0] != '\0');
	for (const char *at = token; *at; at++)
		must(*at > ' ' && *at <= '~');
}

static void as_refusal(const char *text, size_t length)
{
	char words[128];

	etcd_refusal_decode(text, length, words);
	for (const char *at = words; *at; at++)
		must(*at >= ' ' && *at <= '~');
}

static void as_record(const char *text, size_t length)
{
	struct hf_ledger_record record;
	char again[RECORD_TEXT_MAX];
	const char *why;

	if (record_decode(text, length, &record, &why))
		return;
	must(record_encode(&record, again) == length && memcmp(text, again, length) == 0);
}

static void as_address(const char *text, size_t length)
{
	struct etcd_address first, second;
	char *whole = calloc(1, length + 1);

	must(whole != NULL);
	memcpy(whole, text, length);
	if (etcd_address_parse(whole, &first, NULL) == 0) {
		must(etcd_address_parse(first.uri + strlen("etcd:"), &second, NULL) == 0);
		must(strcmp(first.uri, second.uri) == 0);
	}
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const as[])(const char *text,
				  size_t length) = { as_read,	 as_swap,   as_list,   as_login,
						     as_refusal, as_record, as_address };

	if (size > 0)
		as[(data[0] - '0') % 7u]((const char *)data + 1, size - 1);
	return 0;
}
