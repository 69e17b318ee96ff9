/* SPDX-License-Identifier: BSD-3-Clause */
/* The witness. O_APPEND makes one order of what several processes write. */
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"

#define SIDE_MAX 255ul

static struct {
	int fd;
	uint32_t side;
} witness = { .fd = -1 };

int witness_open(const char *where, struct hf_error *err)
{
	char *end;
	unsigned long side = strtoul(where, &end, 10);
	int fd;

	if (*where < '0' || *where > '9' || side > SIDE_MAX || *end != ':' || end[1] == '\0')
		return fail(err, HF_E_INVALID, 0, "witness: '%s' is not NUMBER:FILE", where);
	fd = open(end + 1, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return fail(err, HF_E_INVALID, errno, "witness: %s", end + 1);
	witness.side = (uint32_t)side;
	witness.fd = fd; /* open as long as the process */
	return 0;
}

int witness_append(uint32_t word)
{
	struct witness_record record = { .side = witness.side, .word = word };
	struct timespec now;
	ssize_t n;

	if (witness.fd < 0)
		return 0;
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	record.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	n = write(witness.fd, &record, sizeof(record));
	if (n == (ssize_t)sizeof(record))
		return 0;
	return n < 0 ? -errno : -ENOSPC;
}
