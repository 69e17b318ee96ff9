/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vCPU's state. In the section: parts, each {u32 tag, u32 length, body}; bodies are the
 * kernel's own structures, whose layout is its ABI on x86-64. A part that this code does not know
 * is an error: it would be state thrown away.
 *
 * The order matters to KVM: MP_STATE is read first, since reading it settles INIT and SIPI; the
 * LAPIC is set after SREGS, which has its base and mode; the TSC deadline is set after LAPIC and
 * TSC, or it would fire at once; events come late, since setting other things raises some.
 */
#include "cpu-state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "fail.h"

#define MSR_TSC 0x10u
#define MSR_TSC_DEADLINE 0x6e0u
#define XSAVE_MAX (16u << 10) /* AMX, the largest, needs 11 KiB */

enum part {
	PART_MP_STATE = 1,
	PART_REGS = 2,
	PART_SREGS = 3,
	PART_SREGS2 = 4,
	PART_XCRS = 5,
	PART_XSAVE = 6,
	PART_DEBUGREGS = 7,
	PART_MSRS = 8,
	PART_LAPIC = 9,
	PART_EVENTS = 10,
	PART_TSC_DELTA = 11, /* ticks relative to vCPU 0 */
	PART_COUNT
};

struct part_ioctl {
	enum part part;
	const char *name;
	unsigned long get, set;
	uint32_t length;
};

/* clang-format off */
static const struct part_ioctl mp_state = { PART_MP_STATE, "MP_STATE",
	KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state) };
static const struct part_ioctl regs = { PART_REGS, "REGS",
	KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs) };
static const struct part_ioctl sregs = { PART_SREGS, "SREGS",
	KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs) };
static const struct part_ioctl sregs2 = { PART_SREGS2, "SREGS2",
	KVM_GET_SREGS2, KVM_SET_SREGS2, sizeof(struct kvm_sregs2) };
static const struct part_ioctl xcrs = { PART_XCRS, "XCRS",
	KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs) };
static const struct part_ioctl debugregs = { PART_DEBUGREGS, "DEBUGREGS",
	KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs) };
static const struct part_ioctl lapic = { PART_LAPIC, "LAPIC",
	KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state) };
static const struct part_ioctl events = { PART_EVENTS, "VCPU_EVENTS",
	KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events) };
/* clang-format on */

/* ---- saving --------------------------------------------------------------------------------- */

static void *part_begin(struct writer *writer, enum part part, uint32_t length)
{
	void *body;

	put_u32(writer, (uint32_t)part);
	put_u32(writer, length);
	body = put_space(writer, length);
	if (body != NULL)
		memset(body, 0, length);
	return body;
}

static int part_save(const struct cpu *cpu, const struct part_ioctl *part, struct writer *writer,
		     struct hf_error *err)
{
	void *body = part_begin(writer, part->part, part->length);

	if (body == NULL)
		return fail(err, HF_E_MACHINE_STATE, 0, "no room for %s", part->name);
	if (ioctl(cpu->fd, part->get, body) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_GET_%s", part->name);
	return 0;
}

/* Its size depends on what the guest may use: KVM_CAP_XSAVE2 says how many bytes are written. */
static int xsave_save(const struct cpu *cpu, const struct vm *vm, struct writer *writer,
		      struct hf_error *err)
{
	bool large = vm->xsave_bytes > sizeof(struct kvm_xsave);
	void *body = part_begin(writer, PART_XSAVE, vm->xsave_bytes);

	if (body == NULL)
		return fail(err, HF_E_MACHINE_STATE, 0, "no room for XSAVE");
	if (ioctl(cpu->fd, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, body) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_GET_XSAVE");
	return 0;
}

static bool msr_travels(uint32_t index)
{
	return index != MSR_TSC; /* tsc.c */
}

/*
 * All that KVM lists, as {u32 index, u32 0, u64 value}. One that this vCPU does not have (it
 * follows from CPUID) cannot be read, holds nothing and stays out.
 */
static int msrs_save(const struct cpu *cpu, const struct vm *vm, struct writer *writer,
		     struct hf_error *err)
{
	uint32_t start, length;

