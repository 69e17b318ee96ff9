/* SPDX-License-Identifier: BSD-3-Clause */
/* The CPU that the guest sees. */
#include "cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "fail.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

static const char *const register_names[] = { "EAX", "EBX", "ECX", "EDX" };

struct feature_register {
	uint32_t function, index;
	enum cpuid_register reg;
	uint32_t ignored; /* bits that follow the guest's own CR4, or say nothing */
};

/* Registers whose bits are features: one more here than there is one that a guest may use. */
/* clang-format off */
static const struct feature_register feature_registers[] = {
	{ 0x00000001, 0, ECX, 1u << 27 /* OSXSAVE */ | 1u << 3 /* MONITOR */ },
	{ 0x00000001, 0, EDX, 0 },
	{ 0x00000006, 0, EAX, 0 },
	{ 0x00000007, 0, EBX, 0 },
	{ 0x00000007, 0, ECX, 1u << 4 /* OSPKE */ },
	{ 0x00000007, 0, EDX, 0 },
	{ 0x00000007, 1, EAX, 0 },
	{ 0x00000007, 1, EBX, 0 },
	{ 0x00000007, 1, EDX, 0 },
	{ 0x00000007, 2, EDX, 0 },
	{ 0x0000000d, 0, EAX, 0 }, /* XCR0 */
	{ 0x0000000d, 0, EDX, 0 },
	{ 0x0000000d, 1, EAX, 0 },
	{ 0x0000000d, 1, ECX, 0 }, /* IA32_XSS */
	{ 0x40000001, 0, EAX, 0 }, /* KVM's own */
	{ 0x80000001, 0, ECX, 0 },
	{ 0x80000001, 0, EDX, 0 },
	{ 0x80000007, 0, EDX, 0 },
	{ 0x80000008, 0, EBX, 0 },
	{ 0x80000021, 0, EAX, 0 },
};

