/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the simulated device does: registers, commands, beats, interrupts, as include/holdfast/sim.h
 * says. A command or a beat is one step under the device's lock: a device that is stopped has it
 * before itself or behind itself, never half.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/sim.h"
#include "base/time.h"

#define NO_TIME UINT64_MAX
#define COMPLETION_SIZE 16u
#define BEAT_SIZE 8u
#define FAULT_VALUE UINT64_MAX

static int busy(const struct sim_model *m)
{
	return m->submitted != m->completed;
}

static int beating(const struct sim_model *m)
{
	return m->beat_period_us && m->beat_entries;
}

static int power_of_two(uint64_t n)
{
	return n && (n & (n - 1)) == 0;
}

uint64_t sim_block_base(uint64_t index, uint64_t sequence)
{
	if (sequence)
		return HF_SIM_WORD(sequence, 0);
	return HF_SIM_WORD(0, index * SIM_BLOCK_WORDS);
}

void sim_model_reset(struct sim *sim)
{
	memset(&sim->model, 0, sizeof(sim->model));
	memset(sim->sequences, 0, sim->blocks * sizeof(sim->sequences[0]));
	memset(sim->bar4, 0, HF_SIM_BAR4_SIZE);
	sim->command_due_ns = sim->beat_due_ns = 0;
}

int sim_model_valid(const struct sim_model *m)
{
	if (m->completed > m->submitted || m->submitted - m->completed > 1)
		return 0;
	if (m->ring_entries && (!power_of_two(m->ring_entries) || m->ring_entries > SIM_RING_MAX))
		return 0;
	if (m->beat_entries && (!power_of_two(m->beat_entries) || m->beat_entries > SIM_BEAT_MAX))
		return 0;
	if (m->fault > 1 || m->irq_pending >= 1u << HF_SIM_VECTORS)
		return 0;
	if (!busy(m) && (m->command_src || m->command_dst || m->command_op || m->command_length ||
			 m->command_left_ns))
		return 0;
	return beating(m) || !m->beat_left_ns;
}

/* ---- time ---------------------------------------------------------------------------------- */

static uint64_t left(uint64_t due_ns, uint64_t now_ns)
{
	return due_ns > now_ns ? due_ns - now_ns : 0;
}

void sim_model_start(struct sim *sim, uint64_t now_ns)
{
	sim->command_due_ns = now_ns + sim->model.command_left_ns;
	sim->beat_due_ns = now_ns + sim->model.beat_left_ns;
	sim->model.command_left_ns = sim->model.beat_left_ns = 0;
	sim_model_interrupt(sim);
}

void sim_model_stop(struct sim *sim, uint64_t now_ns)
{
	struct sim_model *m = &sim->model;

	m->command_left_ns = busy(m) ? left(sim->command_due_ns, now_ns) : 0;
	m->beat_left_ns = beating(m) ? left(sim->beat_due_ns, now_ns) : 0;
}

void sim_model_interrupt(struct sim *sim)
{
	const uint64_t one = 1;

	if (!sim_state_runs(sim->state))
		return;
	for (uint32_t v = 0; v < HF_SIM_VECTORS; v++) {
		if (!(sim->model.irq_pending & (1u << v)) || sim->eventfds[v] < 0)
			continue;
		/* A full counter is a signal nobody took yet: nothing is lost by not adding. */
		if (write(sim->eventfds[v], &one, sizeof(one)) == sizeof(one) || errno == EAGAIN)
			sim->model.irq_pending &= ~(1u << v);
	}
}

/* ---- commands ------------------------------------------------------------------------------ */

static int command_valid(const struct sim_model *m)
{
	return m->command_op >= HF_SIM_CMD_COPY && m->command_op <= HF_SIM_CMD_SUM &&
	       m->command_length % 8 == 0 && m->command_length <= SIM_LENGTH_MAX;
}

/* Everything the command at hand reaches: 0 or -EFAULT, and whether another device is in it. */
static int command_check(const struct sim *sim, int *p2p)
{
	const struct sim_model *m = &sim->model;
	int r = 0;

	if (m->command_op != HF_SIM_CMD_FILL)
		r = sim_dma_check(&sim->dma, m->command_src, m->command_length, HF_DMA_READ, p2p);
	if (r == 0 && m->command_op != HF_SIM_CMD_SUM)
		r = sim_dma_check(&sim->dma, m->command_dst, m->command_length, HF_DMA_WRITE, p2p);
	return r;
}

static uint64_t completion_address(const struct sim_model *m)
{
	return m->ring + COMPLETION_SIZE * (m->completed % m->ring_entries);
}

/*
 * The DMA of a command that was checked, and the value for its completion. Of memory that is mapped
 * it does not fail, since maps do not change under the lock; what is reached by calls may be gone
 * in the middle: -EFAULT.
 */