	put_u32(writer, PART_MSRS);
	put_u32(writer, 0); /* the length comes when it is known */
	start = writer->used;
	for (uint32_t i = 0; i < vm->msr_count; i++) {
		union {
			struct kvm_msrs header;
			uint8_t space[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
		} msr = { .header.nmsrs = 1 };
		int r;

		if (!msr_travels(vm->msrs[i]))
			continue;
		msr.header.entries[0].index = vm->msrs[i];
		r = ioctl(cpu->fd, KVM_GET_MSRS, &msr);
		if (r < 0)
			return fail(err, HF_E_MACHINE_STATE, errno, "KVM_GET_MSRS");
		if (r == 1)
			put(writer, &msr.header.entries[0], sizeof(struct kvm_msr_entry));
	}
	if (writer->overflow)
		return fail(err, HF_E_MACHINE_STATE, 0, "no room for the MSRs");
	length = writer->used - start;
	memcpy(writer->data + start - sizeof(length), &length, sizeof(length));
	return 0;
}

static int delta_save(const struct cpu *cpu, int cpu0_fd, struct writer *writer,
		      struct hf_error *err)
{
	uint64_t delta_ticks;
	int r = tsc_delta(cpu->fd, cpu0_fd, &delta_ticks);

	if (r < 0)
		return fail(err, HF_E_MACHINE_STATE, -r, "reading the TSC's offset");
	put_u32(writer, PART_TSC_DELTA);
	put_u32(writer, sizeof(delta_ticks));
	put_u64(writer, delta_ticks);
	return writer->overflow ? fail(err, HF_E_MACHINE_STATE, 0, "no room for the TSC") : 0;
}

static int save(const struct cpu *cpu, const struct vm *vm, int cpu0_fd, struct writer *writer,
		struct hf_error *err)
{
	const struct part_ioctl *const parts[] = {
		&mp_state, &regs,  vm->has_sregs2 ? &sregs2 : &sregs, &xcrs, &debugregs,
		&lapic,	   &events
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && r == 0; i++)
		r = part_save(cpu, parts[i], writer, err);
	if (r == 0)
		r = xsave_save(cpu, vm, writer, err);
	if (r == 0)
		r = msrs_save(cpu, vm, writer, err);
	return r != 0 ? r : delta_save(cpu, cpu0_fd, writer, err);
}

int cpu_save(const struct cpu *cpu, const struct vm *vm, int cpu0_fd, struct writer *writer,
	     struct hf_error *err)
{
	int r = save(cpu, vm, cpu0_fd, writer, err);

