/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two sorts of copy of throughput.c have in common. */
#ifndef BENCH_THROUGHPUT_H
#define BENCH_THROUGHPUT_H

#include <stdint.h>
#include <sys/types.h>

struct result {
	double seconds, cpu_seconds;
};

/* What is there once for all runs. */
struct bench {
	void *memory;
	int fd;
	uint64_t bytes;
	uint32_t runs;
	int json;
	const char *ledger_uri;
};

/* throughput.c */
_Noreturn void die(const char *what);
double now(void);
double cpu_of(int who);
void *fresh_memory(uint64_t bytes, int *ret_fd);
pid_t fork_target(void);

/* One transfer each, from the fork of its target until that has ended. */
struct result bare_copy(const struct bench *bench, uint32_t channels);
struct result session_copy(const struct bench *bench, uint32_t channels);

#endif
