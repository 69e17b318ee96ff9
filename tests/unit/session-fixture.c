/* SPDX-License-Identifier: BSD-3-Clause */
#include "session-fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static atomic_uint serial;
atomic_bool fixture_frozen;

/* ---- the machine --------------------------------------------------------------------------- */

static int machine_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			    struct hf_error *err)
{
	const struct side *side = self;

	(void)err;
	assert_true(strlen(side->shape) <= capacity);
	memcpy(buf, side->shape, strlen(side->shape));
	*ret_length = (uint32_t)strlen(side->shape);
	return 0;
}

static int machine_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	const struct side *side = self;

	if (length == strlen(side->shape) && memcmp(shape, side->shape, length) == 0)
		return 0;
	err->code = HF_E_MISMATCH;
	(void)snprintf(err->text, sizeof(err->text), "the shape is %.*s, not %s", (int)length,
		       (const char *)shape, side->shape);
	return HF_E_MISMATCH;
}

static int machine_stop(void *self, struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	atomic_store(&side->running, false);
	atomic_store(&fixture_frozen, true);
	return 0;
}

static int machine_run(void *self, struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	atomic_store(&fixture_frozen, false);
	side->was_run = true;
	atomic_store(&side->running, true);
	return 0;
}

static int machine_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	side->throttle = percent;
	return 0;
}

static int machine_state_save(void *self, uint32_t index, struct hf_state_section *ret_section,
			      void *buf, uint32_t capacity, struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	assert_false(atomic_load(&side->running));
	if (index == SIDE_SECTIONS)
		return HF_STATE_END;
	assert_true(capacity >= sizeof(side->state[0]));
	*ret_section = (struct hf_state_section){
		.name = "vcpu", .instance = index, .version = 1, .length = sizeof(side->state[0])
	};
	memcpy(buf, side->state[index], sizeof(side->state[0]));
	return 0;
}

static int machine_state_load(void *self, const struct hf_state_section *section, const void *buf,
			      struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	assert_string_equal(section->name, "vcpu");
	assert_true(section->instance < SIDE_SECTIONS);
	assert_int_equal(section->length, sizeof(side->state[0]));
	memcpy(side->state[section->instance], buf, section->length);
	side->sections_loaded++;
	return 0;
}

static int machine_state_check(void *self, struct hf_error *err)
{
	const struct side *side = self;

	(void)err;
	assert_int_equal(side->sections_loaded, SIDE_SECTIONS);
	return 0;
}

static int machine_device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
			       uint32_t *ret_length, struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	assert_true(capacity >= sizeof(side->device_state[0]));
	memcpy(buf, side->device_state[device], sizeof(side->device_state[0]));
	*ret_length = sizeof(side->device_state[0]);
	return 0;
}

static int machine_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
			       struct hf_error *err)
{
	struct side *side = self;

	(void)err;
	assert_int_equal(length, sizeof(side->device_state[0]));
	memcpy(side->device_state[device], buf, length);
	side->configs_loaded++;
	return 0;
}

static const struct hf_machine_ops machine_ops = {
	.size = sizeof(machine_ops),
	.describe = machine_describe,
	.check = machine_check,
	.stop = machine_stop,
	.run = machine_run,
	.throttle = machine_throttle,
	.state_save = machine_state_save,
	.state_load = machine_state_load,
	.state_check = machine_state_check,
	.device_save = machine_device_save,
	.device_load = machine_device_load,
};

/* ---- its memory: the "guest" writes when a sync asks, as long as it runs --------------------- */

static void fill_page(struct side *side, uint64_t page, uint64_t value)
{
	uint64_t *words = (uint64_t *)((uint8_t *)side->region.host + page * HF_PAGE_SIZE);

	for (uint32_t i = 0; i < HF_PAGE_SIZE / 8; i++)
		words[i] = value * 0x9e3779b97f4a7c15ull + i;
}

static int memory_ok(void *self)
{
	(void)self;
	return 0;
}

static int memory_read(void *self, uint32_t region, uint64_t *bitmap)
{
	struct side *side = self;
	uint64_t pages = side->region.size / HF_PAGE_SIZE;

	assert_int_equal(region, 0);
	if (!side->dirty_syncs_left)
		return 0;
	side->dirty_syncs_left--;
	for (uint64_t i = 0; i < side->dirty_pages_per_sync; i++) {
		uint64_t page = side->dirty_next++ % pages;

		fill_page(side, page, ++side->generation);
		bitmap[page / 64] |= 1ull << (page % 64);
	}
	return 0;
}

static void memory_close(void *self)
{
	(void)self;
}

static const struct hf_memory_ops memory_ops = {
	.size = sizeof(memory_ops),
	.kind = "fixture",
	.dirty_start = memory_ok,
	.dirty_sync = memory_ok,
	.dirty_read = memory_read,
	.dirty_stop = memory_ok,
	.close = memory_close,
};