	if (r != 0)
		(void)fail_prefix(err, "vCPU %u", cpu->index);
	return r;
}

/* ---- loading -------------------------------------------------------------------------------- */

struct body {
	const void *data; /* NULL: the part has not come */
	uint32_t length;
};

static int split(struct reader *reader, struct body *bodies, struct hf_error *err)
{
	while (reader->used < reader->length && !reader->bad) {
		uint32_t tag = take_u32(reader);
		uint32_t length = take_u32(reader);
		const void *data = take_space(reader, length);

		if (data == NULL)
			break;
		if (tag == 0 || tag >= PART_COUNT || bodies[tag].data != NULL)
			return fail(err, HF_E_MACHINE_STATE, 0,
				    "part %u of the state is unknown here, or there twice", tag);
		bodies[tag] = (struct body){ .data = data, .length = length };
	}
	return reader_complete(reader)
		       ? 0
		       : fail(err, HF_E_MACHINE_STATE, 0, "the state ends in the middle of a part");
}

static int part_load(const struct cpu *cpu, const struct part_ioctl *part,
		     const struct body *bodies, struct hf_error *err)
{
	const struct body *body = &bodies[part->part];
	uint64_t aligned[512]; /* the kernel's structures are aligned to 8 bytes, the section is not
				*/

	if (body->data == NULL || body->length != part->length || part->length > sizeof(aligned))
		return fail(err, HF_E_MACHINE_STATE, 0, "%s did not come, or not whole",
			    part->name);
	memcpy(aligned, body->data, part->length);
	if (ioctl(cpu->fd, part->set, aligned) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_SET_%s", part->name);
	return 0;
}

/* A source with less of it leaves the rest zero: state that its guest never had. */
static int xsave_load(const struct cpu *cpu, const struct vm *vm, const struct body *body,
		      struct hf_error *err)
{
	uint64_t aligned[XSAVE_MAX / 8] = { 0 };

	if (body->data == NULL || body->length < sizeof(struct kvm_xsave) ||
	    body->length > vm->xsave_bytes || body->length > sizeof(aligned))
		return fail(err, HF_E_MACHINE_STATE, 0,
			    "XSAVE has %u bytes, and %u can be set here", body->length,
			    vm->xsave_bytes);
	memcpy(aligned, body->data, body->length);
	if (ioctl(cpu->fd, KVM_SET_XSAVE, aligned) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_SET_XSAVE");
	return 0;
}

static int msr_access(const struct cpu *cpu, unsigned long request, struct kvm_msr_entry *entry)
{
	union {
		struct kvm_msrs header;
		uint8_t space[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msr = { .header.nmsrs = 1 };
	int r;

	msr.header.entries[0] = *entry;
	r = ioctl(cpu->fd, request, &msr);
	*entry = msr.header.entries[0];
	return r == 1 ? 0 : -EIO;
}

/* One that cannot be set is no loss if it stands at the value already (read-only ones do). */
static int msr_load(const struct cpu *cpu, const struct kvm_msr_entry *entry, struct hf_error *err)
{
	struct kvm_msr_entry wanted = *entry, now = *entry;

	if (msr_access(cpu, KVM_SET_MSRS, &wanted) == 0)
		return 0;
	if (msr_access(cpu, KVM_GET_MSRS, &now) == 0 && now.data == entry->data)
		return 0;
	return fail(err, HF_E_MACHINE_STATE, 0, "MSR 0x%x cannot be set to 0x%jx here",
		    entry->index, (uintmax_t)entry->data);
}

/* The deadline alone (last), or all but the deadline. */
static int msrs_load(const struct cpu *cpu, const struct body *body, bool deadline,
		     struct hf_error *err)
{
	struct reader reader = reader_of(body->data, body->length);

	if (body->data == NULL || body->length % sizeof(struct kvm_msr_entry) != 0)
		return fail(err, HF_E_MACHINE_STATE, 0, "the MSRs did not come, or not whole");
	while (reader.used < reader.length) {
		struct kvm_msr_entry entry;
		int r = 0;

		take(&reader, &entry, sizeof(entry));
		if (!msr_travels(entry.index))
			return fail(err, HF_E_MACHINE_STATE, 0, "MSR 0x%x does not travel",
				    entry.index);
		if ((entry.index == MSR_TSC_DEADLINE) == deadline)
			r = msr_load(cpu, &entry, err);
		if (r != 0)
			return r;
	}
	return 0;
}

static int delta_load(const struct cpu *cpu, struct tsc *tsc, const struct body *body,
		      struct hf_error *err)
{
	uint64_t delta_ticks;
	int r;

	if (body->data == NULL || body->length != sizeof(delta_ticks))
		return fail(err, HF_E_MACHINE_STATE, 0, "the TSC's offset did not come");
	memcpy(&delta_ticks, body->data, sizeof(delta_ticks));
	r = tsc_set(tsc, cpu->fd, delta_ticks);
	return r < 0 ? fail(err, HF_E_MACHINE_STATE, -r, "setting the TSC") : 0;
}

static int sregs_load(const struct cpu *cpu, const struct vm *vm, const struct body *bodies,
		      struct hf_error *err)
{
	if (bodies[PART_SREGS2].data != NULL && !vm->has_sregs2)
		return fail(err, HF_E_MACHINE_STATE, 0, "this host's KVM lacks KVM_CAP_SREGS2");
	return part_load(cpu, bodies[PART_SREGS2].data != NULL ? &sregs2 : &sregs, bodies, err);
}

static int load(const struct cpu *cpu, const struct vm *vm, struct tsc *tsc, struct reader *reader,
		struct hf_error *err)
{
	struct body bodies[PART_COUNT] = { 0 };
	int r = split(reader, bodies, err);

	if (r == 0)
		r = sregs_load(cpu, vm, bodies, err);
	if (r == 0)
		r = part_load(cpu, &regs, bodies, err);
	if (r == 0)
		r = part_load(cpu, &xcrs, bodies, err);
	if (r == 0)
		r = xsave_load(cpu, vm, &bodies[PART_XSAVE], err);
	if (r == 0)
		r = msrs_load(cpu, &bodies[PART_MSRS], false, err);
	if (r == 0)
		r = part_load(cpu, &lapic, bodies, err);
	if (r == 0)
		r = delta_load(cpu, tsc, &bodies[PART_TSC_DELTA], err);
	if (r == 0)
		r = msrs_load(cpu, &bodies[PART_MSRS], true, err);
	if (r == 0)
		r = part_load(cpu, &debugregs, bodies, err);
	if (r == 0)
		r = part_load(cpu, &mp_state, bodies, err);
	return r != 0 ? r : part_load(cpu, &events, bodies, err);
}

int cpu_load(const struct cpu *cpu, const struct vm *vm, struct tsc *tsc, struct reader *reader,
	     struct hf_error *err)
{
	int r = load(cpu, vm, tsc, reader, err);

	if (r != 0)
		(void)fail_prefix(err, "vCPU %u", cpu->index);
	return r;
}
