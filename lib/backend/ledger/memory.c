/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger in this process, for tests: handles with equal names share their records, which are gone
 * with the last of them. The one global of the library; its lock is held for one step at a time.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ledger.h"
#include "backend/ledger/kinds.h"
#include "base/error.h"

struct entry {
	struct hf_ledger_record record;
	struct entry *next;
};

struct store {
	char name[HF_NAME_MAX];
	unsigned int users;
	struct entry *entries;
	struct store *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards stores and all in them */
static struct store *stores;

static struct entry *find(const struct store *store, const char *guest)
{
	for (struct entry *entry = store->entries; entry; entry = entry->next)
		if (strcmp(entry->record.guest, guest) == 0)
			return entry;
	return NULL;
}

static void copy_or_none(const struct entry *entry, const char *guest,
			 struct hf_ledger_record *ret_record)
{
	if (entry) {
		*ret_record = entry->record;
		return;
	}
	memset(ret_record, 0, sizeof(*ret_record));
	(void)snprintf(ret_record->guest, sizeof(ret_record->guest), "%s", guest);
}

static int memory_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		       struct hf_error *err)
{
	const struct store *store = self;

	(void)err;
	(void)pthread_mutex_lock(&lock);
	copy_or_none(find(store, guest), guest, ret_record);
	(void)pthread_mutex_unlock(&lock);
	return 0;
}

/* With the lock held. */
static int swap(struct store *store, const struct hf_ledger_record *record,
		struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct entry *entry = find(store, record->guest);
	uint64_t revision = entry ? entry->record.revision : 0;

	if (entry && ledger_record_is_written(&entry->record, record)) {
		*ret_now = entry->record;
		return HF_LEDGER_DONE;
	}
	if (revision != record->revision) {
		copy_or_none(entry, record->guest, ret_now);
		return HF_LEDGER_REFUSED;
	}
	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return error_set(err, HF_E_NO_MEMORY, ENOMEM, "write guest %s",
					 record->guest);
		entry->next = store->entries;
		store->entries = entry;
	}
	entry->record = *record;
	entry->record.revision = revision + 1;
	*ret_now = entry->record;
	return HF_LEDGER_DONE;
}

static int memory_swap(void *self, const struct hf_ledger_record *record,
		       struct hf_ledger_record *ret_now, struct hf_error *err)
{
	int answer;

	(void)pthread_mutex_lock(&lock);
	answer = swap(self, record, ret_now, err);
	(void)pthread_mutex_unlock(&lock);
	return answer;
}

/* The first record behind a name, in the order of names. */
static bool find_next(const struct store *store, const char *after,
		      struct hf_ledger_record *ret_record)
{
	const struct entry *found = NULL;

	for (const struct entry *entry = store->entries; entry; entry = entry->next)
		if (strcmp(entry->record.guest, after) > 0 &&
		    (!found || strcmp(entry->record.guest, found->record.guest) < 0))
			found = entry;
	if (found)
		*ret_record = found->record;
	return found;
}

/* One after another, so that each() is called without the lock. */
static int memory_list(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		       void *ctx, struct hf_error *err)
{
	const struct store *store = self;
	struct hf_ledger_record record = { .guest = "" };
	bool found;

	(void)err;
	for (;;) {
		(void)pthread_mutex_lock(&lock);
		found = find_next(store, record.guest, &record);
		(void)pthread_mutex_unlock(&lock);
		if (!found)
			return 0;
		each(ctx, &record);
	}
}

static void store_free(struct store *store)
{
	struct entry *next;

	for (struct entry *entry = store->entries; entry; entry = next) {
		next = entry->next;
		free(entry);
	}
	free(store);
}

static void memory_close(void *self)
{
	struct store *store = self, **at = &stores;

	if (!store)
		return;
	(void)pthread_mutex_lock(&lock);
	assert(store->users > 0);
	if (--store->users == 0) {
		while (*at != store)
			at = &(*at)->next;
		*at = store->next;
		store_free(store);
	}
	(void)pthread_mutex_unlock(&lock);
}

static const struct hf_ledger_ops memory_ops = {
	.size = sizeof(memory_ops),
	.kind = "memory",
	.read = memory_read,
	.swap = memory_swap,
	.close = memory_close,
	.list = memory_list,
};

/* With the lock held: the store of this name, made if it is not there. */
static struct store *find_store(const char *name)
{
	struct store *store;

	for (store = stores; store; store = store->next)
		if (strcmp(store->name, name) == 0)
			return store;
	store = calloc(1, sizeof(*store));
	if (!store)
		return NULL;
	(void)snprintf(store->name, sizeof(store->name), "%s", name);
	store->next = stores;
	stores = store;
	return store;
}

int ledger_memory_open(const char *name, struct hf_ledger *ret_ledger, struct hf_error *err)
{
	struct store *store;

	if (!ledger_name_ok(name))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger memory:%.80s: the name is not 1..63 of [A-Za-z0-9._-]",
				 name);
	(void)pthread_mutex_lock(&lock);
	store = find_store(name);
	if (store)
		store->users++;
	(void)pthread_mutex_unlock(&lock);
	if (!store)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "ledger memory:%s", name);
	memset(ret_ledger, 0, sizeof(*ret_ledger));
	ret_ledger->ops = &memory_ops;
	ret_ledger->self = store;
	(void)snprintf(ret_ledger->uri, sizeof(ret_ledger->uri), "memory:%s", name);
	return 0;
}
