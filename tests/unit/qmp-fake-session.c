/* SPDX-License-Identifier: BSD-3-Clause */
/* See qmp-fake-session.h. */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/qmp-fake-session.h"

#define EVENTS_MAX 16u

struct hf_session {
	struct hf_config config;
	bool ran; /* the machine, before */
	struct hf_error error;
};

struct hf_filters {
	uint32_t count;
};

/* Everything that the test says; the mutex guards it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
	int fd;
	char state[32];
	struct hf_event events[EVENTS_MAX];
	char event_texts[EVENTS_MAX][64];
	uint32_t event_count;
	enum hf_outcome outcome;
	struct hf_error end;
	struct hf_error new_fails, register_fails;
	int cancel_code;
	bool cancelled, broken;
	enum hf_resolve how;
	uint32_t resolved;
	struct hf_ledger_record ledger;
	struct fake_seen seen;
	bool guest_runs;
	uint32_t guest_events;
} fake = { .fd = -1 };

static void poke(void)
{
	uint64_t one = 1;

	assert(write(fake.fd, &one, sizeof(one)) == sizeof(one));
}

#define LOCKED(statements)                                                                         \
	do {                                                                                       \
		(void)pthread_mutex_lock(&mutex);                                                  \
		statements;                                                                        \
		(void)pthread_mutex_unlock(&mutex);                                                \
	} while (0)

void fake_reset(void)
{
	if (fake.fd >= 0)
		(void)close(fake.fd);
	memset(&fake, 0, sizeof(fake));
	fake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(fake.fd >= 0);
	(void)snprintf(fake.state, sizeof(fake.state), "IDLE");
}

void fake_state(const char *state)
{
	LOCKED((void)snprintf(fake.state, sizeof(fake.state), "%s", state); poke());
}

void fake_event(uint32_t id, const char *text, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct hf_event event = { .size = sizeof(event), .id = id, .arg = { a, b, c, d } };

	(void)pthread_mutex_lock(&mutex);
	assert(fake.event_count < EVENTS_MAX);
	(void)snprintf(fake.event_texts[fake.event_count], sizeof(fake.event_texts[0]), "%s", text);
	fake.events[fake.event_count++] = event;
	poke();
	(void)pthread_mutex_unlock(&mutex);
}

void fake_end(enum hf_outcome outcome, int code, const char *text)
{
	(void)pthread_mutex_lock(&mutex);
	fake.outcome = outcome;
	fake.end.code = code;
	(void)snprintf(fake.end.text, sizeof(fake.end.text), "%s", text);
	poke();
	(void)pthread_mutex_unlock(&mutex);
}

void fake_cancel_answer(int code)
{
	LOCKED(fake.cancel_code = code);
}

void fake_new_fails(int code, const char *text)
{
	LOCKED(fake.new_fails.code = code;
	       (void)snprintf(fake.new_fails.text, sizeof(fake.new_fails.text), "%s", text));
}

void fake_register_fails(int code, const char *text)
{
	fake.register_fails.code = code; /* before the loop's thread begins */
	(void)snprintf(fake.register_fails.text, sizeof(fake.register_fails.text), "%s", text);
}

void fake_break(void)
{
	LOCKED(fake.broken = true; poke());
}

void fake_ledger(const struct hf_ledger_record *record)
{
	LOCKED(fake.ledger = *record);
}

void fake_seen(struct fake_seen *ret_seen)
{
	LOCKED(*ret_seen = fake.seen);
}

/* ---- the session --------------------------------------------------------------------------- */

int hf_session_new(const struct hf_config *config, struct hf_session **ret_session,
		   struct hf_error *err)
{
	struct hf_session *session;

	if (fake.new_fails.code) {
		*err = fake.new_fails;
		return err->code;
	}
	session = calloc(1, sizeof(*session));
	assert(session);
	session->config = *config;
	(void)pthread_mutex_lock(&mutex);
	session->ran = fake.guest_runs;
	fake.seen.config = *config;
	(void)snprintf(fake.seen.guest, sizeof(fake.seen.guest), "%s", config->guest);
	(void)snprintf(fake.seen.side, sizeof(fake.seen.side), "%s", config->side);
	(void)snprintf(fake.seen.uri, sizeof(fake.seen.uri), "%s", config->uri);
	fake.seen.session_count++;
	fake.seen.filter_count = config->filters ? config->filters->count : 0;
	fake.outcome = HF_OUTCOME_NONE;
	(void)pthread_mutex_unlock(&mutex);
	*ret_session = session;
	return 0;
}