static int command_run(struct sim *sim, uint64_t *ret_value)
{
	const struct sim_model *m = &sim->model;
	uint64_t words[SIM_BLOCK_WORDS], sum = 0, word = 0;
	uint64_t sequence = m->completed + 1;
	int r = 0;

	for (uint64_t done = 0; done < m->command_length && r == 0;) {
		size_t n = m->command_length - done;

		if (n > sizeof(words))
			n = sizeof(words);
		if (m->command_op == HF_SIM_CMD_FILL)
			for (size_t i = 0; i < n / 8; i++)
				words[i] = HF_SIM_WORD(sequence, word++);
		else
			r = sim_dma_read(&sim->dma, m->command_src + done, words, n);
		if (m->command_op == HF_SIM_CMD_SUM)
			for (size_t i = 0; i < n / 8; i++)
				sum += words[i];
		else if (r == 0)
			r = sim_dma_write(&sim->dma, m->command_dst + done, words, n);
		done += n;
	}
	if (r == 0)
		*ret_value = sum;
	return r;
}

static void complete(struct sim *sim, uint64_t value)
{
	struct sim_model *m = &sim->model;
	uint64_t sequence = m->completed + 1;
	uint64_t index = HF_SIM_BLOCK(sequence, sim->blocks);

	sim->sequences[index] = sequence;
	sim_save_touch(sim, index);
	if (m->ring_entries) {
		uint64_t at = completion_address(m);
		int unused = 0;

		/* The sequence last: a driver that polls for it finds the value there. */
		if (sim_dma_check(&sim->dma, at, COMPLETION_SIZE, HF_DMA_WRITE, &unused) < 0 ||
		    sim_dma_write(&sim->dma, at + 8, &value, 8) < 0 ||
		    sim_dma_write(&sim->dma, at, &sequence, 8) < 0)
			m->errors++;
	}
	m->completed = sequence;
	m->command_src = m->command_dst = 0;
	m->command_op = m->command_length = 0;
	m->irq_pending |= 1u << 0;
}

/* Returns 0 if it has to wait, since it reaches another device and must not now. */
static int command_step(struct sim *sim)
{
	struct sim_model *m = &sim->model;
	uint64_t value = FAULT_VALUE;
	int p2p = 0, valid = command_valid(m), reach = 0;

	if (valid)
		reach = command_check(sim, &p2p);
	if (m->ring_entries)
		(void)sim_dma_check(&sim->dma, completion_address(m), COMPLETION_SIZE, HF_DMA_WRITE,
				    &p2p); /* not mapped is counted when it is written */
	if (p2p && sim_state_p2p_quiet(sim->state))
		return 0;

	if (valid && reach == 0)
		reach = command_run(sim, &value);
	if (valid && reach < 0)
		m->errors++;
	m->fault = !valid || reach < 0;
	complete(sim, value);
	sim_model_interrupt(sim);
	return 1;
}

static void submit(struct sim *sim, uint32_t op)
{
	struct sim_model *m = &sim->model;

	if (busy(m))
		return;
	m->command_op = op;
	m->command_src = m->src;
	m->command_dst = m->dst;
	m->command_length = m->length;
	m->submitted++;
	sim->command_due_ns = time_now_ns() + sim->config.latency_us * NS_PER_US;
}

/* ---- beats --------------------------------------------------------------------------------- */

static int beat_step(struct sim *sim, uint64_t now_ns)
{
	struct sim_model *m = &sim->model;
	uint64_t number = m->beats + 1;
	uint64_t at = m->beat_ring + BEAT_SIZE * (m->beats % m->beat_entries);
	uint64_t period_ns = m->beat_period_us * NS_PER_US;
	int p2p = 0;
	int reach = sim_dma_check(&sim->dma, at, BEAT_SIZE, HF_DMA_WRITE, &p2p);

	if (p2p && sim_state_p2p_quiet(sim->state))
		return 0;
	if (reach < 0 || sim_dma_write(&sim->dma, at, &number, BEAT_SIZE) < 0)
		m->errors++;
	m->beats = number;
	if (number % HF_SIM_BEATS_PER_IRQ == 0) {
		m->irq_pending |= 1u << 1;
		sim_model_interrupt(sim);
	}
	/* Beats that were missed are not made up for: a late one makes the next ones late. */
	sim->beat_due_ns += period_ns;
	if (sim->beat_due_ns <= now_ns)
		sim->beat_due_ns = now_ns + period_ns;
	return 1;
}

