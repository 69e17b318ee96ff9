/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as a session sees it: hf_machine_ops of a KVM guest. Which sections there are, in
 * which order they go, and that all of them have come; what is in them is each part's own business.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "cpu-state.h"
#include "fail.h"
#include "kvm-guest.h"

#define SECTION_VERSION 1u
#define SECTION_VCPU "vcpu"

/* ---- power: how the guest ended, if it did --------------------------------------------------- */

/*
 * One that has crashed travels as such. But a device that broke a moment ago, which the main loop
 * has not heard of, must not be handed over as if it were whole.
 */
static int power_save(struct kvm_guest *guest, struct writer *writer, struct hf_error *err)
{
	if (atomic_load(&guest->ended) == 0) {
		int r = kvm_guest_check_devices(guest, err);

		if (r != 0)
			return r;
	}
	put_u32(writer, atomic_load(&guest->ended));
	put_u32(writer, (uint32_t)guest->guest.exit_status);
	put(writer, guest->guest.crash_text, sizeof(guest->guest.crash_text));
	return 0;
}

static int power_load(struct kvm_guest *guest, struct reader *reader, struct hf_error *err)
{
	uint32_t ended = take_u32(reader);
	uint32_t exit_status = take_u32(reader);
	char text[sizeof(guest->guest.crash_text)];

	take(reader, text, sizeof(text));
	if (!reader_complete(reader) ||
	    (ended & ~(GUEST_EVENT_SHUTDOWN | GUEST_EVENT_CRASH)) != 0 || exit_status > 255 ||
	    text[sizeof(text) - 1] != '\0')
		return fail(err, HF_E_MACHINE_STATE, 0, "how the guest ended cannot be read");
	guest->guest.exit_status = (int)exit_status;
	memcpy(guest->guest.crash_text, text, sizeof(text));
	guest->ending = ended != 0; /* no vCPU runs */
	atomic_store(&guest->ended, ended);
	return 0;
}

/* ---- the other platform sections, in their own files ----------------------------------------- */

static int cpu0_fd(const struct kvm_guest *guest)
{
	return guest->cpus.cpus[0].fd;
}

static int clock_section_save(struct kvm_guest *guest, struct writer *writer, struct hf_error *err)
{
	return clock_save(&guest->vm, &guest->tsc, cpu0_fd(guest), writer, err);
}

static int clock_section_load(struct kvm_guest *guest, struct reader *reader, struct hf_error *err)
{
	return clock_load(&guest->vm, &guest->tsc, cpu0_fd(guest), reader, err);
}

static int irqchip_section_save(struct kvm_guest *guest, struct writer *writer,
				struct hf_error *err)
{
	return irqchip_save(&guest->vm, writer, err);
}

static int irqchip_section_load(struct kvm_guest *guest, struct reader *reader,
				struct hf_error *err)
{
	return irqchip_load(&guest->vm, reader, err);
}

static int pit_section_save(struct kvm_guest *guest, struct writer *writer, struct hf_error *err)
{
	return pit_save(&guest->vm, writer, err);
}

static int pit_section_load(struct kvm_guest *guest, struct reader *reader, struct hf_error *err)
{
	return pit_load(&guest->vm, reader, err);
}

static int serial_section_save(struct kvm_guest *guest, struct writer *writer, struct hf_error *err)
{
	(void)err;
	serial_save(&guest->serial, writer);
	return 0;
}

static int serial_section_load(struct kvm_guest *guest, struct reader *reader, struct hf_error *err)
{
	int r = serial_load(&guest->serial, reader);

	return r < 0 ? fail(err, HF_E_MACHINE_STATE, -r, "setting the console") : 0;
}

static int pci_section_save(struct kvm_guest *guest, struct writer *writer, struct hf_error *err)
{
	(void)err;
	pci_save(&guest->pci, writer);
	return 0;
}

static int pci_section_load(struct kvm_guest *guest, struct reader *reader, struct hf_error *err)
{
	int r = pci_load(&guest->pci, reader);

	return r < 0 ? fail(err, HF_E_MACHINE_STATE, -r, "setting the PCI bus") : 0;
}

