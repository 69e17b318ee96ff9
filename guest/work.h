/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload that shows whether a guest came through a migration whole: what the checker guest
 * (bare metal) and the thread guest (vmm/thread-guest.c) both run. docs/checker.md explains what it
 * proves, its knobs and its report lines.
 *
 * It is a set of state machines without a stack of their own: each vCPU calls work_step() over and
 * over, which does a few microseconds of work. All that must migrate is in struct work_shared,
 * work_vcpu and work_device and in guest memory; it holds guest-physical addresses and no pointer.
 * Freestanding: no libc. The world comes in through struct work_env.
 */
#ifndef GUEST_WORK_H
#define GUEST_WORK_H

#include <stdbool.h>
#include <stdint.h>

#define WORK_VCPUS_MAX 64u
#define WORK_DEVICES_MAX 32u
#define WORK_RANGES_MAX 8u
#define WORK_SLOTS_MAX 64u
#define WORK_CONSOLE_MAX 4096u
#define WORK_CORRUPT_MAX 8u /* CORRUPT lines that are kept; more add nothing */
#define WORK_COMMAND_LINE_MAX 512u
#define WORK_DMA_LEN_MAX (1u << 20)

#define WORK_EXIT_CLEAN 0u /* stop_after has passed and all was clean */
#define WORK_EXIT_BAD_KNOB 2u /* the command line, or too little memory */
#define WORK_EXIT_CORRUPT 3u

/* What can be wrong: X(name, text behind what=). */
/* clang-format off */
#define WORK_CORRUPT_LIST(X) \
	X(PAGE_LOST,       "page-lost")          /* all zero where there was content */ \
	X(PAGE_STALE,      "page-stale")         /* an older generation */ \
	X(PAGE_AHEAD,      "page-ahead")         /* a newer one than was ever written */ \
	X(PAGE_MISPLACED,  "page-misplaced")     /* another page's content */ \
	X(PAGE_DAMAGED,    "page-damaged")       /* the right header, a wrong word */ \
	X(PAGE_NOT_ZERO,   "page-not-zero")      /* a zero page has content */ \
	X(TABLE,           "generation-table")   /* its sum is not the number of writes */ \
	X(DEVICE_GONE,     "device-gone")        /* it does not answer as the device it was */ \
	X(DEVICE_FAULT,    "device-fault")       /* a command failed */ \
	X(DEVICE_ERRORS,   "device-errors")      /* its ERRORS register counts */ \
	X(COMMAND_LOST,    "command-lost")       /* submitted and never completed */ \
	X(COMMAND_COUNT,   "command-count")      /* SUBMITTED or COMPLETED is not ours */ \
	X(COMPLETION,      "completion")         /* the entry of the ring is wrong */ \
	X(INTERRUPT_LOST,  "interrupt-lost")     /* completed, and no interrupt came */ \
	X(INTERRUPT_STORM, "interrupt-storm")    /* far more interrupts than reasons */ \
	X(INTERRUPT_AGAIN, "interrupt-repeated") /* one that the driver had before */ \
	X(DMA_DATA,        "dma-data")           /* what a command wrote is not there */ \
	X(DMA_SUM,         "dma-sum")            /* it read something else than is there */ \
	X(P2P_DATA,        "p2p-data")           /* the same, in another device's memory */ \
	X(STATE_WORD,      "state-word")         /* the device's internal state */ \
	X(BAR_MEMORY,      "bar-memory")         /* the device's memory, BAR4 */ \
	X(UART_REGISTER,   "uart-register")      /* a register of an mtty's port */ \
	X(UART_DATA,       "uart-data")          /* a byte that such a port gives back */ \
	X(BEAT_REPEATED,   "beat-repeated")      /* the beat counter went back */ \
	X(BEAT_LOST,       "beat-lost")          /* a beat is missing in the ring */ \
	X(BEAT_STOPPED,    "beat-stopped")       /* no beat for long */ \
	X(BEAT_INTERRUPT,  "beat-interrupt-lost") /* beats, but none of their interrupts */ \
	X(CLOCK_BACK,      "clock-backwards")    /* a vCPU's TSC */ \
	X(REGISTERS,       "registers")          /* a vCPU's vector registers */ \
	X(TIMER_LOST,      "timer-lost")         /* a vCPU's timer interrupts stopped */ \
	X(EXCEPTION,       "exception")          /* the CPU raised one */ \
	X(VCPU_STOPPED,    "vcpu-stopped")       /* a vCPU does not work any more */
