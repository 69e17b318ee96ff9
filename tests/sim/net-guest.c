/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest: pages with versions, vCPUs that count what they execute, and the VMM's side of it (the
 * machine, and who knows which pages were written). While a side runs it, its vCPUs write pages and
 * the truth follows; whoever runs it next must hold exactly that.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "net-world.h"

static const char shape[] = "two vCPUs and a half";

/* ---- pages --------------------------------------------------------------------------------- */

static uint8_t *page_at(const struct side *side, uint32_t page)
{
	return (uint8_t *)side->region.host + (uint64_t)page * HF_PAGE_SIZE;
}

/* Every seventh version of a page is zeros: pages come and go. */
static void content_of(uint32_t page, uint32_t version, uint64_t *words)
{
	memset(words, 0, HF_PAGE_SIZE);
	if (!version || version % 7 == 0)
		return;
	for (uint32_t i = 0; i < HF_PAGE_SIZE / sizeof(uint64_t); i++)
		words[i] = ((uint64_t)version << 32 | page) * 0x9e3779b97f4a7c15ull + i;
}

static void write_page(struct side *side, uint32_t page, uint32_t version)
{
	content_of(page, version, (uint64_t *)(void *)page_at(side, page));
}

bool guest_memory_is_true(const struct side *side, char *text, uint32_t size)
{
	uint64_t words[HF_PAGE_SIZE / sizeof(uint64_t)];

	for (uint32_t page = 0; page < world.scenario->pages; page++) {
		content_of(page, world.truth.version[page], words);
		if (memcmp(words, page_at(side, page), HF_PAGE_SIZE) != 0) {
			(void)snprintf(text, size, "page %u is not version %u", page,
				       world.truth.version[page]);
			return false;
		}
	}
	return true;
}

/* A page is written by a vCPU or by DMA; who logs it, the caller says. */
void guest_write(struct side *side, bool by_vcpu)
{
	uint32_t page = sched_below(world.scenario->pages);

	if (sched_chance(500))
		page %= 8; /* some are written often */
	world.truth.version[page]++;
	write_page(side, page, world.truth.version[page]);
	if (!by_vcpu)
		device_wrote(side, page);
	else if (side->tracking &&
		 !(world.scenario->sabotage == SABOTAGE_PAGE && sched_chance(200)))
		side->dirty[page] = 1;
}

/* ---- dirty pages --------------------------------------------------------------------------- */

static int dirty_start(void *self)
{
	struct side *side = self;

	if (seam_fails(SEAM_MEMORY, "dirty_start"))
		return -ENOMEM;
	memset(side->dirty, 0, sizeof(side->dirty));
	memset(side->synced, 0, sizeof(side->synced));
	side->tracking = true;
	sched_wake(&side->tracking, true); /* what was slow is quick now */
	return 0;
}

static int dirty_sync(void *self)
{
	struct side *side = self;

	if (seam_fails(SEAM_MEMORY, "dirty_sync"))
		return -EIO;
	sched_sleep_until(sched_now() + sched_between(1 * US, 200 * US));
	memcpy(side->synced, side->dirty, sizeof(side->synced));
	memset(side->dirty, 0, sizeof(side->dirty));
	return 0;
}

static int dirty_read(void *self, uint32_t region, uint64_t *bitmap)
{
	struct side *side = self;

	assert(region == 0);
	if (seam_fails(SEAM_MEMORY, "dirty_read"))
		return -EIO;
	for (uint32_t page = 0; page < world.scenario->pages; page++)
		if (side->synced[page])
			bitmap[page / 64] |= 1ull << page % 64;
	return 0;
}

static int dirty_stop(void *self)
{
	struct side *side = self;

	side->tracking = false;
	return seam_fails(SEAM_MEMORY, "dirty_stop") ? -EIO : 0;
}

static void dirty_close(void *self)
{
	(void)self;
}

static const struct hf_memory_ops memory_ops = { .size = sizeof(memory_ops),
						 .kind = "net",
						 .dirty_start = dirty_start,
						 .dirty_sync = dirty_sync,
						 .dirty_read = dirty_read,
						 .dirty_stop = dirty_stop,
						 .close = dirty_close };

/* ---- the machine --------------------------------------------------------------------------- */

static int work(const char *op, struct hf_error *err)
{
	if (seam_fails(SEAM_MACHINE, op))
		return error_set(err, HF_E_MACHINE_STATE, EIO, "the machine refused: %s", op);
	sched_sleep_until(sched_now() + sched_between(0, world.scenario->machine_ns_max));
	return 0;
}

static int machine_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			    struct hf_error *err)
{
	(void)self;
	assert(capacity >= sizeof(shape));
	if (work("describe", err) < 0)
		return HF_E_MACHINE_STATE;
	memcpy(buf, shape, sizeof(shape));
	*ret_length = sizeof(shape);
	return 0;
}

static int machine_check(void *self, const void *given, uint32_t length, struct hf_error *err)
{
	(void)self;
	if (work("check", err) < 0)
		return HF_E_MACHINE_STATE;
	if (length != sizeof(shape) || memcmp(given, shape, length) != 0)
		return error_set(err, HF_E_MISMATCH, 0, "another shape");
	return 0;
}

static int machine_stop(void *self, struct hf_error *err)
{
	struct side *side = self;
	bool late = sched_chance(500);

	/* It may fail before or after they have stopped. */
	if (late && seam_fails(SEAM_MACHINE, "stop")) {
		side->stop_failed = true;
		return error_set(err, HF_E_MACHINE_STATE, EIO, "the vCPUs do not stop");
	}
	sched_sleep_until(sched_now() + sched_between(0, world.scenario->machine_ns_max));
	side->running = false;
	story(side->name, "vCPUs stand still, executed %llu", (unsigned long long)side->exec);
	if (!late && seam_fails(SEAM_MACHINE, "stop"))
		return error_set(err, HF_E_MACHINE_STATE, EIO, "the vCPUs stopped, and then some");
	return 0;
}

