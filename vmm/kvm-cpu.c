/* SPDX-License-Identifier: BSD-3-Clause */
/* The vCPUs and their threads. */
#include "kvm-cpu.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fail.h"
#include "kvm-guest.h"

#ifndef sigev_notify_thread_id /* glibc 2.36 does not name it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define STOP_DEADLINE_NS 30000000000ull
#define SLICE_NS 10000000ull /* a throttled vCPU runs this long, then it is off */
#define NS_PER_S 1000000000ull

static int kick_signal(void)
{
	return SIGRTMIN;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* always there */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
				  .tv_nsec = (long)(ns % NS_PER_S) };
}

static void kick(const struct cpu *cpu)
{
	if (cpu->thread_made)
		(void)pthread_kill(cpu->thread,
				   kick_signal()); /* joined only after the last kick */
}

static void kick_all(const struct cpus *cpus)
{
	for (uint32_t i = 0; i < cpus->count; i++)
		kick(&cpus->cpus[i]);
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void take_kicks(void)
{
	const struct timespec none = { 0 };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, kick_signal());
	while (sigtimedwait(&set, NULL, &none) > 0) {
	}
}

static void exit_io(struct cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		pio_access(cpu->guest, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
}

static void crash(const struct cpu *cpu, const char *what, uint64_t number)
{
	struct kvm_regs regs = { 0 };

	(void)ioctl(cpu->fd, KVM_GET_REGS, &regs); /* then the report says 0 */
	kvm_guest_crash(cpu->guest, "vCPU %u: %s (%ju) at rip 0x%jx", cpu->index, what,
			(uintmax_t)number, (uintmax_t)regs.rip);
}

/* In the guest until a kick, or until the guest is over. */
static void run_until_kicked(struct cpu *cpu)
{
	struct kvm_run *run = cpu->run;

	for (;;) {
		if (ioctl(cpu->fd, KVM_RUN, 0ul) < 0) {
			if (errno == EINTR)
				return;
			if (errno == EAGAIN) /* a vCPU that has just been woken by INIT or SIPI */
				continue;
			crash(cpu, "KVM_RUN failed", (uint64_t)errno);
			return;
		}
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			exit_io(cpu);
			break;
		case KVM_EXIT_MMIO:
			mmio_access(cpu->guest, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
				    run->mmio.is_write != 0);
			break;
		case KVM_EXIT_DIRTY_RING_FULL: {
			int r = tracker_ring_full(cpu->guest);

			if (r < 0) {
				crash(cpu, "its dirty ring cannot be emptied", (uint64_t)-r);
				return;
			}
			break;
		}
		case KVM_EXIT_INTR:
		case KVM_EXIT_IRQ_WINDOW_OPEN:
			break;
		case KVM_EXIT_SHUTDOWN:
			crash(cpu, "triple fault", 0);
			return;
		case KVM_EXIT_INTERNAL_ERROR:
			crash(cpu, "KVM internal error", run->internal.suberror);
			return;
		case KVM_EXIT_FAIL_ENTRY:
			crash(cpu, "the processor refused the vCPU's state",
			      run->fail_entry.hardware_entry_failure_reason);
			return;
		default:
			crash(cpu, "unknown exit", run->exit_reason);
			return;
		}
	}
}

static void timer_set_ns(const struct cpu *cpu, uint64_t ns)
{
	const struct itimerspec spec = { .it_value = timespec_of(ns) };

	(void)timer_settime(cpu->timer, 0, &spec, NULL); /* a valid timer and time: cannot fail */
}

/*
 * Throttled: run for a slice, then be off for as long as makes the percentage. Called with the
 * lock. Returns at the end of the pause, or when what was asked for has changed.
 */
static void be_off(struct cpu *cpu)
{
	struct cpus *cpus = &cpu->guest->cpus;
	uint32_t percent = cpus->percent;
	uint64_t now = now_ns();

	if (percent == 0) {
		if (cpu->slice_end_ns != 0)
			timer_set_ns(cpu, 0);
		cpu->slice_end_ns = 0;
		return;
	}
	if (cpu->slice_end_ns != 0 && now < cpu->slice_end_ns) {
		timer_set_ns(cpu, cpu->slice_end_ns - now); /* a kick for another reason */
		return;
	}
	if (cpu->slice_end_ns != 0) {
		struct timespec until = timespec_of(now + SLICE_NS * percent / (100 - percent));
		int r = 0;

		while (r == 0 && cpus->want_run && !cpus->quit && cpus->percent == percent)
			r = pthread_cond_timedwait(&cpus->changed, &cpus->lock, &until);
	}
	cpu->slice_end_ns = now_ns() + SLICE_NS;
	timer_set_ns(cpu, SLICE_NS);
}

