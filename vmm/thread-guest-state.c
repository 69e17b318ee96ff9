/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as a session sees it: hf_machine_ops of a thread guest. The state of a "vCPU" is
 * what the workload keeps for it, as it lies in memory; the section's version is that of the
 * layout.
 */
#include "thread-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"

#define STATE_VERSION 6u /* of struct work_shared, work_vcpu, work_device, and those below */
#define SHAPE_MAGIC 0x54484f48u
#define CONFIG_BYTES 256u
#define REGION_CONFIG 7u
#define PCI_COMMAND 0x04u

struct shape {
	uint32_t magic, version, vcpu_count, p2p;
};

/* The clock's own section: on another host it goes on where it was, plus the time in between. */
struct clock_state {
	uint64_t offset, ticks, realtime_ns;
	char boot_id[40]; /* equal: the same host, and CLOCK_MONOTONIC is the same clock */
};

struct device_state {
	uint32_t version, config_bytes;
	uint64_t irq_count[THREAD_VECTORS];
	uint8_t config[CONFIG_BYTES];
};

_Static_assert(sizeof(struct work_shared) <= HF_STATE_SECTION_MAX, "must fit one section");
_Static_assert(sizeof(struct work_device) <= HF_STATE_SECTION_MAX, "must fit one section");

/* ---- shape -------------------------------------------------------------------------------------
 */

static struct shape own_shape(const struct thread_guest *guest)
{
	struct shape shape = {
		.magic = SHAPE_MAGIC,
		.version = STATE_VERSION,
		.vcpu_count = guest->guest.vcpu_count,
		.p2p = guest->shared.p2p,
	};

	return shape;
}

static int machine_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			    struct hf_error *err)
{
	struct shape shape = own_shape(self);

	if (capacity < sizeof(shape))
		return fail(err, HF_E_MACHINE_STATE, 0, "no room for the machine's shape");
	memcpy(buf, &shape, sizeof(shape));
	*ret_length = sizeof(shape);
	return 0;
}

static int machine_check(void *self, const void *buf, uint32_t length, struct hf_error *err)
{
	struct shape own = own_shape(self), shape;

	if (length != sizeof(shape))
		return fail(err, HF_E_MISMATCH, 0,
			    "the source's guest is not a thread guest, as the target's is");
	memcpy(&shape, buf, sizeof(shape));
	if (shape.magic != own.magic)
		return fail(err, HF_E_MISMATCH, 0,
			    "the source's guest is not a thread guest, as the target's is");
	if (shape.version != own.version)
		return fail(err, HF_E_MISMATCH, 0,
			    "thread guest: version %u at the source, %u at the target",
			    shape.version, own.version);
	if (shape.vcpu_count != own.vcpu_count)
		return fail(err, HF_E_MISMATCH, 0, "%u vCPUs at the source and %u at the target",
			    shape.vcpu_count, own.vcpu_count);
	if (shape.p2p != own.p2p)
		return fail(err, HF_E_MISMATCH, 0,
			    "P2P between devices: %s at the source, %s at the target",
			    shape.p2p ? "possible" : "impossible",
			    own.p2p ? "possible" : "impossible");
	return 0;
}

/* ---- sections ----------------------------------------------------------------------------------
 */

static uint64_t realtime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int boot_id_read(char *id, size_t size, struct hf_error *err)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, id, size - 1);
	int cause = errno;

	if (fd >= 0)
		(void)close(fd);
	return n <= 0 ? fail(err, HF_E_SYSTEM, n < 0 ? cause : 0, "reading the boot id") : 0;
}

static int clock_save(struct thread_guest *guest, struct clock_state *ret_clock,
		      struct hf_error *err)
{
	struct clock_state clock = {
		.offset = guest->clock_offset,
		.ticks = thread_clock(guest),
		.realtime_ns = realtime_ns(),
	};
	int r = boot_id_read(clock.boot_id, sizeof(clock.boot_id), err);

	if (r == 0)
		*ret_clock = clock;
	return r;
}

static int clock_load(struct thread_guest *guest, const struct clock_state *clock,
		      struct hf_error *err)
{
	char boot_id[sizeof(clock->boot_id)] = { 0 };
	uint64_t now = realtime_ns();
	int r = boot_id_read(boot_id, sizeof(boot_id), err);

	if (r != 0)
		return r;
	guest->clock_offset = clock->offset;
	if (memcmp(boot_id, clock->boot_id, sizeof(boot_id)) != 0) {
		/* Hosts' clocks differ: never back, at worst without the time in between. */
		guest->clock_offset = 0;
		guest->clock_offset = clock->ticks - thread_clock(guest);
		if (now > clock->realtime_ns)
			guest->clock_offset += now - clock->realtime_ns;
	}
	guest->clock_loaded = true;
	return 0;
}