/* ---- both sides ---------------------------------------------------------------------------- */

static void on_trace(void *ctx, const struct hf_event *event)
{
	struct side *side = ctx;

	if (side->trace_count < SIDE_TRACE_MAX) {
		struct side_trace *entry = &side->trace[side->trace_count++];

		entry->id = event->id;
		memcpy(entry->arg, event->arg, sizeof(entry->arg));
		(void)snprintf(entry->text, sizeof(entry->text), "%s", event->text);
	}
	if (side->on_trace)
		side->on_trace(side, event);
}

static void side_init(struct side *side, const char *label, const struct pair_config *config,
		      const char *filter)
{
	struct hf_error err = { 0 };
	int fd = memfd_create(label, MFD_CLOEXEC);

	memset(side, 0, sizeof(*side));
	side->label = label;
	side->shape = "a machine";
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)config->memory_bytes), 0);
	side->region = (struct hf_memory_region){ .size = config->memory_bytes, .fd = fd };
	side->region.host =
		mmap(NULL, config->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(side->region.host != MAP_FAILED);
	(void)snprintf(side->region.name, sizeof(side->region.name), "ram");

	side->device_count = config->device_count;
	for (uint32_t i = 0; i < side->device_count; i++) {
		struct hf_session_device *device = &side->devices[i];

		(void)snprintf(device->name, sizeof(device->name), "sim%u", i);
		assert_int_equal(
			hf_device_open(config->device_uri ? config->device_uri : "sim:state=64K",
				       device->name, &device->device, &err),
			0);
		assert_int_equal(device->device.ops->dma_map(
					 device->device.self, 0, config->memory_bytes,
					 side->region.host, fd, 0, HF_DMA_READ | HF_DMA_WRITE),
				 0);
	}
	if (filter) {
		assert_int_equal(hf_filters_new(&side->filters, &err), 0);
		if (hf_filters_add(side->filters, filter, &err) < 0)
			fail_msg("%s: %s", filter, err.text);
	}
}

static void side_config(struct side *side, const struct pair *pair,
			const struct pair_config *config)
{
	struct hf_error err = { 0 };

	assert_int_equal(hf_ledger_open(pair->ledger_uri, &side->ledger, &err), 0);
	side->config = (struct hf_config){
		.size = sizeof(side->config),
		.guest = "fixture",
		.side = side->label,
		.uri = pair->uri,
		.machine = { &machine_ops, side },
		.regions = &side->region,
		.region_count = 1,
		.devices = side->devices,
		.device_count = side->device_count,
		.ledger = side->ledger,
		.filters = side->filters,
		.channels = config->channels,
		.wait_us_max = 10 * 1000000,
		.arc_us_max = 10 * 1000000,
		.ledger_us_max = 1000000,
		.doubt_us_max = 2000000,
		.deadline_us = 60ull * 1000000,
		.listen_us_max = 20 * 1000000, /* busy machines are slow */
		.trace = on_trace,
		.trace_ctx = side,
	};
}

void pair_init(struct pair *pair, const struct pair_config *config)
{
	unsigned int number = atomic_fetch_add(&serial, 1);
	uint64_t pages = config->memory_bytes / HF_PAGE_SIZE;

	memset(pair, 0, sizeof(*pair));
	(void)snprintf(pair->uri, sizeof(pair->uri), "unix:/tmp/hf-test-%d-%u.sock", (int)getpid(),
		       number);
	if (config->ledger_uri)
		(void)snprintf(pair->ledger_uri, sizeof(pair->ledger_uri), "%s",
			       config->ledger_uri);
	else
		(void)snprintf(pair->ledger_uri, sizeof(pair->ledger_uri), "memory:test-%u",
			       number);
	side_init(&pair->source, "source", config, config->source_filter);
	side_init(&pair->target, "target", config, config->target_filter);
	side_config(&pair->source, pair, config);
	side_config(&pair->target, pair, config);
	pair->source.config.role = HF_ROLE_SOURCE;
	pair->source.config.memory = (struct hf_memory){ &memory_ops, &pair->source };
	pair->source.config.paused = config->paused;
	pair->target.config.role = HF_ROLE_TARGET;

	atomic_store(&pair->source.running, !config->paused);
	for (uint64_t page = 0; page < pages; page++)
		if (page % 3) /* the others stay zero */
			fill_page(&pair->source, page, page);
	for (uint32_t i = 0; i < SIDE_SECTIONS; i++)
		memset(pair->source.state[i], (int)(0x40 + i), sizeof(pair->source.state[i]));
	for (uint32_t i = 0; i < config->device_count; i++)
		memset(pair->source.device_state[i], (int)(0x80 + i),
		       sizeof(pair->source.device_state[i]));
}

