/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For LD_PRELOAD: a wall clock that the campaign steps, for one process and without harm to the
 * host's. The step, in nanoseconds, is in the file that HOLDFAST_TEST_CLOCK names.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int clock_gettime_fn(clockid_t, struct timespec *);

static _Atomic int64_t *step;
static clock_gettime_fn *real_clock_gettime;

static __attribute__((constructor)) void begin(void)
{
	const char *path = getenv("HOLDFAST_TEST_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, sizeof(*step), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	/* POSIX lets an object's pointer be a function's; ISO C has no cast for it. */
	*(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	if (map == MAP_FAILED || !real_clock_gettime)
		abort(); /* a test that steps no clock must not pass */
	step = map;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int r = real_clock_gettime(id, now);
	int64_t ns;

	if (r != 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return r;
	ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + atomic_load(step);
	now->tv_sec = (time_t)(ns / 1000000000);
	now->tv_nsec = (long)(ns % 1000000000);
	return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec time;
	int r = clock_gettime(CLOCK_REALTIME, &time);

	(void)zone;
	now->tv_sec = time.tv_sec;
	now->tv_usec = time.tv_nsec / 1000;
	return r;
}

time_t time(time_t *ret_now)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (ret_now)
		*ret_now = now.tv_sec;
	return now.tv_sec;
}