static const struct {
	uint32_t function, index;
	enum cpuid_register reg;
	uint32_t bit;
	const char *name;
} feature_names[] = {
	{ 1, 0, ECX, 0, "sse3" }, { 1, 0, ECX, 1, "pclmulqdq" }, { 1, 0, ECX, 9, "ssse3" },
	{ 1, 0, ECX, 12, "fma" }, { 1, 0, ECX, 13, "cx16" }, { 1, 0, ECX, 17, "pcid" },
	{ 1, 0, ECX, 19, "sse4_1" }, { 1, 0, ECX, 20, "sse4_2" }, { 1, 0, ECX, 21, "x2apic" },
	{ 1, 0, ECX, 22, "movbe" }, { 1, 0, ECX, 23, "popcnt" },
	{ 1, 0, ECX, 24, "tsc_deadline_timer" }, { 1, 0, ECX, 25, "aes" },
	{ 1, 0, ECX, 26, "xsave" }, { 1, 0, ECX, 28, "avx" }, { 1, 0, ECX, 29, "f16c" },
	{ 1, 0, ECX, 30, "rdrand" },
	{ 7, 0, EBX, 0, "fsgsbase" }, { 7, 0, EBX, 1, "tsc_adjust" }, { 7, 0, EBX, 3, "bmi1" },
	{ 7, 0, EBX, 4, "hle" }, { 7, 0, EBX, 5, "avx2" }, { 7, 0, EBX, 7, "smep" },
	{ 7, 0, EBX, 8, "bmi2" }, { 7, 0, EBX, 9, "erms" }, { 7, 0, EBX, 10, "invpcid" },
	{ 7, 0, EBX, 11, "rtm" }, { 7, 0, EBX, 16, "avx512f" }, { 7, 0, EBX, 17, "avx512dq" },
	{ 7, 0, EBX, 18, "rdseed" }, { 7, 0, EBX, 19, "adx" }, { 7, 0, EBX, 20, "smap" },
	{ 7, 0, EBX, 21, "avx512ifma" }, { 7, 0, EBX, 23, "clflushopt" },
	{ 7, 0, EBX, 24, "clwb" }, { 7, 0, EBX, 28, "avx512cd" }, { 7, 0, EBX, 29, "sha_ni" },
	{ 7, 0, EBX, 30, "avx512bw" }, { 7, 0, EBX, 31, "avx512vl" },
	{ 7, 0, ECX, 1, "avx512vbmi" }, { 7, 0, ECX, 2, "umip" }, { 7, 0, ECX, 3, "pku" },
	{ 7, 0, ECX, 6, "avx512_vbmi2" }, { 7, 0, ECX, 8, "gfni" }, { 7, 0, ECX, 9, "vaes" },
	{ 7, 0, ECX, 10, "vpclmulqdq" }, { 7, 0, ECX, 11, "avx512_vnni" },
	{ 7, 0, ECX, 12, "avx512_bitalg" }, { 7, 0, ECX, 14, "avx512_vpopcntdq" },
	{ 7, 0, ECX, 16, "la57" }, { 7, 0, ECX, 22, "rdpid" }, { 7, 0, EDX, 4, "fsrm" },
	{ 7, 0, EDX, 22, "amx_bf16" }, { 7, 0, EDX, 23, "avx512_fp16" },
	{ 7, 0, EDX, 24, "amx_tile" }, { 7, 0, EDX, 25, "amx_int8" },
	{ 7, 0, EDX, 26, "spec_ctrl" }, { 7, 0, EDX, 29, "arch_capabilities" },
	{ 7, 0, EDX, 31, "ssbd" }, { 7, 1, EAX, 4, "avx_vnni" }, { 7, 1, EAX, 5, "avx512_bf16" },
	{ 0xd, 0, EAX, 2, "AVX state" }, { 0xd, 0, EAX, 5, "AVX-512 state" },
	{ 0xd, 0, EAX, 9, "PKRU state" }, { 0xd, 0, EAX, 18, "AMX state" },
	{ 0xd, 1, EAX, 0, "xsaveopt" }, { 0xd, 1, EAX, 1, "xsavec" }, { 0xd, 1, EAX, 3, "xsaves" },
	{ 0x80000001, 0, ECX, 5, "lzcnt" }, { 0x80000001, 0, ECX, 6, "sse4a" },
	{ 0x80000001, 0, EDX, 26, "1 GiB pages" }, { 0x80000001, 0, EDX, 27, "rdtscp" },
	{ 0x80000007, 0, EDX, 8, "invariant TSC" }, { 0x80000008, 0, EBX, 0, "clzero" },
};
/* clang-format on */

static struct kvm_cpuid_entry2 *entry_of(struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->count; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == function &&
		    (entry->index == index ||
		     (entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0))
			return entry;
	}
	return NULL;
}

static uint32_t register_of(const struct cpuid *cpuid, uint32_t function, uint32_t index,
			    enum cpuid_register reg)
{
	for (uint32_t i = 0; i < cpuid->count; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		const uint32_t values[] = { entry->eax, entry->ebx, entry->ecx, entry->edx };

		if (entry->function == function && entry->index == index)
			return values[reg];
	}
	return 0;
}

/* ---- what a new guest sees ------------------------------------------------------------------ */

static int supported(struct cpuid *cpuid, const struct vm *vm, struct hf_error *err)
{
	struct kvm_cpuid2 *list;
	int r;

	list = calloc(1, sizeof(*list) + sizeof(cpuid->entries));
	if (list == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "the CPUID table");
	list->nent = CPUID_ENTRIES_MAX;
	r = ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, list) < 0 ? errno : 0;
	if (r == 0) {
		cpuid->count = list->nent;
		memcpy(cpuid->entries, list->entries, list->nent * sizeof(list->entries[0]));
	}
	free(list);
	return r != 0 ? fail(err, HF_E_UNSUPPORTED, r, "KVM_GET_SUPPORTED_CPUID") : 0;
}

static void clear(struct cpuid *cpuid, uint32_t function, enum cpuid_register reg, uint32_t bits)
{
	struct kvm_cpuid_entry2 *entry = entry_of(cpuid, function, 0);
	uint32_t *registers[4];

	if (entry == NULL)
		return;
	registers[EAX] = &entry->eax;
	registers[EBX] = &entry->ebx;
	registers[ECX] = &entry->ecx;
	registers[EDX] = &entry->edx;
	*registers[reg] &= ~bits;
}

