/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's frame: how the memory is divided, what a step is, how all vCPUs verify in passes,
 * and how it ends. What is done to pages and devices is in work-memory.c and in the drivers'
 * files, work-device.c, work-mtty.c, work-labdma.c and work-edu.c.
 */
#include "work.h"

#include "pattern.h"

#define TABLE_ENTRY 4u
#define PAGE 4096u
#define STARTUP_PAGES 16u /* less memory than this for a vCPU proves nothing */

static const char *const corrupt_text[] = {
#define CORRUPT_TEXT(name, text) text,
	WORK_CORRUPT_LIST(CORRUPT_TEXT)
#undef CORRUPT_TEXT
};

const char *work_corrupt_text(enum work_corrupt what)
{
	return (unsigned int)what < WORK_CORRUPT_COUNT ? corrupt_text[what] : "?";
}

/* ---- set-up ------------------------------------------------------------------------------------
 */

static uint64_t round_up(uint64_t value)
{
	return (value + PAGE - 1) / PAGE * PAGE;
}

/* Take memory from the beginning of a range; 0 if none is large enough. */
static uint64_t take(struct work_shared *shared, uint64_t size)
{
	uint32_t i;

	size = round_up(size);
	for (i = 0; i < shared->range_count; i++) {
		struct work_range *range = &shared->ranges[i];

		if (range->size >= size && range->gpa != 0) {
			uint64_t gpa = range->gpa;

			range->gpa += size;
			range->size -= size;
			return gpa;
		}
	}
	return 0;
}

static int layout_device(struct work *work, uint32_t device)
{
	struct work_shared *shared = work->shared;
	struct work_device *dev = &work->devices[device];
	uint32_t slots = (256u << 10) / shared->knobs.dma_len;

	dev->vcpu = device % shared->vcpu_count;
	dev->random = pattern_mix(shared->knobs.seed + 1000 + device) | 1;
	if (dev->kind == WORK_DEVICE_MTTY)
		return 0; /* it has no DMA */
	if (dev->kind == WORK_DEVICE_LABDMA) {
		dev->window_gpa = take(shared, WORK_WINDOW_PAGES * PAGE);
		return dev->window_gpa ? 0 : -1;
	}
	if (dev->kind == WORK_DEVICE_EDU) {
		dev->slot_count = WORK_EDU_PAGES;
		dev->source_gpa = take(shared, PAGE);
		dev->slots_gpa = take(shared, WORK_EDU_PAGES * PAGE);
		return dev->source_gpa && dev->slots_gpa ? 0 : -1;
	}
	dev->slot_count = slots < 4 ? 4 : slots > WORK_SLOTS_MAX ? WORK_SLOTS_MAX : slots;
	dev->ring_gpa = take(shared, 16 * WORK_RING_ENTRIES);
	dev->beat_gpa = take(shared, 8 * WORK_BEAT_ENTRIES);
	dev->source_gpa = take(shared, shared->knobs.dma_len);
	dev->slots_gpa = take(shared, (uint64_t)dev->slot_count * shared->knobs.dma_len);
	return dev->ring_gpa && dev->beat_gpa && dev->source_gpa && dev->slots_gpa ? 0 : -1;
}

static uint64_t pages_left(const struct work_shared *shared)
{
	uint64_t pages = 0;
	uint32_t i;

	for (i = 0; i < shared->range_count; i++)
		pages += shared->ranges[i].size / PAGE;
	return pages;
}

int work_layout(struct work *work)
{
	struct work_shared *shared = work->shared;
	uint64_t each, wanted = shared->knobs.mem_mib << 8;
	uint32_t i;

	for (i = 0; i < shared->range_count; i++) {
		uint64_t skip = round_up(shared->ranges[i].gpa) - shared->ranges[i].gpa;
		uint64_t size = shared->ranges[i].size;

		shared->ranges[i].gpa += skip;
		shared->ranges[i].size = size > skip ? (size - skip) / PAGE * PAGE : 0;
	}
	for (i = 0; i < shared->device_count; i++)
		if (layout_device(work, i))
			return -1;
	each = pages_left(shared) / shared->vcpu_count;
	each -= each * TABLE_ENTRY / PAGE + 2;
	if (wanted && wanted / shared->vcpu_count > each)
		return -1;
	if (wanted)
		each = wanted / shared->vcpu_count;
	if (each < STARTUP_PAGES || each > UINT32_MAX)
		return -1;
	for (i = 0; i < shared->vcpu_count; i++) {
		struct work_vcpu *vcpu = &work->vcpus[i];

		vcpu->first_page = i * each;
		vcpu->page_count = each;
		vcpu->random = pattern_mix(shared->knobs.seed + i + 1) | 1;
		vcpu->table_gpa = take(shared, each * TABLE_ENTRY);
		if (vcpu->table_gpa == 0)
			return -1;
	}
	shared->page_count = each * shared->vcpu_count;
	return shared->page_count <= pages_left(shared) ? 0 : -1;
}

void work_start(struct work *work)
{
	struct work_shared *shared = work->shared;

	shared->start_ticks = work->env->ticks(work->env->ctx);
	shared->next_report_ticks = shared->start_ticks;
	shared->pass_wanted = 1;
	work_report_start(work);
}

