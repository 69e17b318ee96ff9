/* SPDX-License-Identifier: BSD-3-Clause */
#undef _FORTIFY_SOURCE /* its longjmp() knows only one stack */
#include "net-sched.h"

#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "net-fiber.h"
#include "net-seam.h"

#define STACK_BYTES (512u << 10)
#define GUARD_BYTES 4096u
#define EVENTS_MAX 512u
#define POLLS_MAX 256u
#define TICK_NS 400u /* a step takes this long, and up to twice that */
#define START_NS 1000000000000ull /* a clock does not begin at zero */

enum task_state { FREE, READY, WAITING, POLLING, DONE };

struct task {
	ucontext_t context;
	jmp_buf jump; /* where it goes on, once it has begun */
	bool begun;
	void *stack; /* kept for the next task in the slot */
	void *fake; /* the sanitizer's */
	enum task_state state;
	uint32_t side, priority;
	char name[32];
	void *(*run)(void *arg);
	void *arg, *result;
	const void *object; /* WAITING for it */
	const char *what;
	uint64_t deadline_ns;
	bool timed_out;
	struct pollfd *fds; /* POLLING */
	nfds_t fd_count;
};

struct event {
	uint64_t time_ns, order;
	void (*happen)(void *ctx, uint64_t arg);
	void *ctx;
	uint64_t arg;
};

static struct {
	struct task tasks[SCHED_TASKS_MAX];
	struct event events[EVENTS_MAX];
	uint32_t task_count, event_count;
	uint64_t event_order, now_ns, steps, seeds[2];
	struct sched_mood mood;
	struct task *current;
	bool touched; /* a descriptor may have become ready since it was looked last */
	ucontext_t main;
	jmp_buf main_jump;
	void *main_fake;
	const void *main_bottom;
	size_t main_size;
} sched;