uint64_t sim_model_step(struct sim *sim, uint64_t now_ns)
{
	struct sim_model *m = &sim->model;
	uint64_t next = NO_TIME;

	if (!sim_state_runs(sim->state))
		return NO_TIME;
	if (busy(m) && sim->command_due_ns > now_ns)
		next = sim->command_due_ns;
	else if (busy(m))
		(void)command_step(sim); /* one that waits is looked at when the state changes */
	if (beating(m) && sim->beat_due_ns <= now_ns && !beat_step(sim, now_ns))
		return next;
	if (beating(m) && sim->beat_due_ns < next)
		next = sim->beat_due_ns;
	return next;
}

/* ---- registers ----------------------------------------------------------------------------- */

static uint64_t pair(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

static uint64_t state_word(const struct sim *sim)
{
	uint64_t index = sim->model.state_index / SIM_BLOCK_WORDS;
	uint64_t word = sim->model.state_index % SIM_BLOCK_WORDS;

	if (index >= sim->blocks)
		return 0;
	return sim_block_base(index, sim->sequences[index]) + word * HF_SIM_WORD(0, 1);
}

uint64_t sim_model_read(struct sim *sim, uint64_t unit)
{
	const struct sim_model *m = &sim->model;

	switch (unit) {
	case HF_SIM_MAGIC:
		return pair(HF_SIM_MAGIC_VALUE, 1);
	case HF_SIM_STATUS:
		return (busy(m) ? HF_SIM_STATUS_BUSY : 0) | (m->fault ? HF_SIM_STATUS_FAULT : 0);
	case HF_SIM_SRC:
		return m->src;
	case HF_SIM_DST:
		return m->dst;
	case HF_SIM_LENGTH:
		return m->length;
	case HF_SIM_RING:
		return m->ring;
	case HF_SIM_RING_ENTRIES:
		return m->ring_entries;
	case HF_SIM_SUBMITTED:
		return m->submitted;
	case HF_SIM_COMPLETED:
		return m->completed;
	case HF_SIM_STATE_SIZE:
		return sim->config.state_size;
	case HF_SIM_STATE_INDEX:
		return m->state_index;
	case HF_SIM_STATE_WORD:
		return state_word(sim);
	case HF_SIM_BEAT_RING:
		return m->beat_ring;
	case HF_SIM_BEAT_ENTRIES:
		return pair(m->beat_entries, m->beat_period_us);
	case HF_SIM_BEATS:
		return m->beats;
	case HF_SIM_ERRORS:
		return m->errors;
	default:
		return 0;
	}
}

static void merge64(uint64_t *reg, uint64_t value, uint64_t mask)
{
	*reg = (*reg & ~mask) | (value & mask);
}

/* A half of a unit that holds a 32-bit register; partial writes of it are ignored. */
static int half(uint64_t value, uint64_t mask, uint32_t shift, uint32_t *ret_value)
{
	if (((mask >> shift) & UINT32_MAX) != UINT32_MAX)
		return 0;
	*ret_value = (uint32_t)(value >> shift);
	return 1;
}

static void write_beats(struct sim *sim, uint64_t value, uint64_t mask)
{
	struct sim_model *m = &sim->model;
	int was = beating(m);
	uint32_t v;

	if (half(value, mask, 0, &v) && (v == 0 || power_of_two(v)) && v <= SIM_BEAT_MAX)
		m->beat_entries = v;
	if (half(value, mask, 32, &v)) {
		m->beat_period_us = v;
		was = 0;
	}
	if (!was && beating(m))
		sim->beat_due_ns = time_now_ns() + m->beat_period_us * NS_PER_US;
}

void sim_model_write(struct sim *sim, uint64_t unit, uint64_t value, uint64_t mask)
{
	struct sim_model *m = &sim->model;
	uint32_t v;

	if (!sim_state_runs(sim->state))
		return; /* stopped: nothing about it changes */

	switch (unit) {
	case HF_SIM_STATUS: /* and COMMAND in its upper half */
		if (half(value, mask, 32, &v))
			submit(sim, v);
		break;
	case HF_SIM_SRC:
		merge64(&m->src, value, mask);
		break;
	case HF_SIM_DST:
		merge64(&m->dst, value, mask);
		break;
	case HF_SIM_LENGTH:
		if (half(value, mask, 0, &v))
			m->length = v;
		break;
	case HF_SIM_RING:
		merge64(&m->ring, value, mask);
		break;
	case HF_SIM_RING_ENTRIES:
		if (half(value, mask, 0, &v) && (v == 0 || power_of_two(v)) && v <= SIM_RING_MAX)
			m->ring_entries = v;
		break;
	case HF_SIM_STATE_INDEX:
		merge64(&m->state_index, value, mask);
		break;
	case HF_SIM_BEAT_RING:
		merge64(&m->beat_ring, value, mask);
		break;
	case HF_SIM_BEAT_ENTRIES:
		write_beats(sim, value, mask);
		break;
	default:
		break; /* read-only, or nothing there */
	}
	(void)pthread_cond_signal(&sim->work);
}