/* ---- the end -----------------------------------------------------------------------------------
 */

static void halt(struct work *work, uint32_t status)
{
	uint32_t running = 0;

	/* The first reason stays. */
	(void)__atomic_compare_exchange_n(&work->shared->halted, &running, status + 1, false,
					  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void work_corrupt_add(struct work *work, const struct work_corrupt_record *record)
{
	uint32_t index = __atomic_fetch_add(&work->shared->corrupt_count, 1, __ATOMIC_SEQ_CST);

	if (index < WORK_CORRUPT_MAX)
		work->shared->corrupt[index] = *record;
	/* Also when it was just about to end well. */
	__atomic_store_n(&work->shared->halted, WORK_EXIT_CORRUPT + 1, __ATOMIC_SEQ_CST);
}

static void vcpu_corrupt(struct work *work, uint32_t vcpu, enum work_corrupt what,
			 uint64_t expected, uint64_t found)
{
	struct work_corrupt_record record = {
		.what = what,
		.number = vcpu,
		.unit = "vcpu",
		.expected = expected,
		.found = found,
	};

	work_corrupt_add(work, &record);
}

static bool all_halted(const struct work *work)
{
	uint32_t i;

	for (i = 1; i < work->shared->vcpu_count; i++)
		if (!__atomic_load_n(&work->vcpus[i].halted, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

/* vCPU 0 when all is over: let the others stop, say what there is to say, and finish. */
static bool lead_out(struct work *work)
{
	struct work_shared *shared = work->shared;
	const struct work_vcpu *lead = &work->vcpus[0];

	work_console_step(work);
	if (shared->finished)
		return false;
	if (shared->halted_ticks == 0)
		shared->halted_ticks = lead->run_ticks;
	/* One that hangs does not keep the others from saying why. */
	if (!all_halted(work) &&
	    lead->run_ticks - shared->halted_ticks < 1000 * shared->ticks_per_ms)
		return true;
	if (!work_console_empty(work))
		return true;
	if (shared->corrupt_count != 0 && !shared->corrupt_printed) {
		shared->corrupt_printed = 1;
		work_report_corrupt(work);
		return true;
	}
	shared->finished = 1;
	work->env->finish(work->env->ctx, shared->halted - 1);
	return false;
}

/* ---- passes ------------------------------------------------------------------------------------
 */

void work_verdict_ask(struct work *work)
{
	struct work_shared *shared = work->shared;

	/* What is under way began before the question, the one after it does not. */
	if (shared->verdict_pass == 0)
		shared->verdict_pass = shared->pass_wanted + 1;
}

static void pass_ended(struct work *work)
{
	struct work_shared *shared = work->shared;

	shared->pass = shared->pass_wanted;
	if (shared->verdict_pass && shared->pass >= shared->verdict_pass &&
	    work_report(work, "checker: VERDICT clean"))
		shared->verdict_pass = 0; /* else it is said behind the next pass */
	if (shared->stop_pass && shared->pass >= shared->stop_pass) {
		(void)work_report(work, "checker: done clean");
		halt(work, WORK_EXIT_CLEAN);
		return;
	}
	if (shared->knobs.selftest && !shared->selftest_done) {
		shared->selftest_done = 1;
		work_memory_damage(work, shared->knobs.selftest);
	}
	__atomic_store_n(&shared->pass_wanted, shared->pass + 1, __ATOMIC_RELEASE);
}

/* Every vCPU works, or has not for long. */
static void watch(struct work *work)
{
	uint64_t now = work->vcpus[0].run_ticks;
	uint32_t i;

	for (i = 1; i < work->shared->vcpu_count; i++) {
		struct work_vcpu *vcpu = &work->vcpus[i];
		uint64_t steps = __atomic_load_n(&vcpu->steps, __ATOMIC_RELAXED);

		if (steps != vcpu->steps_seen || vcpu->steps_seen_ticks == 0) {
			vcpu->steps_seen = steps;
			vcpu->steps_seen_ticks = now;
		} else if (now - vcpu->steps_seen_ticks >
			   6 * WORK_LOST_MS * work->shared->ticks_per_ms) {
			vcpu_corrupt(work, i, WORK_CORRUPT_VCPU_STOPPED, steps + 1, steps);
			vcpu->steps_seen_ticks = now;
		}
	}
}

/* What vCPU 0 does beside its share: lead the passes, report, listen. */
static void lead(struct work *work, uint64_t now)
{
	struct work_shared *shared = work->shared;
	bool ended = true;
	uint32_t i;

	if (!work_console_empty(work))
		work_console_step(work);
	if (now >= shared->next_poll_ticks) {
		shared->next_poll_ticks = now + 2 * shared->ticks_per_ms;
		if (work->env->console_read(work->env->ctx) == 'v')
			work_verdict_ask(work);
		watch(work);
	}
	if (shared->knobs.stop_after_s && shared->stop_pass == 0 &&
	    now - shared->start_ticks > shared->knobs.stop_after_s * 1000ull * shared->ticks_per_ms)
		shared->stop_pass = shared->pass_wanted;
	for (i = 0; i < shared->vcpu_count && ended; i++)
		ended = __atomic_load_n(&work->vcpus[i].pass_done, __ATOMIC_ACQUIRE) ==
			shared->pass_wanted;
	if (ended)
		pass_ended(work);
	if (now >= shared->next_report_ticks) {
		shared->next_report_ticks = now + shared->knobs.report_ms * shared->ticks_per_ms;
		(void)work_report(work, 0);
	}
}

/* ---- a step ------------------------------------------------------------------------------------
 */

/* The clock: returns what deadlines count. A gap is time in which this vCPU did not run. */
static uint64_t clock_step(struct work *work, uint32_t index, uint64_t now)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint64_t clip = WORK_GAP_CLIP_MS * work->shared->ticks_per_ms;
	uint64_t gap;

	if (vcpu->last_ticks == 0)
		vcpu->last_ticks = now;
	if (now < vcpu->last_ticks) {
		vcpu_corrupt(work, index, WORK_CORRUPT_CLOCK_BACK, vcpu->last_ticks, now);
		vcpu->last_ticks = now;
	}
	gap = now - vcpu->last_ticks;
	vcpu->last_ticks = now;
	if (gap > vcpu->gap_max)
		vcpu->gap_max = gap;
	if (gap > __atomic_load_n(&vcpu->gap_recent, __ATOMIC_RELAXED))
		__atomic_store_n(&vcpu->gap_recent, gap, __ATOMIC_RELAXED);
	gap = gap < clip ? gap : clip;
	vcpu->run_ticks += gap;
	__atomic_store_n(&vcpu->steps, vcpu->steps + 1, __ATOMIC_RELAXED);
	return gap;
}

/* What the vCPU itself must keep: its timer, and registers that nothing else touches. */
static void vcpu_check(struct work *work, uint32_t index)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint64_t count = work->env->timer_count(work->env->ctx, index);

	if (!work->shared->knobs.registers_off && !work->env->registers_ok(work->env->ctx, index))
		vcpu_corrupt(work, index, WORK_CORRUPT_REGISTERS, 1, 0);
	if (count != vcpu->timer_count || vcpu->timer_run_ticks == 0) {
		vcpu->timer_count = count;
		vcpu->timer_run_ticks = vcpu->run_ticks;
	} else if (count != UINT64_MAX && vcpu->run_ticks - vcpu->timer_run_ticks >
						  WORK_LOST_MS * work->shared->ticks_per_ms) {
		vcpu_corrupt(work, index, WORK_CORRUPT_TIMER_LOST, count + 1, count);
	}
}

/*
 * Proof for a referee outside of the VMM that this vCPU executes, now and there. The count migrates
 * with the guest: one that runs on from an old state says a number again. Whenever the vCPU has
 * stood still, its first step afterwards says one.
 */
static void witness_step(struct work *work, uint32_t index, uint64_t now)
{
	struct work_vcpu *vcpu = &work->vcpus[index];

	if (now < vcpu->witness_ticks)
		return;
	vcpu->witness_ticks =
		now + work->shared->knobs.witness_us * work->shared->ticks_per_ms / 1000;
	vcpu->witness_count++;
	work->env->witness(work->env->ctx, WORK_WITNESS_WORD(index, vcpu->witness_count));
}

static void device_step(struct work *work, uint32_t device)
{
	switch ((enum work_device_kind)work->devices[device].kind) {
	case WORK_DEVICE_SIM:
		work_device_step(work, device);
		return;
	case WORK_DEVICE_MTTY:
		work_mtty_step(work, device);
		return;
	case WORK_DEVICE_LABDMA:
		work_labdma_step(work, device);
		return;
	case WORK_DEVICE_EDU:
		work_edu_step(work, device);
		return;
	}
}

bool work_step(struct work *work, uint32_t index)
{
	struct work_shared *shared = work->shared;
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint64_t now = work->env->ticks(work->env->ctx);
	uint64_t elapsed = clock_step(work, index, now);
	uint64_t wanted;
	bool done;
	uint32_t i;

	if (shared->knobs.witness_us)
		witness_step(work, index, now);
	if (__atomic_load_n(&shared->halted, __ATOMIC_ACQUIRE)) {
		__atomic_store_n(&vcpu->halted, 1, __ATOMIC_RELEASE);
		return index == 0 ? lead_out(work) : false;
	}
	if (index == 0)
		lead(work, now);
	work_memory_step(work, index, elapsed);
	wanted = __atomic_load_n(&shared->pass_wanted, __ATOMIC_ACQUIRE);
	done = vcpu->memory_pass_done == wanted;
	for (i = index; i < shared->device_count; i += shared->vcpu_count) {
		device_step(work, i);
		done = done && work->devices[i].pass_done == wanted;
	}
	if (done && vcpu->pass_done != wanted) {
		vcpu_check(work, index);
		__atomic_store_n(&vcpu->pass_done, wanted, __ATOMIC_RELEASE);
	} else if ((vcpu->steps & 1023) == 0) {
		vcpu_check(work, index);
	}
	return true;
}
