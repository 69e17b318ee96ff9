/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct boot by PVH (xen/include/public/arch-x86/hvm/start_info.h): an ELF64 kernel with the note
 * XEN_ELFNOTE_PHYS32_ENTRY, its command line and an initrd, and the vCPU's state at the entry.
 */
#ifndef VMM_PVH_H
#define VMM_PVH_H

#include "memory.h"

struct pvh_entry {
	uint32_t address; /* physical, 32-bit protected mode */
	uint32_t start_info; /* physical address of struct hvm_start_info */
};

/* initrd and command_line may be NULL. HF_E_INVALID names the file and what is wrong with it. */
int pvh_load(const struct memory *memory, const char *kernel, const char *initrd,
	     const char *command_line, struct pvh_entry *ret_entry, struct hf_error *err);

/* Put vCPU 0 at the entry. */
int pvh_enter(int cpu_fd, const struct pvh_entry *entry, struct hf_error *err);

#endif
