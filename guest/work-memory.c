/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's pages: each vCPU writes its own, generation after generation, and verifies that
 * each holds what the table of generations says. A page is also verified before it is rewritten, so
 * that nothing is covered up.
 */
#include "work.h"

#include "pattern.h"

#define PAGE 4096u

static uint64_t *page_words(const struct work *work, uint64_t number)
{
	const struct work_shared *shared = work->shared;
	uint64_t offset = number * PAGE;
	uint32_t i = 0;

	while (offset >= shared->ranges[i].size)
		offset -= shared->ranges[i++].size;
	return work_ptr(work, shared->ranges[i].gpa + offset);
}

static struct pattern_page describe(const struct work *work, uint32_t vcpu, uint64_t number,
				    uint32_t generation)
{
	const struct work_knobs *knobs = &work->shared->knobs;
	struct pattern_page page = {
		.number = number,
		.seed = knobs->seed,
		.generation = generation,
		.vcpu = vcpu,
		.kind = pattern_kind_of(knobs->seed, number, knobs->zero_percent,
					knobs->comp_percent),
		.header_only = knobs->header_only,
	};

	return page;
}

static uint32_t *table(const struct work *work, uint32_t vcpu)
{
	return work_ptr(work, work->vcpus[vcpu].table_gpa);
}

/* Say what is wrong with a page, as far as its header tells. */
static void page_corrupt(struct work *work, const struct pattern_page *page, const uint64_t *words)
{
	uint32_t wrong = pattern_first_wrong(words, page);
	struct work_corrupt_record record = {
		.what = WORK_CORRUPT_PAGE_DAMAGED,
		.number = page->vcpu,
		.unit = "vcpu",
		.part = "page",
		.part_number = page->number,
		.word = wrong,
		.expected = wrong < PATTERN_WORDS ? pattern_word(page, wrong) : 0,
		.found = wrong < PATTERN_WORDS ? words[wrong] : 0,
	};
	uint32_t generation = (uint32_t)words[1];
	bool of_this_page = words[0] == page->number && words[1] >> 32 == page->vcpu;

	if (page->kind == PATTERN_ZERO) {
		record.what = WORK_CORRUPT_PAGE_NOT_ZERO;
	} else if (pattern_is_zero(words, page->header_only)) {
		record.what = WORK_CORRUPT_PAGE_LOST;
	} else if (of_this_page && generation != page->generation) {
		record.what = generation < page->generation ? WORK_CORRUPT_PAGE_STALE
							    : WORK_CORRUPT_PAGE_AHEAD;
		record.expected = page->generation;
		record.found = generation;
	} else if (wrong == 0 && words[0] < work->shared->page_count && words[2] == ~words[3]) {
		record.what = WORK_CORRUPT_PAGE_MISPLACED;
	}
	work_corrupt_add(work, &record);
}

static void page_check(struct work *work, uint32_t vcpu, uint64_t number, uint32_t generation)
{
	struct pattern_page page = describe(work, vcpu, number, generation);
	const uint64_t *words = page_words(work, number);

	if (!pattern_matches(words, &page))
		page_corrupt(work, &page, words);
}

/* The first content of each page. Zero pages are looked at, and written only if they are not zero.
 */
static void fill(struct work *work, uint32_t index, uint32_t count)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint32_t *generations = table(work, index);

	for (; count && vcpu->fill_cursor < vcpu->page_count; count--, vcpu->fill_cursor++) {
		uint64_t number = vcpu->first_page + vcpu->fill_cursor;
		struct pattern_page page = describe(work, index, number, 1);
		uint64_t *words = page_words(work, number);
		uint32_t i;

		if (page.kind != PATTERN_ZERO) {
			pattern_write(words, &page);
			generations[vcpu->fill_cursor] = 1;
			work_count(&vcpu->writes, vcpu->writes + 1);
			continue;
		}
		generations[vcpu->fill_cursor] = 0;
		if (!pattern_is_zero(words, page.header_only))
			for (i = 0; i < PATTERN_WORDS; i++)
				words[i] = 0;
	}
}

static void rewrite(struct work *work, uint32_t index, uint64_t i)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint32_t *generations = table(work, index);
	uint64_t number = vcpu->first_page + i;
	struct pattern_page page = describe(work, index, number, generations[i]);
	uint64_t *words = page_words(work, number);

	if (!pattern_matches(words, &page))
		page_corrupt(work, &page, words);
	if (page.kind == PATTERN_ZERO)
		return;
	generations[i] = ++page.generation;
	pattern_write(words, &page);
	work_count(&vcpu->writes, vcpu->writes + 1);
	if (page.generation > vcpu->generation_max)
		work_count(&vcpu->generation_max, page.generation);
	if (vcpu->verifying && i < vcpu->verify_cursor)
		vcpu->verify_sum++; /* it was counted with one generation less */
}

