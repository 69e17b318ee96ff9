/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of what KVM emulates besides vCPUs. Bodies are the kernel's own structures. */
#include "platform-state.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <time.h>

#include "fail.h"

#define NS_PER_S 1000000000ull

static const uint32_t chips[] = { KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
				  KVM_IRQCHIP_IOAPIC };

int irqchip_save(const struct vm *vm, struct writer *writer, struct hf_error *err)
{
	for (size_t i = 0; i < sizeof(chips) / sizeof(chips[0]); i++) {
		struct kvm_irqchip chip = { .chip_id = chips[i] };

		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &chip) < 0)
			return fail(err, HF_E_MACHINE_STATE, errno, "KVM_GET_IRQCHIP %u", chips[i]);
		put(writer, &chip, sizeof(chip));
	}
	return 0;
}

int irqchip_load(const struct vm *vm, struct reader *reader, struct hf_error *err)
{
	struct kvm_irqchip loaded[sizeof(chips) / sizeof(chips[0])];

	take(reader, loaded, sizeof(loaded));
	if (!reader_complete(reader))
		return fail(err, HF_E_MACHINE_STATE, 0, "the interrupt controllers' length");
	for (size_t i = 0; i < sizeof(chips) / sizeof(chips[0]); i++) {
		if (loaded[i].chip_id != chips[i])
			return fail(err, HF_E_MACHINE_STATE, 0,
				    "interrupt controller %u is unknown", loaded[i].chip_id);
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &loaded[i]) < 0)
			return fail(err, HF_E_MACHINE_STATE, errno, "KVM_SET_IRQCHIP %u", chips[i]);
	}
	return 0;
}

int pit_save(const struct vm *vm, struct writer *writer, struct hf_error *err)
{
	struct kvm_pit_state2 pit = { 0 };

	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &pit) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_GET_PIT2");
	put(writer, &pit, sizeof(pit));
	return 0;
}

int pit_load(const struct vm *vm, struct reader *reader, struct hf_error *err)
{
	struct kvm_pit_state2 pit;

	take(reader, &pit, sizeof(pit));
	if (!reader_complete(reader))
		return fail(err, HF_E_MACHINE_STATE, 0, "the PIT's length");
	if (ioctl(vm->vm_fd, KVM_SET_PIT2, &pit) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_SET_PIT2");
	return 0;
}

/* ---- the clock ------------------------------------------------------------------------------ */

static uint64_t realtime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* always there */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* kvmclock and the real time at which it stood there; KVM says it exactly where it can. */
static int kvmclock_get(const struct vm *vm, uint64_t *ret_clock_ns, uint64_t *ret_realtime_ns)
{
	struct kvm_clock_data data = { 0 };

	*ret_realtime_ns = realtime_ns();
	if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &data) < 0)
		return -errno;
	*ret_clock_ns = data.clock;
	if ((data.flags & KVM_CLOCK_REALTIME) != 0)
		*ret_realtime_ns = data.realtime;
	return 0;
}

int clock_save(const struct vm *vm, const struct tsc *tsc, int cpu0_fd, struct writer *writer,
	       struct hf_error *err)
{
	uint64_t clock_ns = 0, at_ns = 0;
	int r = tsc_save(tsc, cpu0_fd, writer);

	if (r < 0)
		return fail(err, HF_E_MACHINE_STATE, -r, "reading the TSC");
	r = kvmclock_get(vm, &clock_ns, &at_ns);
	if (r < 0)
		return fail(err, HF_E_MACHINE_STATE, -r, "KVM_GET_CLOCK");
	put_u64(writer, clock_ns);
	put_u64(writer, at_ns);
	return 0;
}

/* Like the TSC, kvmclock goes on while the guest stands still. */
static int kvmclock_set(const struct vm *vm, uint64_t clock_ns, uint64_t at_ns)
{
	struct kvm_clock_data data = { .clock = clock_ns };
	bool exact = (vm_cap(vm, KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_REALTIME) != 0;

	if (exact) {
		data.flags = KVM_CLOCK_REALTIME;
		data.realtime = at_ns;
	} else {
		uint64_t now_ns = realtime_ns();

		data.clock += now_ns > at_ns ? now_ns - at_ns : 0;
	}
	return ioctl(vm->vm_fd, KVM_SET_CLOCK, &data) < 0 ? -errno : 0;
}

int clock_load(const struct vm *vm, struct tsc *tsc, int cpu0_fd, struct reader *reader,
	       struct hf_error *err)
{
	uint64_t clock_ns, at_ns;
	int r = tsc_load(tsc, cpu0_fd, reader);

	if (r < 0)
		return fail(err, HF_E_MACHINE_STATE, -r, "finding the TSC's offset");
	clock_ns = take_u64(reader);
	at_ns = take_u64(reader);
	if (!reader_complete(reader))
		return fail(err, HF_E_MACHINE_STATE, 0, "the clock's length");
	r = kvmclock_set(vm, clock_ns, at_ns);
	return r < 0 ? fail(err, HF_E_MACHINE_STATE, -r, "KVM_SET_CLOCK") : 0;
}
