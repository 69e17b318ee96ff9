/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread guest's vCPUs: host threads that step the workload, and park between two steps when
 * they are told to. What a step does is guest/work.c.
 */
#include "thread-guest.h"

#include <errno.h>
#include <time.h>

#include "fail.h"

#define THROTTLE_SLICE_NS 1000000u /* work this long, then make up for it */

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct timespec to_timespec(uint64_t ns)
{
	struct timespec time = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	return time;
}

/* Off the CPU until the time is up, or the vCPU is to stop. */
static void rest(struct thread_guest *guest, uint64_t until_ns)
{
	struct timespec until = to_timespec(until_ns);
	int r = 0;

	(void)pthread_mutex_lock(&guest->lock);
	while (r == 0 && atomic_load(&guest->run))
		r = pthread_cond_timedwait(&guest->changed, &guest->lock, &until);
	(void)pthread_mutex_unlock(&guest->lock);
}

/* Step until the guest is to stop. Returns false when this vCPU will never work again. */
static bool work(struct thread_vcpu *vcpu)
{
	struct thread_guest *guest = vcpu->guest;
	uint64_t begin = now_ns();

	while (atomic_load_explicit(&guest->run, memory_order_acquire)) {
		uint32_t percent =
			atomic_load_explicit(&guest->throttle_percent, memory_order_relaxed);
		uint64_t now;

		if (!work_step(&guest->work, vcpu->index))
			return false;
		if (percent == 0)
			continue;
		now = now_ns();
		if (now - begin < THROTTLE_SLICE_NS)
			continue;
		/* A slice that began long before the throttle was set counts as one slice. */
		if (now - begin > 10 * THROTTLE_SLICE_NS)
			begin = now - THROTTLE_SLICE_NS;
		rest(guest, now + (now - begin) * percent / (100 - percent));
		begin = now_ns();
	}
	return true;
}

static void *vcpu_main(void *ctx)
{
	struct thread_vcpu *vcpu = ctx;
	struct thread_guest *guest = vcpu->guest;
	bool alive = true;

	(void)pthread_mutex_lock(&guest->lock);
	for (;;) {
		guest->parked++;
		(void)pthread_cond_broadcast(&guest->changed);
		while (!guest->quit && !(alive && atomic_load(&guest->run)))
			(void)pthread_cond_wait(&guest->changed, &guest->lock);
		if (guest->quit)
			break;
		guest->parked--;
		(void)pthread_mutex_unlock(&guest->lock);
		alive = work(vcpu);
		(void)pthread_mutex_lock(&guest->lock);
	}
	(void)pthread_mutex_unlock(&guest->lock);
	return NULL;
}

int thread_vcpus_start(struct thread_guest *guest, struct hf_error *err)
{
	for (uint32_t i = 0; i < guest->guest.vcpu_count; i++) {
		struct thread_vcpu *vcpu = &guest->threads[i];
		int r;

		vcpu->guest = guest;
		vcpu->index = i;
		r = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
		if (r != 0)
			return fail(err, HF_E_SYSTEM, r, "a thread for vCPU %u", i);
		vcpu->started = true;
		guest->thread_count++;
	}
	return 0;
}

void thread_vcpus_end(struct thread_guest *guest)
{
	(void)pthread_mutex_lock(&guest->lock);
	guest->quit = true;
	atomic_store(&guest->run, false);
	(void)pthread_cond_broadcast(&guest->changed);
	(void)pthread_mutex_unlock(&guest->lock);
	for (uint32_t i = 0; i < guest->guest.vcpu_count; i++)
		if (guest->threads[i].started)
			(void)pthread_join(guest->threads[i].thread, NULL);
}

int thread_vcpus_stop(struct thread_guest *guest, struct hf_error *err)
{
	struct timespec until = to_timespec(now_ns() + THREAD_STOP_SECONDS * 1000000000ull);
	uint32_t parked;
	int r = 0;

	(void)pthread_mutex_lock(&guest->lock);
	atomic_store(&guest->run, false);
	(void)pthread_cond_broadcast(&guest->changed);
	while (r == 0 && guest->parked < guest->thread_count)
		r = pthread_cond_timedwait(&guest->changed, &guest->lock, &until);
	parked = guest->parked;
	(void)pthread_mutex_unlock(&guest->lock);
	if (parked < guest->thread_count)
		return fail(err, HF_E_MACHINE_STATE, r, "%u of %u vCPUs do not stop",
			    guest->thread_count - parked, guest->thread_count);
	return 0;
}

void thread_vcpus_run(struct thread_guest *guest)
{
	(void)pthread_mutex_lock(&guest->lock);
	if (!atomic_load(&guest->crashed)) /* a device may break at any moment */
		atomic_store(&guest->run, true);
	(void)pthread_cond_broadcast(&guest->changed);
	(void)pthread_mutex_unlock(&guest->lock);
}
