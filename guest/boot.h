/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers that boot.S and the checker's C files share. No C in the part that boot.S sees.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#define BOOT_VCPUS_MAX 64
#define BOOT_STACK 0x1000
#define BOOT_USER_STACK 0x4000
#define BOOT_TRAMPOLINE 0x8000 /* after the start information has been copied: free memory */

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_USER_DATA 0x20
#define SEL_USER_CODE 0x28
#define SEL_TSS 0x30 /* of vCPU 0; 16 bytes each */

#define PTE_TABLE 0x07 /* present, writable, for ring 3 too */
#define PTE_LARGE 0x87 /* the same, and a large page */
#define PTE_UNCACHED 0x18 /* PCD, PWT */

#define CR0_RUN 0x80010033 /* PG, WP, NE, ET, MP, PE; caches on */
#define CR4_PAE 0x20
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define CR4_OSXSAVE 0x40000
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define MSR_GS_BASE 0xc0000101
#define RFLAGS_IF 0x200
#define RFLAGS_IOPL3 0x3000

#define LAPIC 0xfee00000
#define LAPIC_EOI 0xfee000b0
#define LAPIC_ISR 0xfee00100 /* 32 vectors in each 16 bytes */

#define IOAPIC 0xfec00000
#define IOAPIC_PINS 24

#define VECTOR_TIMER 0x30
#define VECTOR_DEVICES 0x40
#define VECTORS_PER_DEVICE 2 /* completion, beat; of an edu its pin, MSI */
#define VECTOR_DEVICE_COUNT 64
#define VECTOR_DEVICE_CODE 128 /* bytes of a handler */
#define VECTOR_SPURIOUS 0xff

#ifndef __ASSEMBLER__

#include <stdint.h>

#include "work.h"

#define CHECKER_MEMMAP_MAX 32u

/* What checker_boot() leaves for ring 3. */
struct checker {
	char command_line[WORK_COMMAND_LINE_MAX];
	struct work_range memory[CHECKER_MEMMAP_MAX]; /* free memory */
	uint32_t memory_count;
	uint32_t vcpu_count;
	uint64_t tsc_khz;
	uint32_t avx;
	uint32_t apic_id[BOOT_VCPUS_MAX];
	uint64_t timer_count[BOOT_VCPUS_MAX][8]; /* a cache line each; GS base */
	volatile uint32_t go; /* the work is set up */
	struct {
		uint64_t bars[6]; /* addresses, or ports of an mtty; 0: none */
		uint32_t kind; /* enum work_device_kind */
		uint32_t function; /* on bus 0 */
		uint32_t msi; /* its capability in configuration space; 0: the driver uses none */
		uint32_t pin; /* an mtty's, or an edu's, is used */
	} devices[WORK_DEVICES_MAX];
};

extern struct checker checker;

/* boot.S */
extern uint64_t boot_pml4[512], boot_pdpt[512], boot_pd[4 * 512];
extern uint64_t boot_gdt_tss[2 * BOOT_VCPUS_MAX];
extern const char boot_gdt_pointer[], boot_trampoline[], boot_trampoline_end[];
extern const char boot_on_timer[], boot_on_spurious[], boot_on_devices[], boot_on_exceptions[];
extern volatile uint64_t boot_irq_counts[VECTOR_DEVICE_COUNT];
extern uint32_t boot_acks[VECTOR_DEVICE_COUNT]; /* 0, or where ones take the interrupt back */
extern volatile uint32_t boot_next_vcpu, boot_closed;
extern volatile uint32_t boot_isr_counts; /* only interrupts that the LAPIC knows of count */
extern char checker_end[], boot_stacks[];
void boot_sse_set(uint64_t seed);
uint32_t boot_sse_check(uint64_t seed);
void boot_avx_set(uint64_t seed);
uint32_t boot_avx_check(uint64_t seed);

/* checker.c, called by boot.S */
struct hvm_start_info;
void checker_boot(uint64_t vcpu, const struct hvm_start_info *info);
void checker_boot_vcpu(uint64_t vcpu);
void checker_exception(uint64_t vector, uint64_t error, uint64_t rip, uint64_t address);
_Noreturn void checker_user(uint64_t vcpu);

/* checker-ports.c */
void checker_serial_start(void);
uint32_t checker_serial_write(const char *text, uint32_t length); /* what goes without waiting */
int checker_serial_read(void);
void checker_print(const char *text); /* waits; for the end */
void checker_print_hex(const char *name, uint64_t value);
void checker_witness(uint32_t word);
_Noreturn void checker_power_off(uint32_t status);

/*
 * checker-pci.c: find the devices that there are drivers for and set them up, with their interrupt
 * pins or without; returns how many.
 */
uint32_t checker_pci_scan(bool pins);
/* Mask a device's MSI, or no longer; from any vCPU. */
void checker_pci_mask(uint32_t device, bool masked);
/* A device that has both interrupts by its pin, or by MSI; from any vCPU. */
void checker_pci_pin(uint32_t device, bool pin);

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

#endif
#endif