static int section_put(struct hf_state_section *section, const char *name, uint32_t instance,
		       const void *state, size_t size, void *buf, uint32_t capacity,
		       struct hf_error *err)
{
	if (size > capacity)
		return fail(err, HF_E_MACHINE_STATE, 0, "section %s does not fit", name);
	*section = (struct hf_state_section){
		.instance = instance,
		.version = STATE_VERSION,
		.length = (uint32_t)size,
	};
	(void)snprintf(section->name, sizeof(section->name), "%s", name);
	memcpy(buf, state, size);
	return 0;
}

static int machine_state_save(void *self, uint32_t index, struct hf_state_section *ret_section,
			      void *buf, uint32_t capacity, struct hf_error *err)
{
	struct thread_guest *guest = self;
	struct clock_state clock;
	int r;

	if (index == 0) {
		/* One that broke a moment ago must not be handed over as if it were whole. */
		r = thread_host_check(guest, err);
		if (r == 0)
			r = clock_save(guest, &clock, err);
		return r != 0 ? r
			      : section_put(ret_section, "clock", 0, &clock, sizeof(clock), buf,
					    capacity, err);
	}
	if (index == 1)
		return section_put(ret_section, "shared", 0, &guest->shared, sizeof(guest->shared),
				   buf, capacity, err);
	index -= 2;
	if (index < guest->guest.vcpu_count)
		return section_put(ret_section, "vcpu", index, &guest->vcpus[index],
				   sizeof(guest->vcpus[index]), buf, capacity, err);
	index -= guest->guest.vcpu_count;
	if (index < guest->guest.device_count)
		return section_put(ret_section, "driver", index, &guest->work_devices[index],
				   sizeof(guest->work_devices[index]), buf, capacity, err);
	return HF_STATE_END;
}

static int shared_load(struct thread_guest *guest, const void *buf, struct hf_error *err)
{
	struct work_shared shared;

	memcpy(&shared, buf, sizeof(shared));
	if (!thread_shared_fits(guest, &shared))
		return fail(err, HF_E_MACHINE_STATE, 0,
			    "the guest's state does not fit its memory");
	guest->shared = shared;
	guest->shared_loaded = true;
	return 0;
}

static int vcpu_load(struct thread_guest *guest, uint32_t index, const void *buf,
		     struct hf_error *err)
{
	struct work_vcpu vcpu;

	memcpy(&vcpu, buf, sizeof(vcpu));
	if (!thread_vcpu_fits(guest, index, &vcpu))
		return fail(err, HF_E_MACHINE_STATE, 0, "vCPU %u's state is not possible", index);
	guest->vcpus[index] = vcpu;
	guest->vcpu_loaded[index] = true;
	return 0;
}

static int driver_load(struct thread_guest *guest, uint32_t index, const void *buf,
		       struct hf_error *err)
{
	struct work_device device;

	memcpy(&device, buf, sizeof(device));
	if (!thread_device_fits(guest, index, &device))
		return fail(err, HF_E_MACHINE_STATE, 0, "the state of %s's driver is not possible",
			    guest->guest.devices[index].name);
	guest->work_devices[index] = device;
	guest->device_loaded[index] = true;
	return 0;
}

static int machine_state_load(void *self, const struct hf_state_section *section, const void *buf,
			      struct hf_error *err)
{
	struct thread_guest *guest = self;
	const char *name = section->name;
	uint32_t i = section->instance, length = section->length;

	if (section->version != STATE_VERSION)
		return fail(err, HF_E_MACHINE_STATE, 0, "section %.31s has version %u, known is %u",
			    name, section->version, STATE_VERSION);
	if (strcmp(name, "clock") == 0 && i == 0 && length == sizeof(struct clock_state)) {
		struct clock_state clock;

		memcpy(&clock, buf, sizeof(clock));
		return clock_load(guest, &clock, err);
	}
	if (strcmp(name, "shared") == 0 && i == 0 && length == sizeof(struct work_shared))
		return shared_load(guest, buf, err);
	/* The others are checked against what is shared. */
	if (!guest->shared_loaded)
		return fail(err, HF_E_MACHINE_STATE, 0, "section %.31s came too early", name);
	if (strcmp(name, "vcpu") == 0 && i < guest->guest.vcpu_count &&
	    length == sizeof(struct work_vcpu))
		return vcpu_load(guest, i, buf, err);
	if (strcmp(name, "driver") == 0 && i < guest->guest.device_count &&
	    length == sizeof(struct work_device))
		return driver_load(guest, i, buf, err);
	return fail(err, HF_E_MACHINE_STATE, 0, "section %.31s, %u, of %u bytes is unknown here",
		    name, i, length);
}

