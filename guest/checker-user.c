/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker guest's ring 3: the workload (work.h) on every vCPU, and the world as it is here.
 */
#include "boot.h"

#include <stddef.h>

static struct work_shared shared;
static struct work_vcpu vcpus[WORK_VCPUS_MAX];
static struct work_device devices[WORK_DEVICES_MAX];

_Static_assert(WORK_VCPUS_MAX == BOOT_VCPUS_MAX, "boot.h and work.h");
_Static_assert(WORK_DEVICES_MAX *VECTORS_PER_DEVICE == VECTOR_DEVICE_COUNT, "boot.h and work.h");

/* gcc calls these two on its own account. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);

void *memcpy(void *to, const void *from, size_t size)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size)::"memory");
	return to;
}

void *memset(void *to, int value, size_t size)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
	return to;
}

/* ---- the world ---------------------------------------------------------------------------------
 */

static uint64_t ticks(void *ctx)
{
	(void)ctx;
	return rdtsc();
}

static uintptr_t reg_address(uint32_t device, uint32_t bar, uint32_t offset)
{
	return (uintptr_t)checker.devices[device].bars[bar] + offset;
}

static uint64_t reg_read(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size)
{
	uintptr_t at = reg_address(device, bar, offset);

	(void)ctx;
	if (size == 1)
		return in8((uint16_t)at);
	return size == 8 ? *(volatile uint64_t *)at : *(volatile uint32_t *)at;
}

static void reg_write(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size,
		      uint64_t value)
{
	uintptr_t at = reg_address(device, bar, offset);

	(void)ctx;
	__asm__ volatile("" ::: "memory"); /* what a command reads is in memory by then */
	if (size == 1)
		out8((uint16_t)at, (uint8_t)value);
	else if (size == 8)
		*(volatile uint64_t *)at = value;
	else
		*(volatile uint32_t *)at = (uint32_t)value;
}

static uint64_t irq_count(void *ctx, uint32_t device, uint32_t vector)
{
	uint64_t count = boot_irq_counts[device * VECTORS_PER_DEVICE + vector];

	(void)ctx;
	if (checker.devices[device].kind == WORK_DEVICE_MTTY && !checker.devices[device].pin)
		return UINT64_MAX;
	__asm__ volatile("" ::: "memory"); /* what a device wrote is read after this */
	return count;
}

static bool irq_mask(void *ctx, uint32_t device, bool masked)
{
	(void)ctx;
	checker_pci_mask(device, masked);
	return true;
}

static void irq_pin(void *ctx, uint32_t device, bool pin)
{
	(void)ctx;
	checker_pci_pin(device, pin);
}

static uint64_t timer_count(void *ctx, uint32_t vcpu)
{
	(void)ctx;
	return __atomic_load_n(&checker.timer_count[vcpu][0], __ATOMIC_RELAXED);
}

static uint64_t register_seed(uint32_t vcpu)
{
	return 0x5eed000000000000ull + vcpu * 0x1000ull;
}

static bool registers_ok(void *ctx, uint32_t vcpu)
{
	uint32_t wrong = checker.avx ? boot_avx_check(register_seed(vcpu))
				     : boot_sse_check(register_seed(vcpu));

	(void)ctx;
	return wrong == 0;
}

static uint32_t console_write(void *ctx, const char *text, uint32_t length)
{
	(void)ctx;
	return checker_serial_write(text, length);
}

static int console_read(void *ctx)
{
	(void)ctx;
	return checker_serial_read();
}

static void witness(void *ctx, uint32_t word)
{
	(void)ctx;
	checker_witness(word);
}

static void finish(void *ctx, uint32_t status)
{
	(void)ctx;
	checker_power_off(status);
}

static const struct work_env env = {
	.ticks = ticks,
	.reg_read = reg_read,
	.reg_write = reg_write,
	.irq_count = irq_count,
	.irq_mask = irq_mask,
	.irq_pin = irq_pin,
	.timer_count = timer_count,
	.registers_ok = registers_ok,
	.console_write = console_write,
	.console_read = console_read,
	.witness = witness,
	.finish = finish,
};

static struct work work = {
	.env = &env,
	.shared = &shared,
	.vcpus = vcpus,
	.devices = devices,
};

/* ---- the work ----------------------------------------------------------------------------------
 */

static void set_up(void)
{
	char bad[64];
	uint32_t i;

	if (work_knobs_parse(checker.command_line, &shared.knobs, bad, sizeof(bad))) {
		checker_print("checker: cannot start: knob ");
		checker_print(bad);
		checker_print("\n");
		checker_power_off(WORK_EXIT_BAD_KNOB);
	}
	if (shared.knobs.vcpus && shared.knobs.vcpus != checker.vcpu_count) {
		checker_print("checker: cannot start: not as many vCPUs came as vcpus= asks for\n");
		checker_power_off(WORK_EXIT_BAD_KNOB);
	}
	for (i = 0; i < WORK_COMMAND_LINE_MAX; i++)
		shared.command_line[i] = checker.command_line[i];
	shared.vcpu_count = checker.vcpu_count;
	shared.device_count = checker_pci_scan(!shared.knobs.pins_off);
	shared.p2p = shared.device_count > 1;
	shared.ticks_per_ms = checker.tsc_khz;
	for (i = 0; i < shared.device_count; i++) {
		devices[i].kind = checker.devices[i].kind;
		devices[i].bar4_gpa = checker.devices[i].bars[4];
		devices[i].port_count = checker.devices[i].bars[1] ? 2 : 1;
		if (devices[i].kind != WORK_DEVICE_SIM)
			shared.p2p = 0;
	}
	/* From the top: what is above 4 GiB takes part with a small mem=, too. */
	for (i = checker.memory_count; i > 0 && shared.range_count < WORK_RANGES_MAX; i--)
		shared.ranges[shared.range_count++] = checker.memory[i - 1];
	if (work_layout(&work)) {
		checker_print("checker: cannot start: too little memory for mem=\n");
		checker_power_off(WORK_EXIT_BAD_KNOB);
	}
	work_start(&work);
	__atomic_store_n(&checker.go, 1, __ATOMIC_RELEASE);
}

void checker_user(uint64_t vcpu)
{
	if (checker.avx)
		boot_avx_set(register_seed((uint32_t)vcpu));
	else
		boot_sse_set(register_seed((uint32_t)vcpu));
	if (vcpu == 0)
		set_up();
	while (!__atomic_load_n(&checker.go, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	if (vcpu < shared.vcpu_count)
		while (work_step(&work, (uint32_t)vcpu))
			;
	for (;;)
		__asm__ volatile("pause");
}