/* Wait until the vCPU may run. false: the thread is to end. */
static bool wait_to_run(struct cpu *cpu)
{
	struct cpus *cpus = &cpu->guest->cpus;
	bool run;

	(void)pthread_mutex_lock(&cpus->lock); /* a plain mutex, not ours yet: cannot fail */
	be_off(cpu);
	while (!cpus->want_run && !cpus->quit) {
		cpu->paused = true;
		(void)pthread_cond_broadcast(&cpus->changed); /* never fails */
		(void)pthread_cond_wait(&cpus->changed, &cpus->lock);
	}
	cpu->paused = false;
	run = !cpus->quit;
	(void)pthread_mutex_unlock(&cpus->lock);
	return run;
}

/* The timer kicks this thread and no other, so only the thread itself can make it. */
static int make_timer(struct cpu *cpu)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = kick_signal() };

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	return timer_create(CLOCK_MONOTONIC, &event, &cpu->timer) < 0 ? errno : 0;
}

static void *cpu_thread(void *arg)
{
	struct cpu *cpu = arg;
	int r = make_timer(cpu);

	if (r != 0) {
		struct cpus *cpus = &cpu->guest->cpus;

		(void)pthread_mutex_lock(&cpus->lock);
		cpu->start_errno = r; /* cpus_start() waits for it */
		(void)pthread_cond_broadcast(&cpus->changed);
		(void)pthread_mutex_unlock(&cpus->lock);
		return NULL;
	}
	while (wait_to_run(cpu)) {
		run_until_kicked(cpu);
		take_kicks();
	}
	(void)timer_delete(cpu->timer);
	return NULL;
}

/* ---- set-up --------------------------------------------------------------------------------- */

/* All signals are blocked in KVM_RUN too, except for the kick. The kernel's set has 8 bytes. */
static int set_signal_mask(const struct cpu *cpu)
{
	union {
		struct kvm_signal_mask header;
		uint8_t space[sizeof(struct kvm_signal_mask) + 8];
	} mask = { .header.len = 8 };
	uint64_t set = ~(1ull << (kick_signal() - 1));

	memcpy(mask.header.sigset, &set, sizeof(set));
	return ioctl(cpu->fd, KVM_SET_SIGNAL_MASK, &mask) < 0 ? -errno : 0;
}

