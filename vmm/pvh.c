/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct boot by PVH. The kernel goes where its program headers say, the initrd to the end of low
 * memory; start_info, memory map and command line go between 0x7000 and 0x9f000, where the kernel
 * must not be.
 */
#include "pvh.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "fail.h"
#include "pci.h"

#define NOTE_PHYS32_ENTRY 18u
#define START_MAGIC 0x336ec578u
#define MEMMAP_RAM 1u
#define MEMMAP_RESERVED 2u

#define INFO_GPA 0x7000u /* struct boot_info */
#define COMMAND_LINE_GPA 0x8000u
#define COMMAND_LINE_MAX 0x10000u /* with the NUL */
#define INFO_END 0x9f000u
#define HEADERS_MAX 64u
#define NOTES_MAX 65536u

struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, command_line, rsdp, memmap;
	uint32_t memmap_count, reserved;
};

struct module {
	uint64_t gpa, size, command_line, reserved;
};

struct memmap_entry {
	uint64_t gpa, size;
	uint32_t type, reserved;
};

struct boot_info {
	struct start_info start;
	struct module initrd;
	struct memmap_entry memmap[4];
};

/* ---- files ---------------------------------------------------------------------------------- */

static int read_at(int fd, void *data, uint64_t size, uint64_t offset)
{
	uint8_t *at = data;

	while (size > 0) {
		ssize_t n = pread(fd, at, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA; /* the file ends before */
		at += n;
		offset += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return 0;
}

/* ---- the kernel ----------------------------------------------------------------------------- */

struct kernel {
	const char *path;
	int fd;
	Elf64_Ehdr header;
	Elf64_Phdr segments[HEADERS_MAX];
	uint64_t end; /* behind its last byte in memory */
	uint32_t entry; /* 0: no note found yet */
};

static int read_headers(struct kernel *kernel, struct hf_error *err)
{
	const Elf64_Ehdr *header = &kernel->header;
	int r = read_at(kernel->fd, &kernel->header, sizeof(kernel->header), 0);

	if (r < 0 || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return fail(err, HF_E_INVALID, 0, "kernel %s: not an ELF file", kernel->path);
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
		return fail(err, HF_E_INVALID, 0, "kernel %s: not an ELF64 file for x86-64",
			    kernel->path);
	if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
	    header->e_phnum > HEADERS_MAX)
		return fail(err, HF_E_INVALID, 0, "kernel %s: it has %u program headers",
			    kernel->path, header->e_phnum);
	r = read_at(kernel->fd, kernel->segments, header->e_phnum * sizeof(Elf64_Phdr),
		    header->e_phoff);
	return r < 0 ? fail(err, HF_E_INVALID, -r, "kernel %s: its program headers", kernel->path)
		     : 0;
}

static int load_segment(struct kernel *kernel, const Elf64_Phdr *segment,
			const struct memory *memory, struct hf_error *err)
{
	void *at = memory_at(memory, segment->p_paddr, segment->p_memsz);
	int r;

	if (segment->p_memsz == 0)
		return 0;
	if (at == NULL || segment->p_filesz > segment->p_memsz)
		return fail(err, HF_E_INVALID, 0,
			    "kernel %s: a segment of %ju bytes at 0x%jx is outside of memory",
			    kernel->path, (uintmax_t)segment->p_memsz, (uintmax_t)segment->p_paddr);
	if (segment->p_paddr < INFO_END && segment->p_paddr + segment->p_memsz > INFO_GPA)
		return fail(err, HF_E_INVALID, 0,
			    "kernel %s: a segment at 0x%jx is where the boot information goes",
			    kernel->path, (uintmax_t)segment->p_paddr);
	r = read_at(kernel->fd, at, segment->p_filesz, segment->p_offset);
	if (r < 0)
		return fail(err, HF_E_INVALID, -r, "kernel %s: a segment", kernel->path);
	if (segment->p_paddr + segment->p_memsz > kernel->end)
		kernel->end = segment->p_paddr + segment->p_memsz;
	return 0;
}

static uint32_t align4(uint32_t value)
{
	return (value + 3) & ~3u;
}

/* The entry's address, if it is among these notes; else 0. */
static uint32_t find_entry(const uint8_t *notes, uint32_t size)
{
	uint32_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		uint32_t name, desc, address = 0;

		memcpy(&note, notes + at, sizeof(note));
		name = at + (uint32_t)sizeof(note);
		if (note.n_namesz > NOTES_MAX || note.n_descsz > NOTES_MAX)
			return 0;
		desc = name + align4(note.n_namesz);
		if (desc > size || note.n_descsz > size - desc)
			return 0;
		if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    memcmp(notes + name, "Xen", 4) == 0 && note.n_descsz >= sizeof(address)) {
			memcpy(&address, notes + desc, sizeof(address));
			return address;
		}
		at = desc + align4(note.n_descsz);
		if (at > size)
			return 0;
	}
	return 0;
}

static int read_notes(struct kernel *kernel, const Elf64_Phdr *segment, struct hf_error *err)
{
	uint8_t notes[NOTES_MAX];
	uint32_t entry;
	int r;

	if (segment->p_filesz > sizeof(notes))
		return fail(err, HF_E_INVALID, 0, "kernel %s: %ju bytes of notes", kernel->path,
			    (uintmax_t)segment->p_filesz);
	r = read_at(kernel->fd, notes, segment->p_filesz, segment->p_offset);
	if (r < 0)
		return fail(err, HF_E_INVALID, -r, "kernel %s: its notes", kernel->path);
	entry = find_entry(notes, (uint32_t)segment->p_filesz);
	if (entry != 0)
		kernel->entry = entry;
	return 0;
}