static int machine_run(void *self, struct hf_error *err)
{
	struct side *side = self;

	sched_sleep_until(sched_now() + sched_between(0, world.scenario->machine_ns_max));
	if (seam_fails(SEAM_MACHINE, "run")) {
		side->run_failed = true;
		side->running = false; /* "after a failure none has run" */
		return error_set(err, HF_E_MACHINE_STATE, EIO, "the vCPUs do not run");
	}
	referee_run(side);
	side->running = side->was_run = true;
	story(side->name, "vCPUs run");
	return 0;
}

static int machine_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	struct side *side = self;

	if (work("throttle", err) < 0)
		return HF_E_MACHINE_STATE;
	side->throttle = percent;
	return 0;
}

static int state_save(void *self, uint32_t index, struct hf_state_section *ret_section, void *buf,
		      uint32_t capacity, struct hf_error *err)
{
	const struct side *side = self;
	uint64_t state[8] = { side->exec, index };

	assert(!side->running && capacity >= sizeof(state));
	if (work("state_save", err) < 0)
		return HF_E_MACHINE_STATE;
	if (index == SECTIONS)
		return HF_STATE_END;
	*ret_section = (struct hf_state_section){
		.name = "vcpu", .instance = index, .version = 1, .length = sizeof(state)
	};
	memcpy(buf, state, sizeof(state));
	return 0;
}

static int state_load(void *self, const struct hf_state_section *section, const void *buf,
		      struct hf_error *err)
{
	struct side *side = self;
	uint64_t state[8];

	if (work("state_load", err) < 0)
		return HF_E_MACHINE_STATE;
	if (section->length != sizeof(state) || section->instance >= SECTIONS)
		return error_set(err, HF_E_MACHINE_STATE, 0, "no such section");
	memcpy(state, buf, sizeof(state));
	assert(state[1] == section->instance);
	side->exec = state[0];
	side->sections_loaded++;
	return 0;
}

static int state_check(void *self, struct hf_error *err)
{
	const struct side *side = self;

	if (work("state_check", err) < 0)
		return HF_E_MACHINE_STATE;
	if (side->sections_loaded != SECTIONS)
		return error_set(err, HF_E_MACHINE_STATE, 0, "a section is missing");
	return 0;
}

static int device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
		       uint32_t *ret_length, struct hf_error *err)
{
	const struct side *side = self;

	assert(capacity >= sizeof(side->configs[device]));
	if (work("device_save", err) < 0)
		return HF_E_MACHINE_STATE;
	memcpy(buf, &side->configs[device], sizeof(side->configs[device]));
	*ret_length = sizeof(side->configs[device]);
	return 0;
}

static int device_load(void *self, uint32_t device, const void *buf, uint32_t length,
		       struct hf_error *err)
{
	struct side *side = self;

	if (work("device_load", err) < 0)
		return HF_E_MACHINE_STATE;
	if (length != sizeof(side->configs[device]))
		return error_set(err, HF_E_DEVICE_CONFIG, 0, "no configuration");
	memcpy(&side->configs[device], buf, length);
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
	.state_save = state_save,
	.state_load = state_load,
	.state_check = state_check,
	.device_save = device_save,
	.device_load = device_load,
};

/* ---- it lives ------------------------------------------------------------------------------ */

/* What the vCPUs do in a while; the truth follows them. */
static void execute(struct side *side)
{
	const struct scenario *scenario = world.scenario;
	uint32_t writes = scenario->writes_per_ms;

	side->exec++;
	world.truth.exec++;
	if (side->exec != world.truth.exec)
		referee_fail("I2", "%s executes from an old state: %llu, not %llu", side->name,
			     (unsigned long long)side->exec, (unsigned long long)world.truth.exec);
	writes -= writes * side->throttle / 100;
	while (writes-- > 0)
		guest_write(side, true);
	if (scenario->devices && sched_chance(50)) {
		uint32_t device = sched_below(scenario->devices);

		side->configs[device] = ++world.truth.config[device];
	}
}

void *guest_live(void *arg)
{
	struct side *side = arg;

	for (;;) {
		/* While nobody looks, it does not have to be quick. */
		uint64_t ns = side->tracking ? sched_between(500 * US, 1500 * US) : 100 * MS;

		(void)sched_wait(&side->tracking, sched_now() + ns, "the guest");
		if (side->running)
			execute(side);
		device_live(side);
	}
	return NULL;
}

void guest_begin(struct side *side)
{
	uint64_t bytes = (uint64_t)world.scenario->pages * HF_PAGE_SIZE;

	side->region = (struct hf_memory_region){ .gpa = 1 << 20, .size = bytes, .fd = -1 };
	side->region.host =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(side->region.host != MAP_FAILED);
	(void)snprintf(side->region.name, sizeof(side->region.name), "ram");
	side->config.machine = (struct hf_machine){ &machine_ops, side };
	side->config.regions = &side->region;
	side->config.region_count = 1;
	if (side->id != SOURCE)
		return;
	side->config.memory = (struct hf_memory){ &memory_ops, side };
	side->running = !world.scenario->paused;
	for (uint32_t page = 0; page < world.scenario->pages; page++) {
		world.truth.version[page] = page % 3;
		write_page(side, page, page % 3);
	}
	for (uint32_t i = 0; i < world.scenario->devices; i++)
		side->configs[i] = world.truth.config[i] = 100 + i;
}

void guest_done(struct side *side)
{
	(void)munmap(side->region.host, side->region.size);
}