/* splitmix64: public domain, by Sebastiano Vigna */
static uint64_t next_number(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t sched_random(void)
{
	return next_number(&sched.seeds[0]);
}

uint32_t sched_below(uint32_t limit)
{
	return limit ? (uint32_t)(sched_random() % limit) : 0;
}

uint64_t sched_between(uint64_t low, uint64_t high)
{
	return high > low ? low + sched_random() % (high - low + 1) : low;
}

bool sched_chance(uint32_t per_mille)
{
	return sched_below(1000) < per_mille;
}

static uint32_t deal(uint32_t limit)
{
	return (uint32_t)(next_number(&sched.seeds[1]) % limit);
}

void sched_begin(uint64_t seed, const struct sched_mood *mood)
{
	sched.task_count = sched.event_count = 0;
	sched.event_order = sched.steps = 0;
	sched.now_ns = START_NS;
	sched.seeds[0] = seed * 2 + 1;
	sched.seeds[1] = ~seed;
	sched.mood = *mood;
	sched.current = NULL;
	sched.touched = true;
}

void sched_finish(void)
{
	assert(!sched.current);
	for (uint32_t i = 0; i < sched.task_count; i++)
		sched.tasks[i].state = FREE;
	sched.task_count = sched.event_count = 0;
}

uint64_t sched_now(void)
{
	return sched.now_ns;
}

void sched_touch(void)
{
	sched.touched = true;
}

void sched_pass(uint64_t ns)
{
	sched.now_ns += ns;
}

uint64_t sched_steps(void)
{
	return sched.steps;
}

struct task *sched_current(void)
{
	return sched.current;
}

uint32_t sched_side(void)
{
	return sched.current ? sched.current->side : SCHED_SIDES_MAX;
}

const char *sched_name(void)
{
	return sched.current ? sched.current->name : "world";
}

void sched_rename(const char *name)
{
	if (sched.current)
		(void)snprintf(sched.current->name, sizeof(sched.current->name), "%s", name);
}

bool sched_is_done(const struct task *task)
{
	return task->state == DONE;
}

void *sched_result(const struct task *task)
{
	return task->result;
}

/* ---- switching ----------------------------------------------------------------------------- */

/*
 * swapcontext() asks the kernel for the signal mask, each time; these do not. The address sanitizer
 * wants to see every longjmp(), and knows only the one stack, so with it the slow way stays.
 */
static void leave_main(struct task *task)
{
#ifdef NET_ASAN
	(void)swapcontext(&sched.main, &task->context);
#else
	if (_setjmp(sched.main_jump))
		return;
	if (task->begun)
		_longjmp(task->jump, 1);
	task->begun = true;
	(void)setcontext(&task->context);
#endif
}

static void leave_task(struct task *task)
{
#ifdef NET_ASAN
	(void)swapcontext(&task->context, &sched.main);
#else
	if (!_setjmp(task->jump))
		_longjmp(sched.main_jump, 1);
#endif
}

static void back_to_main(struct task *task)
{
	fiber_leave(task->state == DONE ? NULL : &task->fake, sched.main_bottom, sched.main_size);
	leave_task(task);
	fiber_enter(task->fake, &sched.main_bottom, &sched.main_size);
}

static void begin_task(void)
{
	struct task *task = sched.current;

	fiber_enter(NULL, &sched.main_bottom, &sched.main_size);
	task->result = task->run(task->arg);
	task->state = DONE;
	sched_wake(task, true);
	back_to_main(task);
}

static void resume(struct task *task)
{
	sched.current = task;
	task->state = READY;
	fiber_leave(&sched.main_fake, (char *)task->stack + GUARD_BYTES, STACK_BYTES);
	leave_main(task);
	fiber_enter(sched.main_fake, NULL, NULL);
	sched.current = NULL;
}

static void *new_stack(void)
{
	void *stack = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	assert(stack != MAP_FAILED);
	(void)mprotect(stack, GUARD_BYTES, PROT_NONE);
	return stack;
}

struct task *sched_spawn(uint32_t side, const char *name, void *(*run)(void *), void *arg)
{
	struct task *task = &sched.tasks[sched.task_count];
	void *stack = task->stack;

	assert(sched.task_count < SCHED_TASKS_MAX);
	sched.task_count++;
	if (!stack)
		stack = new_stack();
	*task = (struct task){ .state = READY,
			       .side = side,
			       .run = run,
			       .arg = arg,
			       .stack = stack,
			       .priority = deal(1000) };
	(void)snprintf(task->name, sizeof(task->name), "%s", name);
	fiber_fresh((char *)stack + GUARD_BYTES, STACK_BYTES);
	(void)getcontext(&task->context);
	task->context.uc_stack.ss_sp = (char *)stack + GUARD_BYTES;
	task->context.uc_stack.ss_size = STACK_BYTES;
	task->context.uc_link = NULL;
	makecontext(&task->context, begin_task, 0);
	return task;
}

void sched_kill(uint32_t side)
{
	assert(!sched.current);
	for (uint32_t i = 0; i < sched.task_count; i++)
		if (sched.tasks[i].side == side)
			sched.tasks[i].state = DONE;
	sched.touched = true;
}

/* ---- waiting ------------------------------------------------------------------------------- */

static void park(struct task *task, enum task_state state, uint64_t deadline_ns, const char *what)
{
	task->state = state;
	task->deadline_ns = deadline_ns;
	task->what = what;
	task->timed_out = false;
	back_to_main(task);
}

bool sched_wait(const void *object, uint64_t deadline_ns, const char *what)
{
	struct task *task = sched.current;

	assert(task);
	task->object = object;
	park(task, WAITING, deadline_ns, what);
	return !task->timed_out;
}

/* One of those that wait, whichever: the seed says. */
void sched_wake(const void *object, bool all)
{
	struct task *waiting[SCHED_TASKS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < sched.task_count; i++)
		if (sched.tasks[i].state == WAITING && sched.tasks[i].object == object)
			waiting[count++] = &sched.tasks[i];
	if (count && !all)
		waiting[deal(count)]->state = READY;
	for (uint32_t i = 0; all && i < count; i++)
		waiting[i]->state = READY;
}

void sched_sleep_until(uint64_t deadline_ns)
{
	(void)sched_wait(sched.current, deadline_ns, "a time");
}

void sched_preempt(void)
{
	struct task *task = sched.current;

	if (!task || deal(1000) >= sched.mood.yield_per_mille)
		return;
	task->state = READY;
	back_to_main(task);
}

/* What is ready now, with the windows of the simulated network. */
static int look(struct pollfd *fds, nfds_t count)
{
	struct pollfd seen[POLLS_MAX];
	int ready;

	assert(count <= POLLS_MAX);
	for (nfds_t i = 0; i < count; i++) {
		seen[i] = fds[i];
		seen[i].events = seam_events(fds[i].fd, fds[i].events);
	}
	ready = seam_poll_now(seen, count);
	for (nfds_t i = 0; i < count; i++)
		fds[i].revents = seen[i].revents;
	return ready;
}

int sched_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns)
{
	struct task *task = sched.current;
	int ready;

	for (;;) {
		ready = look(fds, count);
		if (ready && task && deal(1000) < sched.mood.late_per_mille) {
			/* A busy thread: what has come meanwhile comes all at once. */
			(void)sched_wait(task,
					 sched.now_ns + deal(1000) * sched.mood.late_ns / 1000,
					 "its turn");
			ready = look(fds, count);
		}
		if (ready || deadline_ns <= sched.now_ns)
			return ready;
		if (!task)
			return 0;
		if (deal(1000) < sched.mood.spurious_per_mille) {
			errno = EINTR;
			return -1;
		}
		task->fds = fds;
		task->fd_count = count;
		park(task, POLLING, deadline_ns, "poll");
	}
}

/* ---- events -------------------------------------------------------------------------------- */