struct hf_session *hf_session_free(struct hf_session *session)
{
	free(session);
	return NULL;
}

int hf_session_fd(const struct hf_session *session)
{
	(void)session;
	return fake.fd;
}

uint64_t hf_session_deadline(const struct hf_session *session)
{
	(void)session;
	return UINT64_MAX;
}

static void tell_events(struct hf_session *session)
{
	for (uint32_t i = 0; i < fake.event_count; i++) {
		fake.events[i].text = fake.event_texts[i];
		session->config.trace(session->config.trace_ctx, &fake.events[i]);
	}
	fake.event_count = 0;
}

static void run_machine(struct hf_session *session)
{
	const struct hf_machine *machine = &session->config.machine;

	if (fake.outcome == HF_OUTCOME_RUNNING || (fake.outcome == HF_OUTCOME_HOME && session->ran))
		assert(machine->ops->run(machine->self, NULL) == 0);
	else
		assert(machine->ops->stop(machine->self, NULL) == 0);
}

int hf_session_step(struct hf_session *session)
{
	uint64_t count;
	int result = HF_STEP_WAIT;

	(void)!read(fake.fd, &count, sizeof(count)); /* nothing there is fine */
	(void)pthread_mutex_lock(&mutex);
	tell_events(session);
	if (fake.cancelled) {
		fake.cancelled = false;
		fake.end.code = HF_E_CANCELLED;
		(void)snprintf(fake.end.text, sizeof(fake.end.text), "cancelled");
		fake.outcome = session->config.role == HF_ROLE_SOURCE ? HF_OUTCOME_HOME
								      : HF_OUTCOME_FAILED;
	}
	if (fake.outcome != HF_OUTCOME_NONE) {
		session->error = fake.end;
		run_machine(session);
		result = HF_STEP_DONE;
	}
	if (fake.broken)
		result = HF_E_BUG;
	(void)pthread_mutex_unlock(&mutex);
	return result;
}

enum hf_outcome hf_session_outcome(const struct hf_session *session)
{
	(void)session;
	return fake.outcome;
}

const struct hf_error *hf_session_error(const struct hf_session *session)
{
	return &session->error;
}

int hf_session_progress(struct hf_session *session, struct hf_progress *progress)
{
	memset(progress, 0, sizeof(*progress));
	progress->size = sizeof(*progress);
	progress->role = session->config.role;
	(void)snprintf(progress->state, sizeof(progress->state), "%s", fake.state);
	progress->round = 2;
	progress->normal_pages = 3;
	progress->page_bytes = 3 * HF_PAGE_SIZE;
	progress->remaining_pages = 5;
	progress->memory_bytes = 1 << 20;
	progress->device_bytes = 77;
	progress->total_us = 9000;
	progress->downtime_us = 1500;
	return 0;
}

/* It goes home, with the reason. */
int hf_session_fail(struct hf_session *session, const struct hf_error *why)
{
	(void)session;
	fake_end(HF_OUTCOME_HOME, why->code, why->text);
	return 0;
}

int hf_session_cancel(struct hf_session *session)
{
	int code;

	(void)session;
	(void)pthread_mutex_lock(&mutex);
	code = fake.cancel_code;
	if (code == 0) {
		fake.cancelled = true;
		poke();
	}
	(void)pthread_mutex_unlock(&mutex);
	return code;
}

int hf_session_resolve(struct hf_session *session, enum hf_resolve how, struct hf_error *err)
{
	(void)session;
	(void)err;
	(void)pthread_mutex_lock(&mutex);
	assert(fake.outcome == HF_OUTCOME_WAITING);
	fake.outcome = HF_OUTCOME_NONE;
	fake.how = how;
	fake.resolved++;
	(void)pthread_mutex_unlock(&mutex);
	return 0;
}

uint32_t fake_resolved(enum hf_resolve *ret_how)
{
	uint32_t count;

	LOCKED(*ret_how = fake.how; count = fake.resolved);
	return count;
}

