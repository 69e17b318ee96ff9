/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker guest's ring 0, once for each vCPU: memory map, page tables, tables of the CPU, local
 * APIC, the other vCPUs. It ends with the iretq to ring 3 (checker-user.c), where all the work is;
 * afterwards only the few instructions of the interrupt handlers in boot.S run here.
 */
#include "boot.h"

#include <stddef.h>

#define E820_RAM 1u
#define GIB (1ull << 30)
#define LARGE_PAGE (2ull << 20)
#define TIMER_PERIOD 625000u /* of a 1 GHz clock by 16: 100 Hz; the rate does not matter */
#define PIT_MS 10u
#define PIT_TIMES 8u
#define OTHERS_WAIT_MS 100u /* after the last one came */

/* xen/include/public/arch-x86/hvm/start_info.h */
#define START_INFO_MAGIC 0x336ec578u

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
	uint64_t memmap_paddr; /* from version 1 on */
	uint32_t memmap_entries, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

/*
 * Ring 3 uses ports. IOPL 3 allows it, and so does the map in the TSS: some hosts run ring 3 with
 * another IOPL than the guest's own.
 */
#define IO_PORTS 0x10000u /* devices have theirs at the upper end */

struct tss {
	uint32_t reserved0;
	uint64_t rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
	uint16_t reserved3, io_map;
	uint8_t io[IO_PORTS / 8 + 1]; /* all zero: allowed; the last byte is the end mark */
} __attribute__((packed));

struct pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct checker checker;

static struct gate idt[256];
static struct tss tss[BOOT_VCPUS_MAX];

static void cpuid(uint32_t leaf, uint32_t ret[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
			 : "a"(leaf), "c"(0));
}

static void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static volatile uint32_t *lapic(uint32_t reg)
{
	return (volatile uint32_t *)(uintptr_t)(LAPIC + reg);
}

static _Noreturn void cannot_start(const char *why)
{
	checker_print("checker: cannot start: ");
	checker_print(why);
	checker_print("\n");
	checker_power_off(WORK_EXIT_BAD_KNOB);
}

void checker_exception(uint64_t vector, uint64_t error, uint64_t rip, uint64_t address)
{
	checker_print("checker: CORRUPT what=exception where=");
	checker_print_hex("rip:", rip);
	checker_print(" expected=none found=vector");
	checker_print_hex(":", vector);
	checker_print_hex(" error=", error);
	checker_print_hex(" address=", address);
	checker_print("\n");
	checker_power_off(WORK_EXIT_CORRUPT);
}

/* ---- memory ------------------------------------------------------------------------------------
 */

/* Copied before anything is written to low memory, where the VMM may have put it. */
static void start_info_copy(const struct hvm_start_info *info)
{
	const struct hvm_memmap_entry *entry;
	const char *text;
	uint32_t i;

	if (info->magic != START_INFO_MAGIC || info->version < 1 || info->memmap_paddr == 0)
		cannot_start("no memory map in the start information");
	entry = (const struct hvm_memmap_entry *)(uintptr_t)info->memmap_paddr;
	for (i = 0; i < info->memmap_entries && checker.memory_count < CHECKER_MEMMAP_MAX; i++) {
		uint64_t begin = entry[i].addr, end = entry[i].addr + entry[i].size;

		if (begin < (uintptr_t)checker_end)
			begin = (uintptr_t)checker_end;
		if (entry[i].type != E820_RAM || end <= begin)
			continue;
		checker.memory[checker.memory_count].gpa = begin;
		checker.memory[checker.memory_count++].size = end - begin;
	}
	text = (const char *)(uintptr_t)info->cmdline_paddr;
	for (i = 0; text && text[i] && i < WORK_COMMAND_LINE_MAX - 1; i++)
		checker.command_line[i] = text[i];
}

/* A page for a table, from the end of the first range. */
static uint64_t *table_take(void)
{
	struct work_range *range = &checker.memory[0];
	uint64_t *table;
	uint32_t i;

	if (range->size < 64 * 4096)
		cannot_start("too little memory for page tables");
	range->size = (range->gpa + range->size - 4096) / 4096 * 4096 - range->gpa;
	table = (uint64_t *)(uintptr_t)(range->gpa + range->size);
	for (i = 0; i < 512; i++)
		table[i] = 0;
	return table;
}