struct platform_section {
	const char *name;
	int (*save)(struct kvm_guest *guest, struct writer *writer, struct hf_error *err);
	int (*load)(struct kvm_guest *guest, struct reader *reader, struct hf_error *err);
};

/*
 * In this order they go, and after them the vCPUs, which need the clock to set their TSCs, and
 * whose LAPICs hold what the controllers have sent them.
 */
/* clang-format off */
static const struct platform_section platform_sections[] = {
	{ "clock",   clock_section_save,   clock_section_load },
	{ "irqchip", irqchip_section_save, irqchip_section_load },
	{ "pit",     pit_section_save,     pit_section_load },
	{ "serial",  serial_section_save,  serial_section_load },
	{ "pci",     pci_section_save,     pci_section_load },
	{ "power",   power_save,           power_load },
};
/* clang-format on */

#define PLATFORM_SECTIONS ((uint32_t)(sizeof(platform_sections) / sizeof(platform_sections[0])))
#define CLOCK_LOADED 1u /* bit of platform_sections[0] */

/* ---- saving --------------------------------------------------------------------------------- */

static int save_section(struct kvm_guest *guest, uint32_t index, struct hf_state_section *section,
			struct writer *writer, struct hf_error *err)
{
	const struct platform_section *platform;
	int r;

	if (index >= PLATFORM_SECTIONS) {
		section->instance = index - PLATFORM_SECTIONS;
		(void)snprintf(section->name, sizeof(section->name), "%s", SECTION_VCPU);
		return cpu_save(&guest->cpus.cpus[section->instance], &guest->vm, cpu0_fd(guest),
				writer, err);
	}
	if (index == 0) {
		/* Before any controller is read: what devices have raised must be in one place. */
		r = pci_interrupts_settle(&guest->pci, err);
		if (r != 0)
			return r;
	}
	platform = &platform_sections[index];
	(void)snprintf(section->name, sizeof(section->name), "%s", platform->name);
	return platform->save(guest, writer, err);
}

static int machine_state_save(void *self, uint32_t index, struct hf_state_section *ret_section,
			      void *buf, uint32_t capacity, struct hf_error *err)
{
	struct kvm_guest *guest = self;
	struct hf_state_section section = { .version = SECTION_VERSION };
	struct writer writer = writer_of(buf, capacity);
	int r;

	if (index >= PLATFORM_SECTIONS + guest->cpus.count)
		return HF_STATE_END;
	r = save_section(guest, index, &section, &writer, err);
	if (r == 0 && writer.overflow)
		r = fail(err, HF_E_MACHINE_STATE, 0, "section %s does not fit", section.name);
	if (r != 0)
		return r;
	section.length = writer.used;
	*ret_section = section;
	return 0;
}

/* ---- loading -------------------------------------------------------------------------------- */

static int load_vcpu(struct kvm_guest *guest, uint32_t index, struct reader *reader,
		     struct hf_error *err)
{
	int r;

	if (index >= guest->cpus.count)
		return fail(err, HF_E_MACHINE_STATE, 0, "there is no vCPU %u here", index);
	if ((guest->loaded & CLOCK_LOADED) == 0)
		return fail(err, HF_E_MACHINE_STATE, 0, "vCPU %u came before the clock", index);
	r = cpu_load(&guest->cpus.cpus[index], &guest->vm, &guest->tsc, reader, err);
	if (r == 0)
		guest->vcpus_loaded[index] = 1;
	return r;
}

static int machine_state_load(void *self, const struct hf_state_section *section, const void *buf,
			      struct hf_error *err)
{
	struct kvm_guest *guest = self;
	struct reader reader = reader_of(buf, section->length);

	if (section->version != SECTION_VERSION)
		return fail(err, HF_E_MACHINE_STATE, 0, "section %.31s has version %u, known is %u",
			    section->name, section->version, SECTION_VERSION);
	if (strncmp(section->name, SECTION_VCPU, sizeof(section->name)) == 0)
		return load_vcpu(guest, section->instance, &reader, err);
	for (uint32_t i = 0; i < PLATFORM_SECTIONS; i++) {
		int r;

		if (strncmp(section->name, platform_sections[i].name, sizeof(section->name)) != 0)
			continue;
		r = platform_sections[i].load(guest, &reader, err);
		if (r == 0)
			guest->loaded |= 1u << i;
		return r;
	}
	return fail(err, HF_E_MACHINE_STATE, 0, "section %.31s is unknown here", section->name);
}