static int load_kernel(struct kernel *kernel, const struct memory *memory, struct hf_error *err)
{
	int r = read_headers(kernel, err);

	for (uint32_t i = 0; r == 0 && i < kernel->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &kernel->segments[i];

		if (segment->p_type == PT_LOAD)
			r = load_segment(kernel, segment, memory, err);
		else if (segment->p_type == PT_NOTE)
			r = read_notes(kernel, segment, err);
	}
	if (r == 0 && kernel->entry == 0)
		r = fail(err, HF_E_INVALID, 0,
			 "kernel %s: it has no PVH entry (note XEN_ELFNOTE_PHYS32_ENTRY)",
			 kernel->path);
	return r;
}

/* ---- what goes with it ---------------------------------------------------------------------- */

static int load_initrd(const struct memory *memory, const char *path, uint64_t kernel_end,
		       struct module *module, struct hf_error *err)
{
	uint64_t top = memory->regions[0].size; /* region 0 begins at 0 */
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat stat;
	uint64_t size;
	int r;

	if (fd < 0)
		return fail(err, HF_E_INVALID, errno, "initrd %s", path);
	r = fstat(fd, &stat) < 0 ? -errno : 0;
	size = r == 0 ? (uint64_t)stat.st_size : 0;
	if (r == 0 && (size > top || ((top - size) & ~0xfffull) < kernel_end ||
		       ((top - size) & ~0xfffull) < INFO_END))
		r = -ENOSPC;
	if (r == 0) {
		module->gpa = (top - size) & ~0xfffull;
		module->size = size;
		r = read_at(fd, memory_at(memory, module->gpa, size), size, 0);
	}
	(void)close(fd); /* it was only read */
	return r < 0 ? fail(err, HF_E_INVALID, -r, "initrd %s", path) : 0;
}

static void fill_memmap(const struct memory *memory, struct boot_info *info)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < memory->count; i++)
		info->memmap[count++] = (struct memmap_entry){
			.gpa = memory->regions[i].gpa,
			.size = memory->regions[i].size,
			.type = MEMMAP_RAM,
		};
	/* The interrupt controllers and KVM's own pages; BARs may not go there. */
	info->memmap[count++] = (struct memmap_entry){
		.gpa = PCI_MMIO_END,
		.size = MEMORY_HIGH_GPA - PCI_MMIO_END,
		.type = MEMMAP_RESERVED,
	};
	info->start.memmap = INFO_GPA + offsetof(struct boot_info, memmap);
	info->start.memmap_count = count;
}

static int fill_info(const struct memory *memory, const char *initrd, const char *command_line,
		     uint64_t kernel_end, struct hf_error *err)
{
	struct boot_info info = { .start = { .magic = START_MAGIC, .version = 1 } };
	size_t length = strlen(command_line) + 1;
	char *at = memory_at(memory, COMMAND_LINE_GPA, COMMAND_LINE_MAX);
	int r;

	if (length > COMMAND_LINE_MAX)
		return fail(err, HF_E_INVALID, 0, "a command line of %zu bytes", length - 1);
	if (at == NULL || memory_at(memory, INFO_GPA, INFO_END - INFO_GPA) == NULL)
		return fail(err, HF_E_INVALID, 0, "too little memory to boot");
	memcpy(at, command_line, length);
	info.start.command_line = COMMAND_LINE_GPA;
	if (initrd != NULL) {
		r = load_initrd(memory, initrd, kernel_end, &info.initrd, err);
		if (r != 0)
			return r;
		info.start.modules = INFO_GPA + offsetof(struct boot_info, initrd);
		info.start.module_count = 1;
	}
	fill_memmap(memory, &info);
	memcpy(memory_at(memory, INFO_GPA, sizeof(info)), &info, sizeof(info));
	return 0;
}

int pvh_load(const struct memory *memory, const char *path, const char *initrd,
	     const char *command_line, struct pvh_entry *ret_entry, struct hf_error *err)
{
	struct kernel kernel = { .path = path };
	int r;

	kernel.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (kernel.fd < 0)
		return fail(err, HF_E_INVALID, errno, "kernel %s", path);
	r = load_kernel(&kernel, memory, err);
	(void)close(kernel.fd); /* it was only read */
	if (r == 0)
		r = fill_info(memory, initrd, command_line != NULL ? command_line : "", kernel.end,
			      err);
	if (r != 0)
		return r;
	*ret_entry = (struct pvh_entry){ .address = kernel.entry, .start_info = INFO_GPA };
	return 0;
}

/* ---- the vCPU ------------------------------------------------------------------------------- */

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
}

int pvh_enter(int cpu_fd, const struct pvh_entry *entry, struct hf_error *err)
{
	struct kvm_regs regs = { .rip = entry->address, .rbx = entry->start_info, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(cpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_GET_SREGS");
	sregs.cs = flat(0x08, 0xb);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(0x10, 0x3);
	sregs.tr = (struct kvm_segment){ .limit = 0x67, .type = 0xb, .present = 1 };
	sregs.ldt = (struct kvm_segment){ .unusable = 1 };
	sregs.cr0 = 0x11; /* protected mode, no paging */
	sregs.cr4 = 0;
	sregs.efer = 0;
	if (ioctl(cpu_fd, KVM_SET_SREGS, &sregs) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_SET_SREGS");
	if (ioctl(cpu_fd, KVM_SET_REGS, &regs) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_SET_REGS");
	return 0;
}