/* Everything below 4 GiB is mapped by boot.S already. */
static void map_range(const struct work_range *range, bool gib_pages)
{
	uint64_t gpa = range->gpa / LARGE_PAGE * LARGE_PAGE, end = range->gpa + range->size;

	if (end > 512 * GIB)
		cannot_start("memory above 512 GiB");
	while (gpa < end) {
		uint64_t *entry = &boot_pdpt[gpa / GIB];
		uint64_t *table;

		if (gpa < 4 * GIB) {
			if (gpa >= 3 * GIB)
				boot_pd[gpa / LARGE_PAGE] &= ~(uint64_t)PTE_UNCACHED;
			gpa += LARGE_PAGE;
			continue;
		}
		if (gib_pages) {
			*entry = gpa / GIB * GIB | PTE_LARGE;
			gpa = (gpa / GIB + 1) * GIB;
			continue;
		}
		if (*entry == 0)
			*entry = (uintptr_t)table_take() | PTE_TABLE;
		table = (uint64_t *)(uintptr_t)(*entry & ~4095ull);
		table[gpa / LARGE_PAGE % 512] = gpa | PTE_LARGE;
		gpa += LARGE_PAGE;
	}
}

static void map_memory(void)
{
	uint32_t leaf[4], i;

	cpuid(0x80000001, leaf);
	for (i = 0; i < checker.memory_count; i++)
		if (checker.memory[i].gpa + checker.memory[i].size > 3 * GIB)
			map_range(&checker.memory[i], leaf[3] >> 26 & 1);
	__asm__ volatile("mov %0, %%cr3" ::"r"(boot_pml4) : "memory");
}

/* ---- time --------------------------------------------------------------------------------------
 */

/* One measurement of PIT_MS by channel 2 of the PIT, 1.193182 MHz. */
static uint64_t pit_measure(void)
{
	uint32_t count = 1193182 / 1000 * PIT_MS;
	uint64_t begin;

	out8(0x61, (uint8_t)((in8(0x61) & ~2u) | 1)); /* gate on, speaker off */
	out8(0x43, 0xb0);
	out8(0x42, (uint8_t)count);
	out8(0x42, (uint8_t)(count >> 8));
	begin = rdtsc();
	while (!(in8(0x61) & 0x20))
		if (rdtsc() - begin > 1ull << 33)
			cannot_start("no TSC frequency in CPUID, and no PIT");
	return rdtsc() - begin;
}

/* A host that is busy can only make a measurement too long: the shortest is the best. */
static uint64_t tsc_khz_by_pit(void)
{
	uint64_t best = UINT64_MAX, ticks;
	uint32_t i;

	for (i = 0; i < PIT_TIMES; i++) {
		ticks = pit_measure();
		best = ticks < best ? ticks : best;
	}
	return best / PIT_MS;
}

static uint64_t tsc_khz(void)
{
	uint32_t leaf[4];

	cpuid(1, leaf);
	if (leaf[2] >> 31) { /* the hypervisor's own word; with TSC scaling only that is right */
		cpuid(0x40000000, leaf);
		if (leaf[0] >= 0x40000010) {
			cpuid(0x40000010, leaf);
			if (leaf[0] != 0)
				return leaf[0];
		}
	}
	cpuid(0, leaf);
	if (leaf[0] >= 0x15) {
		cpuid(0x15, leaf);
		if (leaf[0] && leaf[1] && leaf[2])
			return (uint64_t)leaf[2] * leaf[1] / leaf[0] / 1000;
	}
	return tsc_khz_by_pit();
}

/* ---- one vCPU ----------------------------------------------------------------------------------
 */

static void gate_set(uint32_t vector, const char *handler)
{
	uintptr_t at = (uintptr_t)handler;

	idt[vector].offset_low = (uint16_t)at;
	idt[vector].selector = SEL_CODE64;
	idt[vector].type = 0x8e;
	idt[vector].offset_middle = (uint16_t)(at >> 16);
	idt[vector].offset_high = (uint32_t)((uint64_t)at >> 32);
}

