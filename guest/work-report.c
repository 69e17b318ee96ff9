/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the workload says on its console; docs/checker.md has the lines. Text is put together here
 * and leaves a few bytes at a time, so that printing never makes a gap in a vCPU's work.
 */
#include "work.h"

#include <stddef.h>

#define LINE_MAX 448u /* a report */

static void put_char(struct work_shared *shared, char c)
{
	if (shared->console_used < WORK_CONSOLE_MAX)
		shared->console[shared->console_used++] = c;
}

static void put(struct work_shared *shared, const char *text)
{
	while (*text)
		put_char(shared, *text++);
}

static void put_number(struct work_shared *shared, uint64_t value, uint32_t base, uint32_t digits)
{
	char text[24];
	uint32_t i = 0;

	do {
		text[i++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value || i < digits);
	while (i)
		put_char(shared, text[--i]);
}

static void put_field(struct work_shared *shared, const char *name, uint64_t value)
{
	put(shared, name);
	put_number(shared, value, 10, 1);
}

static bool room(const struct work_shared *shared, uint32_t length)
{
	return WORK_CONSOLE_MAX - shared->console_used >= length;
}

bool work_console_empty(const struct work *work)
{
	return work->shared->console_used == 0;
}

void work_console_step(struct work *work)
{
	struct work_shared *shared = work->shared;
	uint32_t left = shared->console_used - shared->console_sent;

	if (left)
		shared->console_sent += work->env->console_write(
			work->env->ctx, shared->console + shared->console_sent, left);
	if (shared->console_sent == shared->console_used)
		shared->console_sent = shared->console_used = 0;
}

void work_report_start(struct work *work)
{
	struct work_shared *shared = work->shared;

	put_field(shared, "checker: start vcpus=", shared->vcpu_count);
	put_field(shared, " mem_mib=", shared->page_count >> 8);
	put_field(shared, " pages=", shared->page_count);
	put_field(shared, " devices=", shared->device_count);
	put_field(shared, " p2p=", shared->p2p);
	put_field(shared, " tsc_khz=", shared->ticks_per_ms);
	put(shared, " cmdline=\"");
	put(shared, shared->command_line);
	put(shared, "\"\n");
}

int work_report(struct work *work, const char *head)
{
	struct work_shared *shared = work->shared;
	uint64_t now = work->env->ticks(work->env->ctx);
	uint64_t writes = 0, verified = 0, generation = 1, gap_last = 0, dma = 0, irqs = 0;
	uint64_t beats = 0, spurious = 0, ms = (now - shared->start_ticks) / shared->ticks_per_ms;
	uint64_t per_us = shared->ticks_per_ms;
	uint32_t i;

	/* Numbers on the way leave room for what is said of the end. */
	if (!room(shared, head ? LINE_MAX : 3 * LINE_MAX))
		return 0;
	for (i = 0; i < shared->vcpu_count; i++) {
		struct work_vcpu *vcpu = &work->vcpus[i];
		uint64_t gap = __atomic_exchange_n(&vcpu->gap_recent, 0, __ATOMIC_RELAXED);

		writes += work_counted(&vcpu->writes);
		verified += work_counted(&vcpu->verified);
		if (work_counted(&vcpu->generation_max) > generation)
			generation = work_counted(&vcpu->generation_max);
		gap_last = gap > gap_last ? gap : gap_last;
	}
	shared->gap_max = gap_last > shared->gap_max ? gap_last : shared->gap_max;
	for (i = 0; i < shared->device_count; i++) {
		const struct work_device *dev = &work->devices[i];

		dma += work_counted(&dev->completed);
		irqs += work_counted(&dev->irqs);
		spurious += work_counted(&dev->spurious);
		beats += work_counted(&dev->beats);
	}
	put(shared, head ? head : "checker:");
	put_field(shared, " pass=", shared->pass);
	if (!head)
		put(shared, " clean");
	put_field(shared, " pages=", writes);
	put_field(shared, " gen=", generation);
	put_field(shared, " verified=", verified);
	put_field(shared, " dma=", dma);
	put_field(shared, " irqs=", irqs);
	put_field(shared, " beats=", beats);
	put_field(shared, " spurious=", spurious);
	put_field(shared, " gap_us_max=", shared->gap_max * 1000 / per_us);
	put_field(shared, " gap_us_last=", gap_last * 1000 / per_us);
	put_field(shared, " tsc_s=", ms / 1000);
	put_char(shared, '.');
	put_number(shared, ms % 1000, 10, 3);
	put_char(shared, '\n');
	return 1;
}

static void put_corrupt(struct work_shared *shared, const struct work_corrupt_record *record)
{
	put(shared, "checker: CORRUPT what=");
	put(shared, work_corrupt_text((enum work_corrupt)record->what));
	put(shared, " where=");
	put(shared, record->unit);
	put_number(shared, record->number, 10, 1);
	if (record->part[0]) {
		put_char(shared, ':');
		put(shared, record->part);
		put_number(shared, record->part_number, 10, 1);
		put_field(shared, ":word", record->word);
	}
	put(shared, " expected=0x");
	put_number(shared, record->expected, 16, 1);
	put(shared, " found=0x");
	put_number(shared, record->found, 16, 1);
	put_char(shared, '\n');
}

void work_report_corrupt(struct work *work)
{
	struct work_shared *shared = work->shared;
	uint32_t count = shared->corrupt_count, i;

	for (i = 0; i < count && i < WORK_CORRUPT_MAX && room(shared, 2 * LINE_MAX); i++)
		put_corrupt(shared, &shared->corrupt[i]);
	put_field(shared, "checker: stopped CORRUPT errors=", count);
	put_field(shared, " pass=", shared->pass);
	put_char(shared, '\n');
}