void sched_at(uint64_t time_ns, void (*happen)(void *ctx, uint64_t arg), void *ctx, uint64_t arg)
{
	assert(sched.event_count < EVENTS_MAX);
	sched.events[sched.event_count++] = (struct event){ .time_ns = time_ns,
							    .order = sched.event_order++,
							    .happen = happen,
							    .ctx = ctx,
							    .arg = arg };
}

uint32_t sched_pending(void)
{
	return sched.event_count;
}

static struct event *earliest_event(void)
{
	struct event *first = NULL;

	for (uint32_t i = 0; i < sched.event_count; i++) {
		struct event *event = &sched.events[i];

		if (!first || event->time_ns < first->time_ns ||
		    (event->time_ns == first->time_ns && event->order < first->order))
			first = event;
	}
	return first;
}

static bool do_events(void)
{
	bool any = false;
	struct event *first;

	while ((first = earliest_event()) && first->time_ns <= sched.now_ns) {
		struct event event = *first;

		*first = sched.events[--sched.event_count];
		event.happen(event.ctx, event.arg);
		any = sched.touched = true;
	}
	return any;
}

/* ---- the schedule -------------------------------------------------------------------------- */

static void expire(void)
{
	for (uint32_t i = 0; i < sched.task_count; i++) {
		struct task *task = &sched.tasks[i];

		if (task->state != WAITING && task->state != POLLING)
			continue;
		if (task->deadline_ns <= sched.now_ns) {
			task->timed_out = true;
			task->state = READY;
		} else if (task->state == WAITING && task->what[0] == '?' &&
			   deal(1000) < sched.mood.spurious_per_mille) {
			task->state = READY; /* a condition: its waiter looks for itself */
		}
	}
}

/* Tasks in poll() whose descriptors have become ready: one system call for all of them. */
static void take_polls(void)
{
	struct pollfd fds[POLLS_MAX];
	struct task *owners[POLLS_MAX];
	uint32_t count = 0;

	if (!sched.touched)
		return;
	sched.touched = false;
	for (uint32_t i = 0; i < sched.task_count; i++) {
		struct task *task = &sched.tasks[i];

		for (nfds_t k = 0; task->state == POLLING && k < task->fd_count; k++) {
			assert(count < POLLS_MAX);
			owners[count] = task;
			fds[count++] = task->fds[k];
		}
	}
	if (!count || look(fds, count) <= 0)
		return;
	for (uint32_t i = 0; i < count; i++)
		if (fds[i].revents)
			owners[i]->state = READY;
}

static struct task *choose(void)
{
	struct task *ready[SCHED_TASKS_MAX], *best;
	uint32_t count = 0;

	for (uint32_t i = 0; i < sched.task_count; i++)
		if (sched.tasks[i].state == READY)
			ready[count++] = &sched.tasks[i];
	if (!count)
		return NULL;
	/* Now and then anyone, so that nobody who spins keeps the others out for ever. */
	if (!sched.mood.by_priority || deal(16) == 0)
		return ready[deal(count)];
	best = ready[0];
	for (uint32_t i = 1; i < count; i++)
		if (ready[i]->priority > best->priority)
			best = ready[i];
	if (deal(200) == 0)
		best->priority = deal(1000);
	return best;
}

/* Nobody can go on: the time of the next who waits for one. false: nobody does. */
static bool jump(void)
{
	const struct event *event = earliest_event();
	uint64_t next = event ? event->time_ns : SCHED_NEVER;

	for (uint32_t i = 0; i < sched.task_count; i++) {
		const struct task *task = &sched.tasks[i];

		if ((task->state == WAITING || task->state == POLLING) && task->deadline_ns < next)
			next = task->deadline_ns;
	}
	if (next == SCHED_NEVER)
		return false;
	if (next > sched.now_ns)
		sched.now_ns = next;
	return true;
}

enum sched_end sched_run(bool (*over)(void), void (*after_step)(void))
{
	while (!over()) {
		struct task *task;

		if (sched.steps >= sched.mood.steps_max)
			return SCHED_CIRCLES;
		if (sched.now_ns - START_NS >= sched.mood.time_ns_max)
			return SCHED_LATE;
		if (do_events()) {
			after_step();
			continue; /* it may be over */
		}
		expire();
		take_polls();
		task = choose();
		if (!task) {
			if (!jump())
				return SCHED_HANG;
			continue;
		}
		sched.now_ns += TICK_NS + deal(TICK_NS);
		sched.steps++;
		resume(task);
		after_step();
	}
	return SCHED_OVER;
}

void sched_report(void (*line)(const char *text))
{
	char text[160];

	for (uint32_t i = 0; i < sched.task_count; i++) {
		const struct task *task = &sched.tasks[i];

		if (task->state == FREE || task->state == DONE)
			continue;
		(void)snprintf(text, sizeof(text), "side %u, %s: %s%s", task->side, task->name,
			       task->state == READY ? "can go on" : "waits for ",
			       task->state == READY ? "" : task->what);
		line(text);
	}
}
