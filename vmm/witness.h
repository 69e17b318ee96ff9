/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The witness: a file that several VMMs append to while their guest executes, so that somebody
 * outside all of them can tell where it did, and in which order (docs/checker.md). The guest counts
 * and asks; here is only the pen. It is the process's, as its guest is.
 */
#ifndef VMM_WITNESS_H
#define VMM_WITNESS_H

#include <stdint.h>

#include <holdfast/error.h>

#define WITNESS_PORT 0x520u /* 32 bits written are the guest's word; where no QEMU has a device */

/* What a line of the file is; little-endian, and appended by one write. */
struct witness_record {
	uint32_t side; /* whose file this process was told to be */
	uint32_t word; /* the guest's: its vCPU and its number, guest/work.h */
	uint64_t time_ns; /* CLOCK_MONOTONIC */
};

/* where is SIDE:FILE. Once in a process, before its guest runs. */
int witness_open(const char *where, struct hf_error *err);

/* By the thread of the vCPU, before its next instruction. 0, also without a file, or -errno. */
int witness_append(uint32_t word);

#endif
