/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the KVM guest share: tiny guest programs and guests made of them, a device that
 * does nothing but remember, waiting for what a guest does, and moving one guest's state into
 * another.
 */
#ifndef TESTS_VMM_TESTING_H
#define TESTS_VMM_TESTING_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/kvm-guest.h"

/* ---- programs ------------------------------------------------------------------------------- */

/* 32-bit code without relocations, entered as PVH says, at 1 MiB. */
struct program {
	const uint8_t *start, *end;
};

#define PROGRAM(name, text)                                                                        \
	extern const uint8_t name##_start[], name##_end[];                                         \
	__asm__(".pushsection .rodata\n" #name "_start:\n.code32\n" text "\n.code64\n" #name       \
		"_end:\n.popsection\n");                                                           \
	static const struct program name = { name##_start, name##_end }

/* It as a kernel, by the name /proc/self/fd/N; closed when the guest is made. */
int program_image(const struct program *program);
void program_image_close(int fd);

/* Ends the guest with status %al. */
#define PROGRAM_EXIT "mov $0x501, %edx; out %al, %dx; 9: hlt; jmp 9b;"

/* Where programs keep what tests look at. */
#define SCRATCH_GPA 0x200000u

/* ---- guests --------------------------------------------------------------------------------- */

/* Skip the test, with the reason, where no KVM guest can run. */
void require_kvm(void);

/* A guest that runs program, paused; config's kernel is set. NULL program: an incoming guest. */
struct kvm_guest *guest_with(const struct program *program, struct guest_config config,
			     const struct hf_session_device *devices, uint32_t device_count);
void guest_end(struct kvm_guest *guest);

void guest_run(struct kvm_guest *guest);
void guest_stop(struct kvm_guest *guest);

volatile void *guest_at(struct kvm_guest *guest, uint64_t gpa);

/* Wait until the guest has ended (30 s at most); GUEST_EVENT_*. */
uint32_t wait_event(struct kvm_guest *guest);
/* Wait until the word differs from value (30 s at most); returns it. */
uint32_t wait_word_change(volatile const uint32_t *word, uint32_t value);

/* ---- moving --------------------------------------------------------------------------------- */

/* describe() and check(), and all sections: what a session does, without one. */
void check_shape(struct kvm_guest *source, struct kvm_guest *target);
void copy_memory(struct kvm_guest *source, struct kvm_guest *target);
void move_state(struct kvm_guest *source, struct kvm_guest *target);
void move_device(struct kvm_guest *source, struct kvm_guest *target, uint32_t device);

/* ---- a device ------------------------------------------------------------------------------- */

#define FAKE_BAR0_SIZE 0x1000u
#define FAKE_BAR2_SIZE 0x1000u /* MSI-X */
#define FAKE_BAR4_SIZE 0x10000u /* mapped */
#define FAKE_PORTS 8u /* BAR1 */
#define FAKE_VECTORS 4u
#define FAKE_MAPS_MAX 16u

struct fake_map {
	uint64_t iova, size;
	uint32_t flags;
};

/* Four BARs, MSI and MSI-X capabilities (MSI is to be hidden), a pin, registers that remember. */
struct fake_device {
	uint8_t config[256];
	uint8_t bar0[FAKE_BAR0_SIZE];
	uint8_t ports[FAKE_PORTS];
	int bar4_fd; /* a memfd */
	uint32_t area_count; /* BAR4 can be mapped in parts only; 0: as a whole */
	struct hf_region_area areas[HF_REGION_AREAS_MAX];
	uint32_t msi_count; /* how many MSI vectors it can signal: 0, so MSI is not shown */
	uint32_t irq_count, irq_index; /* armed: MSI-X (2) or MSI (1) */
	int irqs[FAKE_VECTORS];
	int irqs_answers[3]; /* what arming INTx, MSI, MSI-X gets, if not 0 */
	bool no_pin;
	uint32_t pin_count; /* 2: armed */
	int pin[2]; /* what raises it, and what unmasks it */
	uint32_t map_count;
	struct fake_map maps[FAKE_MAPS_MAX];
	int p2p_answer; /* what mapping another device's BAR gets, if not 0 */
	uint32_t flags; /* HF_DEVICE_HAS_RESET, if it says so */
	uint32_t resets;
	int reset_answer; /* 0, or what else the next ones get */
	uint32_t calls, fail_at; /* the fail_at-th call (from 1) fails; 0: none */
	int host_eventfds[2]; /* ERR, REQ: 0 if they are not armed */
	const uint64_t *decoded_at; /* where the VMM maps a BAR, for that: */
	bool left_dark; /* told to decode no memory while that was not 0 */
	bool closed;
};

/* As the host does it: 0: ERR, 1: REQ. */
void fake_host_says(const struct fake_device *fake, uint32_t which);

/* As the device does it: raise its pin, which is armed. */
void fake_pin_raise(const struct fake_device *fake);
/* Was it unmasked since this was asked last? wait: within 30 s. */
bool fake_pin_unmasked(const struct fake_device *fake);
void fake_pin_wait_unmasked(const struct fake_device *fake);

struct fake_device *fake_new(void);
/* One whose MSI is shown: at 0x40, 64-bit, maskable, with FAKE_VECTORS vectors. */
struct fake_device *fake_new_msi(void);
void fake_free(struct fake_device *fake);
struct hf_session_device fake_session_device(struct fake_device *fake, const char *name);
/* The map that begins at iova, or NULL. */
const struct fake_map *fake_map_at(const struct fake_device *fake, uint64_t iova);

/* ---- its bus (vmm-testing-pci.c) ------------------------------------------------------------ */

/* Where the VMM puts the first fake device's BARs; a program has to know. */
#define PORTS 0xc000u
#define BAR0_GPA 0xc0000000u
#define BAR2_GPA 0xc0001000u
#define BAR4_GPA 0xc0010000u

uint32_t config_read(struct kvm_guest *guest, uint32_t slot, uint32_t offset, uint32_t size);
void config_write(struct kvm_guest *guest, uint32_t slot, uint32_t offset, uint32_t size,
		  uint32_t value);
uint32_t mmio_read(struct kvm_guest *guest, uint64_t gpa);
void mmio_write(struct kvm_guest *guest, uint64_t gpa, uint32_t value);
/* MSI-X vector index of slot 1: a message to LAPIC 0. */
void set_vector(struct kvm_guest *guest, uint32_t index, uint32_t vector, bool masked);
/* As the device does it; it must be armed. */
void signal_vector(const struct fake_device *fake, uint32_t index);
/* Is the vector in LAPIC 0's request register? KVM may deliver from a work queue of its own. */
bool requested(struct kvm_guest *guest, uint32_t vector);
bool wait_requested(struct kvm_guest *guest, uint32_t vector);
/* ... in its in-service register? The vCPUs are stopped. */
bool is_in_service(struct kvm_guest *guest, uint32_t vector);
/* The LAPIC's logical id, in the flat model. */
void set_ldr(struct kvm_guest *guest, uint8_t id);
/* A guest with its LAPIC on, paused, and its device's BARs decoded and MSI-X enabled. */
struct kvm_guest *guest_with_msix(struct fake_device *fake);

#endif
