/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's TSC across a migration. */
#include "tsc.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/kvm.h>

#define MSR_TSC 0x10u
#define SAMPLES 8u /* the one that was disturbed least counts */
#define NS_PER_S 1000000000ull

/*
 * On one host, the source's own offset is exact, and arithmetic by clocks is not: if they agree to
 * this, it is that host, or one as good.
 */
#define SAME_HOST_NS 1000000ull

/* A vCPU whose TSC is farther off the line after it was set has not been set. */
#define SET_LIMIT_NS 20000000ull

uint64_t tsc_ticks(uint64_t ns, uint32_t khz)
{
	return ns / NS_PER_S * khz * 1000 + ns % NS_PER_S * khz / 1000000;
}

static uint64_t realtime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* always there */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int ticks_get(int cpu_fd, uint64_t *ret_ticks)
{
	union {
		struct kvm_msrs header;
		uint8_t space[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msrs = { .header.nmsrs = 1 };

	msrs.header.entries[0].index = MSR_TSC;
	if (ioctl(cpu_fd, KVM_GET_MSRS, &msrs) != 1)
		return -EIO;
	*ret_ticks = msrs.header.entries[0].data;
	return 0;
}

static int ticks_set(int cpu_fd, uint64_t ticks)
{
	union {
		struct kvm_msrs header;
		uint8_t space[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msrs = { .header.nmsrs = 1 };

	msrs.header.entries[0].index = MSR_TSC;
	msrs.header.entries[0].data = ticks;
	return ioctl(cpu_fd, KVM_SET_MSRS, &msrs) == 1 ? 0 : -EIO;
}

/* -ENXIO: this KVM has no offsets. */
static int offset_access(int cpu_fd, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(cpu_fd, request, &attr) < 0 ? -errno : 0;
}

/* What the TSC was at which real time. */
static int sample(int cpu_fd, uint64_t *ret_realtime_ns, uint64_t *ret_ticks)
{
	uint64_t best_ns = UINT64_MAX;

	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint64_t before = realtime_ns(), after, ticks;
		int r = ticks_get(cpu_fd, &ticks);

		after = realtime_ns();
		if (r < 0)
			return r;
		if (after < before || after - before >= best_ns)
			continue; /* the clock was set, or somebody came between */
		best_ns = after - before;
		*ret_realtime_ns = before + best_ns / 2;
		*ret_ticks = ticks;
	}
	return best_ns == UINT64_MAX ? -EAGAIN : 0;
}

int tsc_delta(int cpu_fd, int cpu0_fd, uint64_t *ret_ticks)
{
	uint64_t offset, offset0;
	int r = offset_access(cpu_fd, KVM_GET_DEVICE_ATTR, &offset);

	if (r == 0)
		r = offset_access(cpu0_fd, KVM_GET_DEVICE_ATTR, &offset0);
	if (r == 0)
		*ret_ticks = offset - offset0;
	else if (r == -ENXIO)
		*ret_ticks = 0; /* KVM keeps them together where it cannot tell */
	return r == -ENXIO ? 0 : r;
}

int tsc_save(const struct tsc *tsc, int cpu0_fd, struct writer *writer)
{
	struct tsc_origin origin = { .khz = tsc->khz };
	int r = sample(cpu0_fd, &origin.realtime_ns, &origin.ticks);

	if (r < 0)
		return r;
	r = offset_access(cpu0_fd, KVM_GET_DEVICE_ATTR, &origin.offset);
	if (r < 0 && r != -ENXIO)
		return r;
	origin.has_offset = r == 0;
	put(writer, &origin, sizeof(origin));
	return 0;
}

/* Where vCPU 0's TSC should be at a real time. A clock that went back does not take it along. */
static uint64_t line_at(const struct tsc_origin *origin, uint64_t at_ns)
{
	uint64_t elapsed_ns = at_ns > origin->realtime_ns ? at_ns - origin->realtime_ns : 0;

	return origin->ticks + tsc_ticks(elapsed_ns, origin->khz);
}

static bool within(uint64_t a, uint64_t b, uint64_t limit)
{
	return a - b + limit <= 2 * limit; /* modulo 2^64, as TSCs count */
}

static int find_offset(struct tsc *tsc, int cpu0_fd)
{
	const struct tsc_origin *origin = &tsc->origin;
	uint64_t limit = tsc_ticks(SAME_HOST_NS, origin->khz);
	uint64_t at_ns, ticks, offset;
	int r = offset_access(cpu0_fd, KVM_GET_DEVICE_ATTR, &offset);

	if (r == 0)
		r = sample(cpu0_fd, &at_ns, &ticks);
	if (r < 0)
		return r == -ENXIO ? 0 : r;
	tsc->offset = offset + (line_at(origin, at_ns) - ticks);
	if (origin->has_offset != 0 && within(origin->offset, tsc->offset, limit))
		tsc->offset = origin->offset;
	return 0;
}

int tsc_load(struct tsc *tsc, int cpu0_fd, struct reader *reader)
{
	struct tsc_origin origin;

	take(reader, &origin, sizeof(origin));
	if (reader->bad || origin.khz == 0)
		return -EPROTO;
	tsc->origin = origin;
	return find_offset(tsc, cpu0_fd);
}

/* A KVM without TSC virtualization says it has set the offset, and has not. */
static int verify(const struct tsc *tsc, int cpu_fd, uint64_t delta_ticks)
{
	uint64_t at_ns = 0, ticks = 0;
	int r = sample(cpu_fd, &at_ns, &ticks);

	if (r < 0)
		return r;
	return within(ticks, line_at(&tsc->origin, at_ns) + delta_ticks,
		      tsc_ticks(SET_LIMIT_NS, tsc->origin.khz))
		       ? 0
		       : -EOPNOTSUPP;
}

int tsc_set(struct tsc *tsc, int cpu_fd, uint64_t delta_ticks)
{
	uint64_t offset = tsc->offset + delta_ticks;
	int r = offset_access(cpu_fd, KVM_SET_DEVICE_ATTR, &offset);

	if (r == -ENXIO)
		r = ticks_set(cpu_fd, line_at(&tsc->origin, realtime_ns()) + delta_ticks);
	return r != 0 ? r : verify(tsc, cpu_fd, delta_ticks);
}