static int cpu_new(struct cpu *cpu, struct kvm_guest *guest, uint32_t index, struct hf_error *err)
{
	void *run;
	int r;

	*cpu = (struct cpu){ .guest = guest, .index = index };
	cpu->run_bytes = guest->vm.run_bytes;
	cpu->fd = ioctl(guest->vm.vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (cpu->fd < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_CREATE_VCPU for vCPU %u", index);
	run = mmap(NULL, cpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (run == MAP_FAILED)
		return fail(err, HF_E_SYSTEM, errno, "mapping vCPU %u", index);
	cpu->run = run;
	r = set_signal_mask(cpu);
	return r < 0 ? fail(err, HF_E_SYSTEM, -r, "KVM_SET_SIGNAL_MASK for vCPU %u", index) : 0;
}

static int make_lock(struct cpus *cpus)
{
	pthread_condattr_t attr;
	int r = pthread_mutex_init(&cpus->lock, NULL);

	if (r != 0)
		return r;
	cpus->lock_made = true;
	r = pthread_condattr_init(&attr);
	if (r != 0)
		return r;
	r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (r == 0)
		r = pthread_cond_init(&cpus->changed, &attr);
	cpus->changed_made = r == 0;
	(void)pthread_condattr_destroy(&attr);
	return r;
}

int cpus_new(struct cpus *cpus, struct kvm_guest *guest, uint32_t count, struct hf_error *err)
{
	int r;

	assert(count >= 1 && count <= HF_VCPUS_MAX);
	*cpus = (struct cpus){ 0 };
	r = make_lock(cpus);
	if (r != 0)
		return fail(err, HF_E_NO_MEMORY, r, "the vCPUs' lock");
	for (uint32_t i = 0; i < count && r == 0; i++) {
		cpus->count = i + 1; /* cpus_free() takes a half-made one too */
		r = cpu_new(&cpus->cpus[i], guest, i, err);
	}
	return r;
}

static int make_threads(struct cpus *cpus, struct hf_error *err)
{
	sigset_t all, old;
	int r;

	/* Threads inherit the mask: no signal of the process is ever handled by a vCPU. */
	(void)sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r != 0)
		return fail(err, HF_E_SYSTEM, r, "blocking signals");
	for (uint32_t i = 0; i < cpus->count && r == 0; i++) {
		struct cpu *cpu = &cpus->cpus[i];

		r = pthread_create(&cpu->thread, NULL, cpu_thread, cpu);
		cpu->thread_made = r == 0;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* worked above, works now */
	return r != 0 ? fail(err, HF_E_NO_MEMORY, r, "a thread for each vCPU") : 0;
}

static const struct cpu *first_running(const struct cpus *cpus)
{
	for (uint32_t i = 0; i < cpus->count; i++)
		if (!cpus->cpus[i].paused)
			return &cpus->cpus[i];
	return NULL;
}

int cpus_start(struct cpus *cpus, struct hf_error *err)
{
	struct timespec until = timespec_of(now_ns() + STOP_DEADLINE_NS);
	const struct cpu *missing;
	int r = make_threads(cpus, err);

	if (r != 0)
		return r;
	(void)pthread_mutex_lock(&cpus->lock);
	while ((missing = first_running(cpus)) != NULL && missing->start_errno == 0 && r == 0)
		r = pthread_cond_timedwait(&cpus->changed, &cpus->lock, &until);
	if (missing != NULL)
		r = fail(err, HF_E_NO_MEMORY, missing->start_errno, "starting vCPU %u",
			 missing->index);
	(void)pthread_mutex_unlock(&cpus->lock);
	return r;
}

void cpus_free(struct cpus *cpus)
{
	if (cpus->changed_made) {
		(void)pthread_mutex_lock(&cpus->lock);
		cpus->quit = true;
		kick_all(cpus);
		(void)pthread_cond_broadcast(&cpus->changed);
		(void)pthread_mutex_unlock(&cpus->lock);
	}
	for (uint32_t i = 0; i < cpus->count; i++) {
		struct cpu *cpu = &cpus->cpus[i];

		/* No deadline: what a vCPU still uses cannot be taken away from under it. */
		if (cpu->thread_made)
			(void)pthread_join(cpu->thread, NULL);
		if (cpu->run != NULL)
			(void)munmap(cpu->run, cpu->run_bytes);
		if (cpu->fd >= 0)
			(void)close(cpu->fd);
	}
	if (cpus->changed_made)
		(void)pthread_cond_destroy(&cpus->changed);
	if (cpus->lock_made)
		(void)pthread_mutex_destroy(&cpus->lock);
	*cpus = (struct cpus){ 0 };
}

/* ---- run, stop, throttle -------------------------------------------------------------------- */

void cpus_run(struct cpus *cpus)
{
	(void)pthread_mutex_lock(&cpus->lock);
	cpus->want_run = true;
	(void)pthread_cond_broadcast(&cpus->changed);
	(void)pthread_mutex_unlock(&cpus->lock);
}

bool cpus_are_let_run(struct cpus *cpus)
{
	bool run;

	(void)pthread_mutex_lock(&cpus->lock);
	run = cpus->want_run;
	(void)pthread_mutex_unlock(&cpus->lock);
	return run;
}

void cpus_stop_soon(struct cpus *cpus)
{
	(void)pthread_mutex_lock(&cpus->lock);
	cpus->want_run = false;
	kick_all(cpus);
	(void)pthread_cond_broadcast(&cpus->changed); /* for those that are off, throttled */
	(void)pthread_mutex_unlock(&cpus->lock);
}

int cpus_stop(struct cpus *cpus, struct hf_error *err)
{
	struct timespec until = timespec_of(now_ns() + STOP_DEADLINE_NS);
	const struct cpu *running;
	bool ran;
	int r = 0;

	(void)pthread_mutex_lock(&cpus->lock);
	ran = cpus->want_run;
	cpus->want_run = false;
	kick_all(cpus);
	(void)pthread_cond_broadcast(&cpus->changed);
	while ((running = first_running(cpus)) != NULL && r == 0)
		r = pthread_cond_timedwait(&cpus->changed, &cpus->lock, &until);
	if (running != NULL) {
		cpus->want_run = ran; /* as it was before, for those that have stopped */
		(void)pthread_cond_broadcast(&cpus->changed);
		r = fail(err, HF_E_DEADLINE, 0, "vCPU %u did not stop within %u s", running->index,
			 (unsigned int)(STOP_DEADLINE_NS / NS_PER_S));
	} else {
		r = 0;
	}
	(void)pthread_mutex_unlock(&cpus->lock);
	return r;
}

void cpus_throttle(struct cpus *cpus, uint32_t percent)
{
	assert(percent < 100);
	(void)pthread_mutex_lock(&cpus->lock);
	cpus->percent = percent;
	kick_all(cpus);
	(void)pthread_cond_broadcast(&cpus->changed);
	(void)pthread_mutex_unlock(&cpus->lock);
}
