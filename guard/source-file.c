/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/source-file.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void source_file_init(struct source_file *file, int fd, int forward_fd)
{
	struct stat status;

	file->fd = fd;
	file->forward_fd = forward_fd;
	file->forward_error = 0;
	file->seekable = forward_fd < 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static int forward(struct source_file *file, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(file->forward_fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			file->forward_error = errno;
			return -errno;
		}
		bytes += sent;
		n -= (size_t)sent;
	}
	return 0;
}

/* What is read is passed on before anybody looks at it: looking may wait for more. */
static ssize_t fill(void *self, void *to, size_t n)
{
	struct source_file *file = self;
	ssize_t got;

	do
		got = read(file->fd, to, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (got > 0 && file->forward_fd >= 0 && forward(file, to, (size_t)got) < 0)
		return -file->forward_error;
	return got;
}

static int64_t skip(void *self, uint64_t n)
{
	struct source_file *file = self;
	struct stat status;
	int64_t at = lseek(file->fd, 0, SEEK_CUR);

	if (at < 0 || fstat(file->fd, &status) < 0 || status.st_size <= at)
		return 0;
	if (n > (uint64_t)(status.st_size - at))
		n = (uint64_t)(status.st_size - at);
	return lseek(file->fd, (off_t)n, SEEK_CUR) < 0 ? 0 : (int64_t)n;
}

struct reader_source source_file(struct source_file *file)
{
	struct reader_source source = { .fill = fill, .self = file };

	if (file->seekable)
		source.skip = skip;
	return source;
}

void source_file_drain(struct source_file *file)
{
	uint8_t bytes[65536];

	while (!file->forward_error && fill(file, bytes, sizeof(bytes)) > 0)
		;
}
