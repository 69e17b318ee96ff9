/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread, many tasks, a clock of its own: whatever the library takes for threads is a coroutine
 * here, and a seed decides which one goes on. The clock stands still while something can go on, but
 * for a little per step; then it jumps to the next deadline.
 *
 * It knows nothing of sessions. There is one schedule in the process at a time.
 */
#ifndef TESTS_SIM_NET_SCHED_H
#define TESTS_SIM_NET_SCHED_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHED_NEVER UINT64_MAX
#define SCHED_TASKS_MAX 160u
#define SCHED_SIDES_MAX 4u

struct task;

/* How the schedule is dealt. */
struct sched_mood {
	uint32_t yield_per_mille; /* at places where a thread could be preempted */
	uint32_t spurious_per_mille; /* waits on conditions that end for nothing, EINTR in poll */
	uint32_t late_per_mille; /* a task that polled comes back late */
	uint64_t late_ns;
	bool by_priority; /* each task has one, and some change on the way; else all are equal */
	uint64_t steps_max; /* more is taken for going round in circles */
	uint64_t time_ns_max; /* later than this is taken for never */
};

enum sched_end {
	SCHED_OVER = 1, /* over() said so */
	SCHED_HANG = 2, /* nobody can go on, and nobody waits for a time */
	SCHED_CIRCLES = 3, /* steps_max */
	SCHED_LATE = 4, /* time_ns_max */
};

void sched_begin(uint64_t seed, const struct sched_mood *mood);
void sched_finish(void); /* drops all tasks */

uint64_t sched_now(void);
void sched_pass(uint64_t ns); /* the clock goes on: work took time */
uint64_t sched_steps(void);

/* The seed's numbers. Deciding about the schedule has its own. */
uint64_t sched_random(void);
uint32_t sched_below(uint32_t limit); /* 0..limit-1; 0 if limit is 0 */
uint64_t sched_between(uint64_t low, uint64_t high);
bool sched_chance(uint32_t per_mille);

struct task *sched_spawn(uint32_t side, const char *name, void *(*run)(void *), void *arg);
struct task *sched_current(void); /* NULL: between the tasks */
uint32_t sched_side(void); /* the side of the current task; SCHED_SIDES_MAX between tasks */
const char *sched_name(void);
void sched_rename(const char *name); /* the current task */
bool sched_is_done(const struct task *task);
void *sched_result(const struct task *task);

/* Park the current task. false: the deadline passed. what is for the report of a hang. */
bool sched_wait(const void *object, uint64_t deadline_ns, const char *what);
void sched_wake(const void *object, bool all);
void sched_sleep_until(uint64_t deadline_ns);
/* Park until one of fds is ready; -1 and EINTR may come for nothing. */
int sched_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns);
void sched_touch(void); /* a descriptor may have become ready: those that poll look again */
void sched_preempt(void); /* perhaps somebody else first */

/* Something that happens at a time, between the tasks. */
void sched_at(uint64_t time_ns, void (*happen)(void *ctx, uint64_t arg), void *ctx, uint64_t arg);
uint32_t sched_pending(void); /* events that are still to come */

/* All tasks of a side are gone, in the middle of what they did. Between the tasks only. */
void sched_kill(uint32_t side);

enum sched_end sched_run(bool (*over)(void), void (*after_step)(void));

/* Who waits where, a line each. */
void sched_report(void (*line)(const char *text));

#endif