/* Nested guests, performance counters and tracing have state that does not travel. */
static void remove_unmigratable(struct cpuid *cpuid)
{
	static const uint32_t empty[] = { 0x0a, 0x14, 0x1c, 0x8000000a, 0x8000001b, 0x80000022 };

	clear(cpuid, 0x00000001, ECX, 1u << 5 | 1u << 15); /* VMX, PDCM */
	clear(cpuid, 0x00000001, EDX, 1u << 21); /* debug store */
	clear(cpuid, 0x00000007, EBX, 1u << 25 | 1u << 2); /* processor trace, SGX */
	clear(cpuid, 0x00000007, EDX, 1u << 19); /* architectural LBR */
	clear(cpuid, 0x80000001, ECX, 1u << 2 | 1u << 10 | 1u << 23 | 1u << 24 | 1u << 28);
	for (uint32_t i = 0; i < cpuid->count; i++)
		for (size_t j = 0; j < sizeof(empty) / sizeof(empty[0]); j++)
			if (cpuid->entries[i].function == empty[j]) {
				struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

				entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
			}
}

static uint32_t id_bits(uint32_t count)
{
	uint32_t bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

static void add(struct cpuid *cpuid, const struct kvm_cpuid_entry2 *entry)
{
	if (cpuid->count < CPUID_ENTRIES_MAX)
		cpuid->entries[cpuid->count++] = *entry;
}

/* One package, a core for each vCPU, one thread each. */
static void add_topology(struct cpuid *cpuid, uint32_t vcpu_count)
{
	struct kvm_cpuid_entry2 thread = {
		.function = 0x0b,
		.index = 0,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = 0,
		.ebx = 1,
		.ecx = 1u << 8 | 0,
	};
	struct kvm_cpuid_entry2 core = {
		.function = 0x0b,
		.index = 1,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = id_bits(vcpu_count),
		.ebx = vcpu_count,
		.ecx = 2u << 8 | 1,
	};
	struct kvm_cpuid_entry2 *entry;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cpuid->count; i++)
		if (cpuid->entries[i].function != 0x0b && cpuid->entries[i].function != 0x1f)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->count = kept;
	add(cpuid, &thread);
	add(cpuid, &core);
	entry = entry_of(cpuid, 1, 0);
	if (entry != NULL) {
		entry->ebx = (entry->ebx & 0x0000ffffu) | (vcpu_count & 0xff) << 16;
		entry->edx = vcpu_count > 1 ? entry->edx | 1u << 28 : entry->edx & ~(1u << 28);
	}
	entry = entry_of(cpuid, 0x80000008, 0);
	if (entry != NULL)
		entry->ecx = (entry->ecx & ~0xf0ffu) | id_bits(vcpu_count) << 12 | (vcpu_count - 1);
}

int cpuid_make(struct cpuid *cpuid, const struct vm *vm, uint32_t vcpu_count, struct hf_error *err)
{
	struct kvm_cpuid_entry2 *entry;
	int r = supported(cpuid, vm, err);

	if (r != 0)
		return r;
	remove_unmigratable(cpuid);
	add_topology(cpuid, vcpu_count);
	entry = entry_of(cpuid, 1, 0);
	if (entry != NULL) {
		entry->ecx |= 1u << 31; /* it is a guest */
		if (vm_cap(vm, KVM_CAP_TSC_DEADLINE_TIMER) != 0)
			entry->ecx |= 1u << 24; /* the in-kernel LAPIC has it */
	}
	return 0;
}

/* ---- for each vCPU -------------------------------------------------------------------------- */