/* The proof that the guest can run here: what can fail of that, fails now, and not when it is ours.
 */
static int machine_state_check(void *self, struct hf_error *err)
{
	struct kvm_guest *guest = self;
	int r;

	for (uint32_t i = 0; i < PLATFORM_SECTIONS; i++)
		if ((guest->loaded & (1u << i)) == 0)
			return fail(err, HF_E_MACHINE_STATE, 0, "section %s did not come",
				    platform_sections[i].name);
	for (uint32_t i = 0; i < guest->cpus.count; i++)
		if (guest->vcpus_loaded[i] == 0)
			return fail(err, HF_E_MACHINE_STATE, 0, "vCPU %u did not come", i);
	r = kvm_guest_check_devices(guest, err);
	return r == 0 ? pci_interrupts_deliver(&guest->pci, err) : r;
}

static int machine_device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
			       uint32_t *ret_length, struct hf_error *err)
{
	struct kvm_guest *guest = self;
	struct writer writer = writer_of(buf, capacity);
	int r = pci_device_save(&guest->pci, device, &writer, err);

	if (r == 0)
		*ret_length = writer.used;
	return r;
}

static int machine_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
			       struct hf_error *err)
{
	struct kvm_guest *guest = self;
	struct reader reader = reader_of(buf, length);

	return pci_device_load(&guest->pci, device, &reader, err);
}

/* ---- running -------------------------------------------------------------------------------- */

static int machine_stop(void *self, struct hf_error *err)
{
	struct kvm_guest *guest = self;

	return cpus_stop(&guest->cpus, err);
}

static int machine_run(void *self, struct hf_error *err)
{
	struct kvm_guest *guest = self;
	uint32_t ended = atomic_load(&guest->ended);
	uint32_t broken;
	int r;

	if (ended != 0) { /* it stays as it ended; whoever runs it hears of it */
		kvm_guest_tell(guest, ended);
		return 0;
	}
	/* An ioctl on a vCPU that sleeps in KVM_RUN (HLT) would wait until it wakes. */
	if (cpus_are_let_run(&guest->cpus))
		return 0;
	/* One that has run is crashed by its broken device, one that has not stays what it is. */
	if (!atomic_load(&guest->has_run)) {
		r = kvm_guest_check_devices(guest, err);
		if (r != 0)
			return r;
	}
	r = pci_interrupts_deliver(&guest->pci, err); /* an incoming guest's are already */
	if (r != 0)
		return r;
	if (atomic_load(&guest->has_run)) {
		/* Its watchdogs need not bark (-EINVAL: it does not use kvmclock). */
		for (uint32_t i = 0; i < guest->cpus.count; i++)
			(void)ioctl(guest->cpus.cpus[i].fd, KVM_KVMCLOCK_CTRL, 0ul);
	}
	atomic_store(&guest->has_run, true);
	cpus_run(&guest->cpus);
	broken = pci_host_events(&guest->pci, HOST_ERROR); /* since it was asked above */
	if (broken != 0)
		kvm_guest_crash_by(guest, broken);
	if (atomic_load(&guest->ended) != 0)
		cpus_stop_soon(&guest->cpus); /* it ended before they ran */
	return 0;
}

static int machine_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	struct kvm_guest *guest = self;

	if (percent > 99)
		return fail(err, HF_E_INVALID, 0, "a throttle of %u percent", percent);
	cpus_throttle(&guest->cpus, percent);
	return 0;
}

static int machine_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			    struct hf_error *err)
{
	return shape_describe(self, buf, capacity, ret_length, err);
}

static int machine_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	return shape_check(self, shape, length, err);
}

const struct hf_machine_ops kvm_machine_ops = {
	.size = sizeof(struct hf_machine_ops),
	.describe = machine_describe,
	.check = machine_check,
	.stop = machine_stop,
	.run = machine_run,
	.throttle = machine_throttle,
	.state_save = machine_state_save,
	.state_load = machine_state_load,
	.state_check = machine_state_check,
	.device_save = machine_device_save,
	.device_load = machine_device_load,
};
