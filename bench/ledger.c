/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the ledger costs a guest that stands still: offer at the source, claim and started at the
 * target, each a read and a write as a session makes them, over two handles that are open already;
 * and the first read over a handle that is not, which whoever asks late pays for.
 * Prints microseconds, one line for each run and ledger; ledger.py makes a table of them.
 *
 *   bench-ledger RUNS URI...
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <holdfast/backend.h>

#define LEDGERS_MAX 8u

struct pair {
	struct hf_ledger source, target;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Read, change what the operation changes, write. Ends the program if the ledger does not. */
static void operate(struct hf_ledger *ledger, const char *guest, uint32_t state)
{
	static unsigned int attempts;
	struct hf_ledger_record record, now;
	struct hf_error err = { 0 };
	int answer;

	memset(&record, 0, sizeof(record));
	memset(&now, 0, sizeof(now));
	answer = hf_ledger_read(ledger, guest, &record, &err);
	if (answer == 0) {
		record.state = state;
		record.epoch += state == HF_LEDGER_OFFERED;
		memset(record.attempt, 0, sizeof(record.attempt));
		(void)snprintf(record.owner, sizeof(record.owner), "alpha.1");
		(void)snprintf(record.offered_to, sizeof(record.offered_to), "beta.2");
		(void)snprintf(record.attempt, sizeof(record.attempt), "bench/%u", ++attempts);
		answer = ledger->ops->swap(ledger->self, &record, &now, &err);
	}
	if (answer == HF_LEDGER_DONE)
		return;
	(void)fprintf(stderr, "bench-ledger: %s: answer %d: %s\n", ledger->uri, answer, err.text);
	exit(1);
}

/* Nanoseconds to open a ledger and read from it. */
static uint64_t measure_first(const char *uri)
{
	struct hf_ledger ledger = { .ops = NULL };
	struct hf_ledger_record record;
	struct hf_error err = { 0 };
	uint64_t begin = now_ns(), end;

	memset(&record, 0, sizeof(record));
	if (hf_ledger_open(uri, &ledger, &err) < 0 ||
	    hf_ledger_read(&ledger, "bench", &record, &err) < 0) {
		(void)fprintf(stderr, "bench-ledger: %s\n", err.text);
		exit(1);
	}
	end = now_ns();
	hf_ledger_close(&ledger);
	return end - begin;
}

static void measure(struct pair *pair, unsigned int index, const char *uri)
{
	uint64_t at[4], first = measure_first(uri);

	at[0] = now_ns();
	operate(&pair->source, "bench", HF_LEDGER_OFFERED);
	at[1] = now_ns();
	operate(&pair->target, "bench", HF_LEDGER_CLAIMED);
	at[2] = now_ns();
	operate(&pair->target, "bench", HF_LEDGER_AWAY);
	at[3] = now_ns();
	(void)printf("%u %.1f %.1f %.1f %.1f\n", index, (double)first / 1e3,
		     (double)(at[1] - at[0]) / 1e3, (double)(at[2] - at[1]) / 1e3,
		     (double)(at[3] - at[2]) / 1e3);
}

int main(int argc, char **argv)
{
	struct pair pairs[LEDGERS_MAX] = { 0 };
	struct hf_error err = { 0 };
	unsigned int count = argc > 2 ? (unsigned int)argc - 2 : 0;
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;

	if (runs == 0 || count == 0 || count > LEDGERS_MAX) {
		(void)fprintf(stderr, "usage: bench-ledger RUNS URI... (at most %u)\n",
			      LEDGERS_MAX);
		return 2;
	}
	for (unsigned int i = 0; i < count; i++) {
		if (hf_ledger_open(argv[2 + i], &pairs[i].source, &err) < 0 ||
		    hf_ledger_open(argv[2 + i], &pairs[i].target, &err) < 0) {
			(void)fprintf(stderr, "bench-ledger: %s\n", err.text);
			return 1;
		}
		/* Both sides have read the record long before the guest stops. */
		operate(&pairs[i].source, "bench", HF_LEDGER_HOME);
		operate(&pairs[i].target, "bench", HF_LEDGER_HOME);
	}
	/* In turn, so that what else the machine does meets all of them. */
	for (unsigned long run = 0; run < runs; run++)
		for (unsigned int i = 0; i < count; i++)
			measure(&pairs[i], i, argv[2 + i]);
	for (unsigned int i = 0; i < count; i++) {
		hf_ledger_close(&pairs[i].source);
		hf_ledger_close(&pairs[i].target);
	}
	return 0;
}