/* clang-format on */

#define WORK_CORRUPT_ENUM_(name, text) WORK_CORRUPT_##name,
enum work_corrupt { WORK_CORRUPT_LIST(WORK_CORRUPT_ENUM_) WORK_CORRUPT_COUNT };
#undef WORK_CORRUPT_ENUM_

/* What a CORRUPT line says: where is "UNIT NUMBER : PART PART_NUMBER : word WORD". */
struct work_corrupt_record {
	uint32_t what; /* enum work_corrupt */
	uint32_t number; /* of the vCPU or of the device */
	char unit[8]; /* "vcpu", "device" */
	char part[8]; /* "page", "slot", "port", ...; "" none */
	uint64_t part_number;
	uint64_t word;
	uint64_t expected, found;
};

enum work_order { WORK_ORDER_RANDOM = 0, WORK_ORDER_LINEAR = 1 };

enum work_selftest {
	WORK_SELFTEST_NONE = 0,
	WORK_SELFTEST_WORD = 1, /* one bit in a page's body, or tail */
	WORK_SELFTEST_STALE = 2, /* a page as it was one generation ago */
	WORK_SELFTEST_LOST = 3, /* a page all zero */
	WORK_SELFTEST_TABLE = 4, /* a page and its expected generation, both as they were before */
	WORK_SELFTEST_IRQ = 5, /* overlook an interrupt */
	WORK_SELFTEST_DMA = 6, /* one bit of what a device wrote */
	WORK_SELFTEST_COMMAND = 7, /* forget a command that the device has carried out */
	WORK_SELFTEST_UART = 8, /* one bit of a register of an mtty */
};

struct work_knobs {
	uint64_t mem_mib; /* 0: all there is */
	uint64_t rate; /* pages/s of the whole guest; 0: as fast as it goes */
	uint64_t dma; /* commands/s of each device; 0: none; WORK_MAX: as fast as it goes */
	uint64_t seed;
	uint32_t zero_percent, comp_percent;
	uint32_t header_only; /* touch=header */
	uint32_t order; /* enum work_order */
	uint32_t dma_len; /* bytes */
	uint32_t beat_us;
	uint32_t report_ms;
	uint32_t stop_after_s; /* 0: never */
	uint32_t vcpus; /* expected; 0: those that come (checker guest only) */
	uint32_t witness_us; /* between two of a vCPU's words to the witness; 0: none */
	uint32_t registers_off; /* registers=off */
	uint32_t pins_off; /* pins=off (checker guest only) */
	uint32_t selftest; /* enum work_selftest */
};

#define WORK_MAX UINT64_MAX

/* What a vCPU says to the witness: who it is, and for the how manieth time, from 1. */
#define WORK_WITNESS_WORD(vcpu, count) ((uint32_t)(vcpu) << 26 | ((uint32_t)(count)&0x3ffffffu))

struct work_range {
	uint64_t gpa, size;
};

/* What all vCPUs share. Written by vCPU 0, unless it says atomic. */
struct work_shared {
	struct work_knobs knobs;
	uint32_t vcpu_count, device_count;
	uint32_t range_count;
	uint32_t p2p; /* devices can reach each other's memory */
	struct work_range ranges[WORK_RANGES_MAX]; /* the pages of the workload, in order */
	uint64_t page_count;
	uint64_t ticks_per_ms;
	uint64_t start_ticks;
	uint64_t next_report_ticks, next_poll_ticks;

	uint64_t pass_wanted; /* atomic; all verify pass number so, or have */
	uint64_t pass; /* ended by all */
	uint64_t verdict_pass; /* the verdict is given when pass reaches this; 0: nobody asked */
	uint64_t stop_pass; /* the same for stop_after */
	uint64_t gap_max; /* ticks; of all vCPUs */
	uint32_t selftest_done;
	uint32_t halted; /* atomic; 1 + exit status: no more work, print and finish */
	uint32_t finished; /* the exit status has been given */
	uint32_t corrupt_count; /* atomic; may exceed WORK_CORRUPT_MAX */
	uint32_t corrupt_printed;
	uint64_t halted_ticks; /* vCPU 0's run_ticks when it saw halted */
	struct work_corrupt_record corrupt[WORK_CORRUPT_MAX];