static void write_pages(struct work *work, uint32_t index, uint64_t count)
{
	struct work_vcpu *vcpu = &work->vcpus[index];

	while (count-- > 0) {
		uint64_t i;

		if (work->shared->knobs.order == WORK_ORDER_LINEAR) {
			i = vcpu->write_cursor++;
			if (vcpu->write_cursor >= vcpu->page_count)
				vcpu->write_cursor = 0;
		} else {
			i = work_below(work_random(&vcpu->random), vcpu->page_count);
		}
		rewrite(work, index, i);
	}
}

static void verify_pages(struct work *work, uint32_t index, uint32_t count, uint64_t wanted)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	const uint32_t *generations = table(work, index);

	if (!vcpu->verifying) {
		vcpu->verifying = 1;
		vcpu->verify_cursor = 0;
		vcpu->verify_sum = 0;
	}
	for (; count && vcpu->verify_cursor < vcpu->page_count; count--, vcpu->verify_cursor++) {
		uint32_t generation = generations[vcpu->verify_cursor];

		page_check(work, index, vcpu->first_page + vcpu->verify_cursor, generation);
		vcpu->verify_sum += generation;
		work_count(&vcpu->verified, vcpu->verified + 1);
	}
	if (vcpu->verify_cursor < vcpu->page_count)
		return;
	/* A page and its table entry that are both old agree with each other, not with this. */
	if (vcpu->verify_sum != vcpu->writes) {
		struct work_corrupt_record record = {
			.what = WORK_CORRUPT_TABLE,
			.number = index,
			.unit = "vcpu",
			.expected = vcpu->writes,
			.found = vcpu->verify_sum,
		};

		work_corrupt_add(work, &record);
	}
	vcpu->verifying = 0;
	vcpu->memory_pass_done = wanted;
}

/* How many pages the rate allows now, at most max. */
static uint64_t due(struct work *work, uint32_t index, uint64_t elapsed, uint64_t max)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint64_t rate = work->shared->knobs.rate;
	uint64_t second = work->shared->ticks_per_ms * 1000 * work->shared->vcpu_count;
	uint64_t credit_max = WORK_GAP_CLIP_MS * work->shared->ticks_per_ms + second / (rate | 1);
	uint64_t pages;

	if (rate == 0)
		return max;
	vcpu->credit_ticks += elapsed;
	if (vcpu->credit_ticks > credit_max)
		vcpu->credit_ticks = credit_max;
	pages = vcpu->credit_ticks * rate / second;
	pages = pages < max ? pages : max;
	vcpu->credit_ticks -= pages * second / rate;
	return pages;
}

void work_memory_step(struct work *work, uint32_t index, uint64_t elapsed)
{
	struct work_vcpu *vcpu = &work->vcpus[index];
	uint32_t batch = work->shared->knobs.header_only ? 64 : 8;
	uint64_t wanted = __atomic_load_n(&work->shared->pass_wanted, __ATOMIC_ACQUIRE);

	if (vcpu->fill_cursor < vcpu->page_count) {
		fill(work, index, batch / 2);
		return;
	}
	write_pages(work, index, due(work, index, elapsed, batch));
	if (vcpu->memory_pass_done != wanted)
		verify_pages(work, index, batch, wanted);
}

/* ---- self-test: damage that must be found -------------------------------------------------------
 */

void work_memory_damage(struct work *work, uint32_t selftest)
{
	struct work_vcpu *vcpu = &work->vcpus[0];
	uint32_t *generations = table(work, 0);
	uint64_t i = work_below(work_random(&vcpu->random), vcpu->page_count);
	struct pattern_page page;
	uint64_t *words;
	uint64_t tries;
	uint32_t w;

	for (tries = 0; tries < vcpu->page_count; tries++) {
		if (describe(work, 0, vcpu->first_page + i, 0).kind != PATTERN_ZERO)
			break;
		i = (i + 1) % vcpu->page_count;
	}
	words = page_words(work, vcpu->first_page + i);
	page = describe(work, 0, vcpu->first_page + i, generations[i]);
	switch ((enum work_selftest)selftest) {
	case WORK_SELFTEST_NONE:
		break;
	case WORK_SELFTEST_WORD:
		words[PATTERN_WORDS - 1] ^= 1ull << 17;
		break;
	case WORK_SELFTEST_TABLE:
		generations[i]--;
		page.generation--;
		pattern_write(words, &page);
		break;
	case WORK_SELFTEST_STALE:
		page.generation--;
		pattern_write(words, &page);
		break;
	case WORK_SELFTEST_LOST:
		for (w = 0; w < PATTERN_WORDS; w++)
			words[w] = 0;
		break;
	case WORK_SELFTEST_IRQ:
		work->devices[0].overlook = 1;
		break;
	case WORK_SELFTEST_DMA:
		work->devices[0].selftest_slot = 1;
		break;
	case WORK_SELFTEST_COMMAND:
		work->devices[0].overlook = 2;
		break;
	case WORK_SELFTEST_UART:
		work->devices[0].selftest_port = 1;
		break;
	}
}