int cpuid_set(const struct cpuid *cpuid, int cpu_fd, uint32_t index, struct hf_error *err)
{
	union {
		struct kvm_cpuid2 header;
		uint8_t space[sizeof(struct kvm_cpuid2) + sizeof(cpuid->entries)];
	} list = { .space = { 0 } };

	list.header.nent = cpuid->count;
	memcpy(list.header.entries, cpuid->entries, cpuid->count * sizeof(cpuid->entries[0]));
	for (uint32_t i = 0; i < cpuid->count; i++) {
		struct kvm_cpuid_entry2 *entry = &list.header.entries[i];

		if (entry->function == 1)
			entry->ebx = (entry->ebx & 0x00ffffffu) | index << 24;
		else if (entry->function == 0x0b)
			entry->edx = index;
		else if (entry->function == 0x8000001e)
			entry->eax = index;
	}
	if (ioctl(cpu_fd, KVM_SET_CPUID2, &list) < 0)
		return fail(err, HF_E_MACHINE_STATE, errno, "KVM_SET_CPUID2 for vCPU %u", index);
	return 0;
}

uint32_t cpuid_phys_bits(const struct cpuid *cpuid)
{
	uint32_t bits = register_of(cpuid, 0x80000008, 0, EAX) & 0xff;

	return bits == 0 ? 36 : bits;
}

/* ---- across hosts --------------------------------------------------------------------------- */

void cpuid_put(const struct cpuid *cpuid, struct writer *writer)
{
	put_u32(writer, cpuid->count);
	for (uint32_t i = 0; i < cpuid->count; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		put_u32(writer, entry->function);
		put_u32(writer, entry->index);
		put_u32(writer, entry->flags);
		put_u32(writer, entry->eax);
		put_u32(writer, entry->ebx);
		put_u32(writer, entry->ecx);
		put_u32(writer, entry->edx);
	}
}

int cpuid_take(struct cpuid *cpuid, struct reader *reader)
{
	memset(cpuid, 0, sizeof(*cpuid));
	cpuid->count = take_u32(reader);
	if (cpuid->count == 0 || cpuid->count > CPUID_ENTRIES_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < cpuid->count; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		entry->function = take_u32(reader);
		entry->index = take_u32(reader);
		entry->flags = take_u32(reader);
		entry->eax = take_u32(reader);
		entry->ebx = take_u32(reader);
		entry->ecx = take_u32(reader);
		entry->edx = take_u32(reader);
	}
	return reader->bad ? -EPROTO : 0;
}

static int missing(const struct feature_register *feature, uint32_t bits, struct hf_error *err)
{
	uint32_t bit = (uint32_t)__builtin_ctz(bits);
	const char *name = "(unnamed)";

	for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++)
		if (feature_names[i].function == feature->function &&
		    feature_names[i].index == feature->index &&
		    feature_names[i].reg == feature->reg && feature_names[i].bit == bit)
			name = feature_names[i].name;
	return fail(err, HF_E_MISMATCH, 0,
		    "the source's guest sees CPU feature %s (CPUID %x.%u %s bit %u), which the "
		    "target's host lacks",
		    name, feature->function, feature->index, register_names[feature->reg], bit);
}

/* The same maker: instructions of one are not those of the other (SYSENTER, segment loads). */
static bool same_vendor(const struct cpuid *source, const struct cpuid *here)
{
	for (enum cpuid_register reg = EBX; reg <= EDX; reg++)
		if (register_of(source, 0, 0, reg) != register_of(here, 0, 0, reg))
			return false;
	return true;
}

int cpuid_check(const struct cpuid *source, const struct cpuid *here, struct hf_error *err)
{
	uint32_t bits = cpuid_phys_bits(source), bits_here = cpuid_phys_bits(here);

	if (!same_vendor(source, here))
		return fail(
			err, HF_E_MISMATCH, 0,
			"the source's guest sees a CPU of another vendor than the target's host");
	for (size_t i = 0; i < sizeof(feature_registers) / sizeof(feature_registers[0]); i++) {
		const struct feature_register *feature = &feature_registers[i];
		uint32_t seen =
			register_of(source, feature->function, feature->index, feature->reg);
		uint32_t have = register_of(here, feature->function, feature->index, feature->reg);
		uint32_t lost = seen & ~have & ~feature->ignored;

		if (lost != 0)
			return missing(feature, lost, err);
	}
	if (bits > bits_here)
		return fail(err, HF_E_MISMATCH, 0,
			    "the source's guest sees %u bits of physical address, the target's "
			    "host has %u",
			    bits, bits_here);
	return 0;
}
