/* SPDX-License-Identifier: BSD-3-Clause */
/* A reader's source over a descriptor, which may pass on what it reads. */
#ifndef GUARD_SOURCE_FILE_H
#define GUARD_SOURCE_FILE_H

#include "guard/reader.h"

/* The descriptors are the caller's. */
struct source_file {
	int fd;
	int forward_fd; /* a socket; -1: none */
	int forward_error; /* errno of passing on: reading ends with it */
	bool seekable;
};

void source_file_init(struct source_file *file, int fd, int forward_fd);
struct reader_source source_file(struct source_file *file);

/* Read, and pass on, what is left; returns when the descriptor ends or fails. */
void source_file_drain(struct source_file *file);

#endif