static void *drive(void *arg)
{
	struct side *side = arg;

	(void)hf_session_run(side->session, &side->error);
	side->outcome = hf_session_outcome(side->session);
	side->progress.size = sizeof(side->progress);
	(void)hf_session_progress(side->session, &side->progress);
	return NULL;
}

static void side_start(struct side *side)
{
	struct hf_error err = { 0 };

	if (hf_session_new(&side->config, &side->session, &err) < 0)
		fail_msg("%s: %s", side->label, err.text);
}

void side_run(struct side *side)
{
	if (!side->session)
		side_start(side);
	(void)drive(side);
}

void pair_start(struct pair *pair)
{
	int step;

	side_start(&pair->target);
	step = hf_session_step(pair->target.session); /* it listens from now on */
	assert_int_equal(step, HF_STEP_WAIT);
	side_start(&pair->source);
	assert_int_equal(pthread_create(&pair->target.thread, NULL, drive, &pair->target), 0);
	(void)drive(&pair->source);
}

void pair_finish(struct pair *pair)
{
	assert_int_equal(pthread_join(pair->target.thread, NULL), 0);
	pair->source.session = hf_session_free(pair->source.session);
	pair->target.session = hf_session_free(pair->target.session);
}

void pair_run(struct pair *pair)
{
	pair_start(pair);
	pair_finish(pair);
}

static void side_done(struct side *side)
{
	for (uint32_t i = 0; i < side->device_count; i++)
		hf_device_close(&side->devices[i].device);
	hf_ledger_close(&side->ledger);
	(void)hf_filters_free(side->filters);
	(void)munmap(side->region.host, side->region.size);
	(void)close(side->region.fd);
}

void pair_done(struct pair *pair)
{
	side_done(&pair->source);
	side_done(&pair->target);
}

bool side_saw(const struct side *side, uint32_t id, const char *text)
{
	for (uint32_t i = 0; i < side->trace_count; i++)
		if (side->trace[i].id == id && (!text || strstr(side->trace[i].text, text)))
			return true;
	return false;
}

static void side_print(const struct side *side)
{
	for (uint32_t i = 0; i < side->trace_count; i++)
		print_message("# %s: %s %s %llu %llu %llu %llu\n", side->label,
			      hf_trace_name(side->trace[i].id), side->trace[i].text,
			      (unsigned long long)side->trace[i].arg[0],
			      (unsigned long long)side->trace[i].arg[1],
			      (unsigned long long)side->trace[i].arg[2],
			      (unsigned long long)side->trace[i].arg[3]);
	print_message("# %s: outcome %s, %s\n", side->label, hf_outcome_name(side->outcome),
		      side->error.text);
}

void pair_print(const struct pair *pair)
{
	side_print(&pair->source);
	side_print(&pair->target);
}

void pair_assert_moved(struct pair *pair)
{
	struct side *source = &pair->source, *target = &pair->target;

	if (source->outcome != HF_OUTCOME_AWAY || target->outcome != HF_OUTCOME_RUNNING)
		pair_print(pair);
	assert_int_equal(source->outcome, HF_OUTCOME_AWAY);
	assert_int_equal(target->outcome, HF_OUTCOME_RUNNING);
	assert_memory_equal(source->region.host, target->region.host, source->region.size);
	assert_memory_equal(source->state, target->state, sizeof(source->state));
	assert_memory_equal(source->device_state, target->device_state,
			    sizeof(source->device_state));
	assert_int_equal(target->configs_loaded, target->device_count);
	assert_false(atomic_load(&source->running));
	assert_int_equal(atomic_load(&target->running), !source->config.paused);
	for (uint32_t i = 0; i < target->device_count; i++) {
		uint32_t state = 0;
		const struct hf_device *device = &target->devices[i].device;

		assert_int_equal(device->ops->get_state(device->self, &state), 0);
		assert_int_equal(state, HF_DEVICE_RUNNING);
	}
}

void pair_assert_home(struct pair *pair)
{
	struct side *source = &pair->source, *target = &pair->target;

	if (source->outcome != HF_OUTCOME_HOME || target->outcome != HF_OUTCOME_FAILED)
		pair_print(pair);
	assert_int_equal(source->outcome, HF_OUTCOME_HOME);
	assert_int_equal(target->outcome, HF_OUTCOME_FAILED);
	assert_int_equal(atomic_load(&source->running), !source->config.paused);
	if (target->was_run)
		pair_print(pair);
	assert_false(target->was_run);
	assert_int_equal(source->throttle, 0);
	for (uint32_t i = 0; i < source->device_count; i++) {
		uint32_t state = 0;
		const struct hf_device *device = &source->devices[i].device;

		assert_int_equal(device->ops->get_state(device->self, &state), 0);
		assert_int_equal(state, HF_DEVICE_RUNNING);
	}
}