static void idt_build(void)
{
	uint32_t i;

	for (i = 0; i < 32; i++)
		gate_set(i, boot_on_exceptions + 16 * i);
	for (i = 0; i < VECTOR_DEVICE_COUNT; i++)
		gate_set(VECTOR_DEVICES + i, boot_on_devices + VECTOR_DEVICE_CODE * i);
	gate_set(VECTOR_TIMER, boot_on_timer);
	gate_set(VECTOR_SPURIOUS, boot_on_spurious);
}

static void avx_enable(void)
{
	uint32_t leaf[4];
	uint64_t cr4;

	cpuid(1, leaf);
	if (!(leaf[2] >> 26 & 1) || !(leaf[2] >> 28 & 1))
		return;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_OSXSAVE));
	__asm__ volatile("xsetbv" ::"c"(0), "a"(7), "d"(0));
	checker.avx = 1;
}

void checker_boot_vcpu(uint64_t vcpu)
{
	struct pointer idt_pointer = { .limit = sizeof(idt) - 1, .base = (uintptr_t)idt };
	uint64_t base = (uintptr_t)&tss[vcpu];

	tss[vcpu].rsp0 = (uintptr_t)boot_stacks + (vcpu + 1) * BOOT_STACK;
	tss[vcpu].io_map = offsetof(struct tss, io);
	tss[vcpu].io[IO_PORTS / 8] = 0xff;
	boot_gdt_tss[2 * vcpu] = (sizeof(tss[vcpu]) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
				 (base >> 24 & 0xff) << 56;
	boot_gdt_tss[2 * vcpu + 1] = base >> 32;
	__asm__ volatile("lgdt %0" ::"m"(boot_gdt_pointer));
	__asm__ volatile("lidt %0" ::"m"(idt_pointer));
	__asm__ volatile("ltr %w0" ::"r"((uint32_t)(SEL_TSS + 16 * vcpu)));
	wrmsr(MSR_GS_BASE, (uintptr_t)checker.timer_count[vcpu]);
	avx_enable();
	*lapic(0xf0) = 0x100 | VECTOR_SPURIOUS;
	*lapic(0x80) = 0; /* task priority: take everything */
	*lapic(0x3e0) = 3; /* divide by 16 */
	*lapic(0x320) = 0x20000 | VECTOR_TIMER; /* periodic */
	*lapic(0x380) = TIMER_PERIOD;
	checker.apic_id[vcpu] = *lapic(0x20) >> 24;
}

/* ---- the others --------------------------------------------------------------------------------
 */

static void wait_us(uint64_t us)
{
	uint64_t end = rdtsc() + us * checker.tsc_khz / 1000;

	while (rdtsc() < end)
		__asm__ volatile("pause");
}

/* INIT, SIPI, SIPI to all but itself (SDM volume 3, 8.4.4); who comes in time takes part. */
static void others_start(void)
{
	volatile char *low = (volatile char *)(uintptr_t)BOOT_TRAMPOLINE;
	uint64_t last;
	uint32_t count = 1, i;

	for (i = 0; boot_trampoline + i < boot_trampoline_end; i++)
		low[i] = boot_trampoline[i];
	*lapic(0x300) = 0xc4500;
	wait_us(10000);
	*lapic(0x300) = 0xc4600 | BOOT_TRAMPOLINE >> 12;
	wait_us(200);
	*lapic(0x300) = 0xc4600 | BOOT_TRAMPOLINE >> 12;
	last = rdtsc();
	while (rdtsc() - last < OTHERS_WAIT_MS * checker.tsc_khz) {
		if (boot_next_vcpu != count) {
			count = boot_next_vcpu;
			last = rdtsc();
		}
	}
	boot_closed = 1;
	count = boot_next_vcpu;
	checker.vcpu_count = count < BOOT_VCPUS_MAX ? count : BOOT_VCPUS_MAX;
}

void checker_boot(uint64_t vcpu, const struct hvm_start_info *info)
{
	checker_serial_start();
	start_info_copy(info);
	idt_build();
	out8(0x21, 0xff); /* no interrupt from the PICs */
	out8(0xa1, 0xff);
	map_memory();
	checker.tsc_khz = tsc_khz();
	checker_boot_vcpu(vcpu);
	others_start();
}
