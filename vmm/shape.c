/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must fit on both sides: the machine's shape, as the source describes it and the target
 * checks it, before the guest is touched. All of it is known without asking a vCPU, which may be
 * running.
 *
 * Layout: u32 magic, version, vCPUs, TSC kHz, XSAVE bytes, features (VM_*), u64 memory bytes; the
 * CPUID table; the PCI functions. MSRs are not in it: kernels list different ones, and what counts
 * is whether each one's value can be set, which loading finds out.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "fail.h"
#include "kvm-guest.h"

#define MAGIC 0x4d564b48u /* "HKVM" */
#define VERSION 1u
#define TSC_TOLERANCE_PPM 250u /* as KVM: below it no scaling is needed */

static uint64_t memory_bytes(const struct memory *memory)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < memory->count; i++)
		bytes += memory->regions[i].size;
	return bytes;
}

int shape_describe(struct kvm_guest *guest, void *buf, uint32_t capacity, uint32_t *ret_length,
		   struct hf_error *err)
{
	struct writer writer = writer_of(buf, capacity);

	put_u32(&writer, MAGIC);
	put_u32(&writer, VERSION);
	put_u32(&writer, guest->cpus.count);
	put_u32(&writer, guest->tsc.khz);
	put_u32(&writer, guest->vm.xsave_bytes);
	put_u32(&writer, guest->vm.features);
	put_u64(&writer, memory_bytes(&guest->memory));
	cpuid_put(&guest->cpuid, &writer);
	pci_describe(&guest->pci, &writer);
	if (writer.overflow)
		return fail(err, HF_E_BUG, 0, "the machine's description does not fit");
	*ret_length = writer.used;
	return 0;
}

/* Other kHz than the host's need hardware that scales. */
static int adopt_tsc(struct kvm_guest *guest, uint32_t khz, struct hf_error *err)
{
	uint32_t here = guest->tsc.khz;
	uint64_t difference = khz > here ? khz - here : here - khz;

	if (difference * 1000000 <= (uint64_t)here * TSC_TOLERANCE_PPM) {
		guest->tsc.khz = khz;
		return 0;
	}
	if (!guest->vm.has_tsc_scaling)
		return fail(err, HF_E_MISMATCH, 0,
			    "the source's TSC runs at %u kHz, the target's at %u kHz, which cannot "
			    "scale it",
			    khz, here);
	for (uint32_t i = 0; i < guest->cpus.count; i++)
		if (ioctl(guest->cpus.cpus[i].fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)
			return fail(err, HF_E_MISMATCH, errno,
				    "the target's host cannot run a TSC of %u kHz", khz);
	guest->tsc.khz = khz;
	return 0;
}

/* From now on this guest's vCPUs are the source's. */
static int adopt_cpuid(struct kvm_guest *guest, const struct cpuid *cpuid, struct hf_error *err)
{
	for (uint32_t i = 0; i < guest->cpus.count; i++) {
		int r = cpuid_set(cpuid, guest->cpus.cpus[i].fd, i, err);

		if (r != 0)
			return r;
	}
	guest->cpuid = *cpuid;
	return 0;
}

struct shape {
	uint32_t magic, version, vcpu_count, tsc_khz, xsave_bytes, features;
	uint64_t memory_bytes;
};

static int check_sizes(const struct kvm_guest *guest, const struct shape *shape,
		       struct hf_error *err)
{
	uint64_t bytes = memory_bytes(&guest->memory);
	uint32_t missing = shape->features & ~guest->vm.features;

	if (shape->vcpu_count != guest->cpus.count)
		return fail(err, HF_E_MISMATCH, 0, "%u vCPUs at the source and %u at the target",
			    shape->vcpu_count, guest->cpus.count);
	if (shape->memory_bytes != bytes)
		return fail(err, HF_E_MISMATCH, 0,
			    "%ju bytes of memory at the source and %ju at the target",
			    (uintmax_t)shape->memory_bytes, (uintmax_t)bytes);
	if (shape->xsave_bytes > guest->vm.xsave_bytes)
		return fail(err, HF_E_MISMATCH, 0,
			    "the source's vCPUs have %u bytes of XSAVE state, at the target fit %u",
			    shape->xsave_bytes, guest->vm.xsave_bytes);
	if ((missing & VM_EXCEPTION_PAYLOAD) != 0)
		return fail(err, HF_E_MISMATCH, 0,
			    "the target's host lacks KVM_CAP_EXCEPTION_PAYLOAD");
	if ((missing & VM_TRIPLE_FAULT_EVENT) != 0)
		return fail(err, HF_E_MISMATCH, 0,
			    "the target's host lacks KVM_CAP_X86_TRIPLE_FAULT_EVENT");
	/* It changes how a LAPIC's id is written down: both or none. */
	if ((shape->features & VM_X2APIC_IDS) != (guest->vm.features & VM_X2APIC_IDS))
		return fail(err, HF_E_MISMATCH, 0, "one of the hosts lacks KVM_CAP_X2APIC_API");
	return 0;
}

int shape_check(struct kvm_guest *guest, const void *buf, uint32_t length, struct hf_error *err)
{
	struct reader reader = reader_of(buf, length);
	struct shape shape;
	struct cpuid cpuid;
	int r;

	if (atomic_load(&guest->has_run))
		return fail(err, HF_E_MACHINE_STATE, 0, "this guest has run already");
	take(&reader, &shape, sizeof(shape)); /* no padding: six u32 and one u64 */
	if (shape.magic != MAGIC || shape.version != VERSION)
		return fail(err, HF_E_MISMATCH, 0,
			    "the source's machine is not described as a KVM guest's, version %u",
			    VERSION);
	r = check_sizes(guest, &shape, err);
	if (r != 0)
		return r;
	if (cpuid_take(&cpuid, &reader) < 0)
		return fail(err, HF_E_MISMATCH, 0, "the source's CPUID table cannot be read");
	r = cpuid_check(&cpuid, &guest->cpuid, err);
	if (r == 0)
		r = pci_check(&guest->pci, &reader, err);
	if (r == 0 && !reader_complete(&reader))
		r = fail(err, HF_E_MISMATCH, 0, "the source's description has the wrong length");
	if (r == 0)
		r = adopt_tsc(guest, shape.tsc_khz, err);
	return r != 0 ? r : adopt_cpuid(guest, &cpuid, err);
}