	uint32_t console_used, console_sent;
	char console[WORK_CONSOLE_MAX];
	char command_line[WORK_COMMAND_LINE_MAX];
};

/* One vCPU's: its pages, where it stands in them, its clock. Written by this vCPU alone. */
struct work_vcpu {
	uint64_t first_page, page_count;
	uint64_t table_gpa; /* of uint32_t for each page: the generation that it must have */
	uint64_t random;
	uint64_t write_cursor; /* order=linear */
	uint64_t fill_cursor; /* == page_count: every page has been written once */
	uint64_t verify_cursor, verify_sum;
	uint64_t writes, verified, generation_max; /* atomic */
	uint64_t memory_pass_done; /* its pages; pass_done: its devices, too; atomic */
	uint64_t pass_done;
	uint32_t verifying, halted; /* halted: atomic; has seen shared.halted */

	uint64_t last_ticks; /* when the last step began */
	uint64_t run_ticks; /* time without gaps: what deadlines are counted in */
	uint64_t credit_ticks; /* for rate= */
	uint64_t gap_max;
	uint64_t gap_recent; /* atomic; taken by each report */
	uint64_t steps; /* atomic */
	uint64_t timer_count, timer_run_ticks;
	uint64_t steps_seen, steps_seen_ticks; /* vCPU 0's, to see whether this one works */
	uint64_t witness_count, witness_ticks; /* words so far; when the next one is due */
};

enum work_device_state { WORK_DEVICE_NEW = 0, WORK_DEVICE_IDLE = 1, WORK_DEVICE_WAITING = 2 };

enum work_command { WORK_FILL = 0, WORK_COPY = 1, WORK_SUM = 2, WORK_P2P = 3, WORK_COMMANDS = 4 };

/* Which driver; by the PCI function's ids. */
enum work_device_kind {
	WORK_DEVICE_SIM = 0, /* the simulated device (holdfast/sim.h) */
	WORK_DEVICE_MTTY = 1, /* the kernel's sample migration driver */
	WORK_DEVICE_LABDMA = 2, /* the lab's device that does DMA (docs/lab.md) */
	WORK_DEVICE_EDU = 3, /* QEMU's edu, a PCI function by vfio-pci; under KVM only */
};

#define WORK_MTTY_VENDOR_ID 0x4348u
#define WORK_MTTY_DEVICE_ID 0x3253u
#define WORK_LABDMA_VENDOR_ID 0x1b36u
#define WORK_LABDMA_DEVICE_ID 0x1dabu
#define WORK_EDU_VENDOR_ID 0x1234u
#define WORK_EDU_DEVICE_ID 0x11e8u
#define WORK_EDU_LOWER 0x64u /* its register that takes interrupts back */
#define WORK_EDU_PAGES 8u /* that an edu writes to */
#define WORK_WINDOW_PAGES 24u /* that a labdma writes to */
#define WORK_LABDMA_IRQS_PER_PASS 4u /* of which one is held back for a while */
#define WORK_UARTS_MAX 2u
#define WORK_UART_FIFO 16u /* bytes; of which at most 15 are used */

/* Is a labdma's interrupt masked, and has the device raised one since? */
enum work_irq_held { WORK_IRQ_FREE = 0, WORK_IRQ_MASKED = 1, WORK_IRQ_HELD = 2 };

/* One port of an mtty, as its driver has left it. */
struct work_uart {
	uint64_t sent, received; /* bytes; its FIFO holds those in between */
	uint32_t divisor;
	uint8_t lcr, ier, mcr, scr;
	uint32_t latched; /* LCR's DLAB: the divisor is seen, and not the FIFO */
	uint32_t single; /* its FIFO is off */
	uint32_t overrun; /* a byte came for which there was no room, and none since */
	uint32_t reserved;
};

/*
 * One device's driver. What one kind alone has is at the end; of the rest, others than the
 * simulated device use what is not about its commands. Written by the vCPU that drives it alone.
 */