const char *hf_session_uri(const struct hf_session *session)
{
	return session->config.role == HF_ROLE_TARGET ? "tcp:127.0.0.1:4444" : NULL;
}

const char *hf_outcome_name(enum hf_outcome outcome)
{
	static const char *const names[] = { "none", "away",	"home",	 "waiting",
					     "lost", "running", "failed" };

	return names[outcome];
}

const char *hf_trace_name(uint32_t id)
{
	return id == HF_TRACE_ROUND ? "ROUND" : "OTHER";
}

const char *hf_device_state_name(uint32_t state)
{
	return state == HF_DEVICE_PRE_COPY_P2P ? "PRE_COPY_P2P" : "RUNNING";
}

/* ---- what it stands on --------------------------------------------------------------------- */

int hf_filters_new(struct hf_filters **ret_filters, struct hf_error *err)
{
	(void)err;
	*ret_filters = calloc(1, sizeof(**ret_filters));
	assert(*ret_filters);
	return 0;
}

int hf_filters_add(struct hf_filters *filters, const char *spec, struct hf_error *err)
{
	if (strncmp(spec, "fault:", 6) != 0) {
		err->code = HF_E_INVALID;
		(void)snprintf(err->text, sizeof(err->text), "filter %s", spec);
		return err->code;
	}
	filters->count++;
	return 0;
}

struct hf_filters *hf_filters_free(struct hf_filters *filters)
{
	free(filters);
	return NULL;
}

static int ledger_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		       struct hf_error *err)
{
	(void)self;
	(void)guest;
	(void)err;
	LOCKED(*ret_record = fake.ledger);
	return 0;
}

static const struct hf_ledger_ops ledger_ops = { .size = sizeof(ledger_ops),
						 .kind = "fake",
						 .read = ledger_read };

int hf_ledger_open(const char *uri, struct hf_ledger *ret_ledger, struct hf_error *err)
{
	(void)err;
	memset(ret_ledger, 0, sizeof(*ret_ledger));
	ret_ledger->ops = &ledger_ops;
	(void)snprintf(ret_ledger->uri, sizeof(ret_ledger->uri), "%s", uri);
	return 0;
}

void hf_ledger_close(struct hf_ledger *ledger)
{
	memset(ledger, 0, sizeof(*ledger));
}

int hf_ledger_read(struct hf_ledger *ledger, const char *guest, struct hf_ledger_record *ret_record,
		   struct hf_error *err)
{
	return ledger->ops->read(ledger->self, guest, ret_record, err);
}

int hf_kept_read(const char *dir, struct hf_kept *kept, struct hf_error *err)
{
	(void)dir;
	(void)kept;
	(void)err;
	return 0;
}

int hf_ledger_register(struct hf_ledger *ledger, const char *guest, const char *side,
		       struct hf_error *err)
{
	(void)ledger;
	(void)guest;
	(void)side;
	if (fake.register_fails.code)
		*err = fake.register_fails;
	return fake.register_fails.code;
}

void hf_memory_close(struct hf_memory *memory)
{
	memset(memory, 0, sizeof(*memory));
}

/* ---- the guest ----------------------------------------------------------------------------- */

/* Of the guest's: a session that is played calls it with the other mutex held. */
static pthread_mutex_t guest_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* what it guards: these two */
static bool stop_blocks;
static uint32_t device_resets;

#define GUEST_LOCKED(statements)                                                                   \
	do {                                                                                       \
		(void)pthread_mutex_lock(&guest_mutex);                                            \
		statements;                                                                        \
		(void)pthread_mutex_unlock(&guest_mutex);                                          \
	} while (0)

static int machine_stop(void *self, struct hf_error *err)
{
	(void)self;
	(void)err;
	(void)pthread_mutex_lock(&guest_mutex);
	while (stop_blocks)
		(void)pthread_cond_wait(&changed, &guest_mutex); /* the test has a deadline */
	(void)pthread_mutex_unlock(&guest_mutex);
	fake.guest_runs = false;
	return 0;
}

void fake_stop_blocks(bool blocks)
{
	GUEST_LOCKED(stop_blocks = blocks; (void)pthread_cond_broadcast(&changed));
}

static int machine_run(void *self, struct hf_error *err)
{
	(void)self;
	(void)err;
	fake.guest_runs = true;
	return 0;
}