static int machine_state_check(void *self, struct hf_error *err)
{
	struct thread_guest *guest = self;

	if (!guest->clock_loaded || !guest->shared_loaded)
		return fail(err, HF_E_MACHINE_STATE, 0, "section %s did not come",
			    guest->clock_loaded ? "shared" : "clock");
	for (uint32_t i = 0; i < guest->guest.vcpu_count; i++)
		if (!guest->vcpu_loaded[i])
			return fail(err, HF_E_MACHINE_STATE, 0, "vCPU %u did not come", i);
	for (uint32_t i = 0; i < guest->guest.device_count; i++)
		if (!guest->device_loaded[i])
			return fail(err, HF_E_MACHINE_STATE, 0, "the driver of %s did not come",
				    guest->guest.devices[i].name);
	return thread_host_check(guest, err);
}

/* ---- devices -----------------------------------------------------------------------------------
 */

static int machine_device_save(void *self, uint32_t index, void *buf, uint32_t capacity,
			       uint32_t *ret_length, struct hf_error *err)
{
	struct thread_guest *guest = self;
	const struct hf_session_device *device = &guest->guest.devices[index];
	struct device_state state = { .version = STATE_VERSION, .config_bytes = CONFIG_BYTES };
	int r;

	if (capacity < sizeof(state))
		return fail(err, HF_E_DEVICE_CONFIG, 0, "%s: no room", device->name);
	/* What it has raised and no vCPU has taken yet travels as taken. */
	r = thread_irqs_take(guest, index);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "%s: reading interrupts", device->name);
	memcpy(state.irq_count, guest->devices[index].irq_count, sizeof(state.irq_count));
	r = device->device.ops->region_read(device->device.self, REGION_CONFIG, 0, state.config,
					    sizeof(state.config));
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "%s: reading the configuration space",
			    device->name);
	memcpy(buf, &state, sizeof(state));
	*ret_length = sizeof(state);
	return 0;
}

static int machine_device_load(void *self, uint32_t index, const void *buf, uint32_t length,
			       struct hf_error *err)
{
	struct thread_guest *guest = self;
	const struct hf_session_device *device = &guest->guest.devices[index];
	struct device_state state;
	int r;

	if (length != sizeof(state))
		return fail(err, HF_E_DEVICE_CONFIG, 0, "%s: %u bytes, expected %zu", device->name,
			    length, sizeof(state));
	memcpy(&state, buf, sizeof(state));
	if (state.version != STATE_VERSION || state.config_bytes != CONFIG_BYTES)
		return fail(err, HF_E_DEVICE_CONFIG, 0, "%s: version %u is unknown", device->name,
			    state.version);
	/* There is no bus here: of the configuration space only COMMAND was ever written. */
	r = device->device.ops->region_write(device->device.self, REGION_CONFIG, PCI_COMMAND,
					     state.config + PCI_COMMAND, 2);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "%s: writing the configuration space",
			    device->name);
	memcpy(guest->devices[index].irq_count, state.irq_count, sizeof(state.irq_count));
	return thread_device_irqs_set(guest, index, err);
}

/* ---- running -----------------------------------------------------------------------------------
 */

static int machine_stop(void *self, struct hf_error *err)
{
	return thread_vcpus_stop(self, err);
}

static int machine_run(void *self, struct hf_error *err)
{
	struct thread_guest *guest = self;

	if (atomic_load(&guest->crashed)) { /* so it stays; whoever runs it hears of it */
		thread_guest_tell(guest, GUEST_EVENT_CRASH);
		return 0;
	}
	/* One that has run ends with its broken device, one that has not stays what it is. */
	if (!atomic_load(&guest->has_run)) {
		int r = thread_host_check(guest, err);

		if (r != 0)
			return r;
	}
	if (guest->shared.finished) { /* it ended before; whoever runs it hears of it */
		guest->guest.exit_status = (int)(guest->shared.halted - 1);
		thread_guest_tell(guest, GUEST_EVENT_SHUTDOWN);
	}
	atomic_store(&guest->has_run, true);
	thread_vcpus_run(guest);
	thread_host_crash(guest); /* if one has broken since it was asked above */
	return 0;
}

static int machine_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	struct thread_guest *guest = self;

	if (percent > 99)
		return fail(err, HF_E_INVALID, 0, "a throttle of %u percent", percent);
	atomic_store(&guest->throttle_percent, percent);
	return 0;
}

const struct hf_machine_ops thread_machine_ops = {
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