struct work_device {
	uint32_t kind; /* enum work_device_kind */
	uint32_t port_count; /* of an mtty */
	uint64_t bar4_gpa; /* for other devices' DMA */
	uint64_t ring_gpa, source_gpa, slots_gpa, beat_gpa;
	uint32_t vcpu;
	uint32_t state; /* enum work_device_state */
	uint32_t slot_count;
	uint32_t command, slot; /* of the command under way */
	uint32_t verify_slot, verify_phase, verify_i;
	uint32_t selftest_slot; /* 1 + the slot to damage */
	uint32_t overlook; /* interrupts, selftest=irq */
	uint64_t state_blocks;
	uint64_t commands; /* submitted since reset = sequence of the last */
	uint64_t completed; /* by us, for reports; atomic */
	uint64_t cycle_target; /* the pass goes on when so many are done */
	uint64_t irq_seen; /* vector 0 */
	uint64_t irqs, spurious; /* atomic */
	uint64_t submit_run_ticks, next_run_ticks;
	uint64_t sum;
	uint64_t bar_generation, p2p_sequence;
	uint64_t beats; /* seen; atomic */
	uint64_t beat_run_ticks, beat_poll_run_ticks, beats_skipped;
	uint64_t beat_irqs, beat_irq_run_ticks, beat_irq_beats;
	uint64_t pass_done;
	uint64_t random;
	uint64_t slot_sequence[WORK_SLOTS_MAX]; /* 0: nothing there yet */
	uint8_t slot_command[WORK_SLOTS_MAX];

	uint32_t selftest_port, reserved; /* selftest=uart */
	struct work_uart uarts[WORK_UARTS_MAX];

	uint64_t window_gpa, beats_target; /* of a labdma */
	uint64_t irq_target, irq_run_ticks; /* of a labdma or an mtty */
	uint64_t irq_asked, irq_asked_all; /* of an mtty: reasons for one, since the last; ever */
	uint32_t scratch, memory_crc;
	uint32_t irq_number; /* of the last interrupt that it had */
	uint32_t irq_held; /* enum work_irq_held */
};

/*
 * The world, as the guest brings it. vector is the device's own (0 completion, 1 beat; of an edu 0
 * its pin, 1 MSI).
 */
struct work_env {
	void *ctx;
	uint8_t *ram; /* where guest-physical address 0 is; NULL on bare metal */
	uint64_t (*ticks)(void *ctx);
	/*
	 * Ones for a device that does not answer, as on a PCI bus. bar is 0 or 4 and size 4 or 8;
	 * of an mtty 0 or 1, and size 1; of a labdma 0 or 2, and 4; of an edu 0.
	 */
	uint64_t (*reg_read)(void *ctx, uint32_t device, uint32_t bar, uint32_t offset,
			     uint32_t size);
	void (*reg_write)(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size,
			  uint64_t value);
	/* UINT64_MAX: here an mtty has none. */
	uint64_t (*irq_count)(void *ctx, uint32_t device, uint32_t vector);
	/* Of a labdma: hold its interrupt back, or no longer. False: here that cannot be done. */
	bool (*irq_mask)(void *ctx, uint32_t device, bool masked);
	/* Of an edu, which threads have none of: it interrupts by its pin, or by MSI. */
	void (*irq_pin)(void *ctx, uint32_t device, bool pin);
	/* Timer interrupts of a vCPU so far; UINT64_MAX if it has no timer. */
	uint64_t (*timer_count)(void *ctx, uint32_t vcpu);
	/* Are the vCPU's registers as they were set? Called by this vCPU. */
	bool (*registers_ok)(void *ctx, uint32_t vcpu);
	/* Bytes taken, 0..length. */
	uint32_t (*console_write)(void *ctx, const char *text, uint32_t length);
	int (*console_read)(void *ctx); /* a byte, or -1 */
	/* WORK_WITNESS_WORD(); somebody outside has it before this returns. */
	void (*witness)(void *ctx, uint32_t word);
	void (*finish)(void *ctx, uint32_t status); /* by vCPU 0, once, after the last line */
};

/* All of it together; belongs to the guest, does not migrate. */
struct work {
	const struct work_env *env;
	struct work_shared *shared;
	struct work_vcpu *vcpus;
	struct work_device *devices;
};