static const struct hf_machine_ops machine_ops = { .size = sizeof(machine_ops),
						   .stop = machine_stop,
						   .run = machine_run };

struct fake_guest {
	struct guest guest;
	int *freed;
};

static void guest_free(struct guest *guest)
{
	*((struct fake_guest *)(void *)guest)->freed = 1;
	(void)close(guest->event_fd);
	free(guest);
}

static int guest_memory(struct guest *guest, struct hf_memory *ret_memory, struct hf_error *err)
{
	(void)guest;
	(void)ret_memory;
	(void)err;
	return 0;
}

static uint32_t guest_events(struct guest *guest)
{
	uint64_t count;
	uint32_t events;

	(void)!read(guest->event_fd, &count, sizeof(count)); /* nothing there is fine */
	LOCKED(events = fake.guest_events; fake.guest_events = 0);
	return events;
}

static const char *guest_describe(struct guest *guest)
{
	(void)guest;
	return "a fake, 1 vCPU";
}

static const struct guest_ops guest_ops = { "fake", guest_free, guest_memory, guest_events,
					    guest_describe };

struct guest *fake_guest(int *ret_freed)
{
	struct fake_guest *guest = calloc(1, sizeof(*guest));

	assert(guest);
	*ret_freed = 0;
	guest->freed = ret_freed;
	guest->guest.ops = &guest_ops;
	(void)snprintf(guest->guest.name, sizeof(guest->guest.name), "g1");
	guest->guest.machine = (struct hf_machine){ &machine_ops, guest };
	guest->guest.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	guest->guest.exit_status = 7;
	guest->guest.region_count = 1;
	guest->guest.regions[0].size = 1 << 20;
	guest->guest.vcpu_count = 1;
	return &guest->guest;
}

struct fake_device {
	uint32_t flags;
};

static struct fake_device fake_devices[HF_DEVICES_MAX];
static atomic_uint device_resets_running;
static atomic_int device_reset_answer;

static int device_info(void *self, struct hf_device_info *ret_info)
{
	const struct fake_device *device = self;

	*ret_info = (struct hf_device_info){ .flags = device->flags, .kind = "fake" };
	return 0;
}

static int device_get_state(void *self, uint32_t *ret_state)
{
	(void)self;
	*ret_state = HF_DEVICE_RUNNING;
	return 0;
}

static int device_reset(void *self)
{
	(void)self;
	if (fake.guest_runs) /* the same thread has stopped it, or not */
		atomic_fetch_add(&device_resets_running, 1);
	GUEST_LOCKED(device_resets++; (void)pthread_cond_broadcast(&changed));
	return atomic_load(&device_reset_answer);
}

/* The main loop uses no others: a call of NULL would end the test. */
static const struct hf_device_ops device_ops = { .size = sizeof(device_ops),
						 .kind = "fake",
						 .info = device_info,
						 .get_state = device_get_state,
						 .reset = device_reset };

void fake_guest_device(struct guest *guest, const char *name, uint32_t flags)
{
	struct hf_session_device *device = &guest->devices[guest->device_count];

	fake_devices[guest->device_count].flags = flags;
	device->device = (struct hf_device){ &device_ops, &fake_devices[guest->device_count] };
	(void)snprintf(device->name, sizeof(device->name), "%s", name);
	guest->device_count++;
	GUEST_LOCKED(device_resets = 0);
	atomic_store(&device_resets_running, 0);
}

uint32_t fake_device_resets_running(void)
{
	return atomic_load(&device_resets_running);
}

uint32_t fake_device_resets(int answer)
{
	uint32_t count;

	atomic_store(&device_reset_answer, answer);
	GUEST_LOCKED(count = device_resets);
	return count;
}

void fake_device_resets_await(uint32_t count)
{
	(void)pthread_mutex_lock(&guest_mutex);
	while (device_resets < count)
		(void)pthread_cond_wait(&changed, &guest_mutex); /* as above */
	(void)pthread_mutex_unlock(&guest_mutex);
}

void fake_guest_event(struct guest *guest, uint32_t event)
{
	uint64_t one = 1;

	LOCKED(fake.guest_events |= event);
	assert(write(guest->event_fd, &one, sizeof(one)) == sizeof(one));
}