/*
 * Set up. The caller has zeroed all structs, and filled in shared->vcpu_count, ->device_count,
 * ->p2p (only if all devices are simulated ones), ->ticks_per_ms, ->ranges (all free memory), and
 * the devices' kind, and bar4_gpa or port_count.
 */

/* 0, or -1 with the text of the knob that is wrong in bad. */
int work_knobs_parse(const char *command_line, struct work_knobs *ret_knobs, char *bad,
		     uint32_t bad_size);
/* Divide the memory: 0, or -1 if there is too little for the knobs. */
int work_layout(struct work *work);
/* Print the first line, start the clocks. */
void work_start(struct work *work);

/* A few microseconds of work of one vCPU. Returns false when there will never be any again. */
bool work_step(struct work *work, uint32_t vcpu);

/* Ask for a verdict, as the byte 'v' on the console does; by vCPU 0. */
void work_verdict_ask(struct work *work);

const char *work_corrupt_text(enum work_corrupt what);

/* ---- between the files of the workload --------------------------------------------------------
 */

#define WORK_GAP_CLIP_MS 10u /* what a gap of any length adds to run_ticks at most */
#define WORK_STORM 1000u /* interrupts without reason; a few are fair (checker.md) */
#define WORK_LOST_MS 5000u /* of run_ticks, after which something that did not come is lost */

static inline void *work_ptr(const struct work *work, uint64_t gpa)
{
	return (void *)((uintptr_t)work->env->ram + (uintptr_t)gpa);
}

/* A counter that its owner alone writes, and vCPU 0 reads for its reports. */
static inline void work_count(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline uint64_t work_counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* xorshift64*; the state must not be 0. */
static inline uint64_t work_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

/* Evenly in 0..limit - 1; limit fits 32 bits. */
static inline uint64_t work_below(uint64_t random, uint64_t limit)
{
	return ((random >> 32) * limit) >> 32;
}

void work_corrupt_add(struct work *work, const struct work_corrupt_record *record);

void work_memory_step(struct work *work, uint32_t vcpu, uint64_t elapsed);
void work_memory_damage(struct work *work, uint32_t selftest);

/* A device's driver: of the simulated device, of an mtty, of a labdma, of an edu. */
void work_device_step(struct work *work, uint32_t device);
void work_mtty_step(struct work *work, uint32_t device);
void work_labdma_step(struct work *work, uint32_t device);
void work_edu_step(struct work *work, uint32_t device);
/* One piece of the verification of pass number wanted; while no command is under way. */
void work_device_verify(struct work *work, uint32_t device, uint64_t wanted);
/* Is what command number sequence of the device wrote still there? */
void work_slot_check(struct work *work, uint32_t device, uint32_t slot);
void work_p2p_check(struct work *work, uint32_t device, uint32_t first, uint32_t count);
void work_device_corrupt(struct work *work, uint32_t device, enum work_corrupt what,
			 uint64_t expected, uint64_t found);

#define WORK_RING_ENTRIES 256u
#define WORK_BEAT_ENTRIES 4096u
#define WORK_P2P_WORDS 32u /* of each device in its neighbour's memory */
#define WORK_P2P_OFFSET 0x8000u /* there; the lower half of BAR4 is its own driver's */
#define WORK_P2P_STRIDE 0x400u

static inline uint32_t work_peer(const struct work *work, uint32_t device)
{
	return (device + 1) % work->shared->device_count;
}

static inline uint64_t work_reg(const struct work *work, uint32_t device, uint32_t offset,
				uint32_t size)
{
	return work->env->reg_read(work->env->ctx, device, 0, offset, size);
}

static inline void work_reg_set(const struct work *work, uint32_t device, uint32_t offset,
				uint32_t size, uint64_t value)
{
	work->env->reg_write(work->env->ctx, device, 0, offset, size, value);
}

static inline uint64_t work_bar4(const struct work *work, uint32_t device, uint32_t offset)
{
	return work->env->reg_read(work->env->ctx, device, 4, offset, 8);
}

void work_console_step(struct work *work);
bool work_console_empty(const struct work *work);
void work_report_start(struct work *work);
/*
 * One line with all the numbers; 0: left out, the console is too far behind. One with a head of its
 * own has room when those without have none any more.
 */
int work_report(struct work *work, const char *head);
void work_report_corrupt(struct work *work);

#endif
