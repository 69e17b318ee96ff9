/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of device-file.h. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include <holdfast/device.h>

#include "tools/device-file.h"

#define MAGIC "HFDEVICE"
#define VERSION 1u
#define HEADER_SIZE 256u
#define HEADER_DIGEST_AT 248u
#define PIECE (1u << 20)

/* The header, decoded. */
struct header {
	uint64_t length, digest;
	struct hf_device_info info; /* what the file has of it */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* ---- the header ---------------------------------------------------------------------------- */

static void put16(uint8_t *to, uint16_t v)
{
	v = htole16(v);
	memcpy(to, &v, sizeof(v));
}

static void put32(uint8_t *to, uint32_t v)
{
	v = htole32(v);
	memcpy(to, &v, sizeof(v));
}

static void put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *from)
{
	uint16_t v;

	memcpy(&v, from, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t v;

	memcpy(&v, from, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t v;

	memcpy(&v, from, sizeof(v));
	return le64toh(v);
}

static void encode(const struct header *header, uint8_t to[HEADER_SIZE])
{
	const struct hf_device_info *info = &header->info;

	memset(to, 0, HEADER_SIZE);
	memcpy(to, MAGIC, 8);
	put32(to + 8, VERSION);
	put32(to + 12, HEADER_SIZE);
	put64(to + 16, header->length);
	put64(to + 24, header->digest);
	put32(to + 32, info->mig_flags);
	put16(to + 36, info->vendor_id);
	put16(to + 38, info->device_id);
	put16(to + 40, info->subsystem_vendor_id);
	put16(to + 42, info->subsystem_id);
	to[44] = info->revision;
	(void)snprintf((char *)to + 48, 16, "%s", info->kind);
	(void)snprintf((char *)to + 64, 64, "%s", info->compat);
	(void)snprintf((char *)to + 128, 64, "%s", info->name);
	put64(to + HEADER_DIGEST_AT, XXH3_64bits(to, HEADER_DIGEST_AT));
}

/* Text in a field, with its NUL and nothing but zeros behind it. */
static bool text_valid(const uint8_t *from, size_t size)
{
	size_t length = strnlen((const char *)from, size);

	for (size_t i = length; i < size; i++)
		if (from[i])
			return false;
	return length < size;
}

static int decode(const uint8_t from[HEADER_SIZE], const char *path, struct header *ret_header,
		  struct hf_error *err)
{
	struct header h;

	memset(&h, 0, sizeof(h));
	if (memcmp(from, MAGIC, 8) != 0)
		return hf_error_set(err, HF_E_INVALID, 0,
				    "%s: no state of a device is in this file", path);
	if (get32(from + 8) != VERSION || get32(from + 12) != HEADER_SIZE)
		return hf_error_set(err, HF_E_UNSUPPORTED, 0,
				    "%s: version %" PRIu32 " of the file is not known here", path,
				    get32(from + 8));
	if (get64(from + HEADER_DIGEST_AT) != XXH3_64bits(from, HEADER_DIGEST_AT) ||
	    !text_valid(from + 48, 16) || !text_valid(from + 64, 64) || !text_valid(from + 128, 64))
		return hf_error_set(err, HF_E_INVALID, 0, "%s: its first %u bytes are damaged",
				    path, HEADER_SIZE);
	h.length = get64(from + 16);
	h.digest = get64(from + 24);
	h.info.mig_flags = get32(from + 32);
	h.info.vendor_id = get16(from + 36);
	h.info.device_id = get16(from + 38);
	h.info.subsystem_vendor_id = get16(from + 40);
	h.info.subsystem_id = get16(from + 42);
	h.info.revision = from[44];
	memcpy(h.info.kind, from + 48, sizeof(h.info.kind));
	memcpy(h.info.compat, from + 64, sizeof(h.info.compat));
	memcpy(h.info.name, from + 128, sizeof(h.info.name));
	*ret_header = h;
	return 0;
}

/* ---- bytes --------------------------------------------------------------------------------- */

static int write_all(int fd, const void *buf, size_t size, uint64_t at)
{
	const uint8_t *from = buf;

	while (size) {
		ssize_t n = pwrite(fd, from, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		at += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

static int read_all(int fd, void *buf, size_t size, uint64_t at)
{
	uint8_t *to = buf;

	while (size) {
		ssize_t n = pread(fd, to, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		to += n;
		at += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

/* ---- save ---------------------------------------------------------------------------------- */

/* All of the stream, behind the header. */
static int copy_out(struct hf_device *device, int fd, const char *path, struct header *header,
		    struct hf_error *err)
{
	XXH3_state_t *hash = XXH3_createState();
	uint8_t *piece = malloc(PIECE);
	int r = 0;

	if (!hash || !piece || XXH3_64bits_reset(hash) != XXH_OK)
		r = hf_error_set(err, HF_E_NO_MEMORY, 0, "saving a device");
	while (r == 0) {
		ssize_t n = device->ops->read_data(device->self, piece, PIECE);

		if (n == 0)
			break;
		if (n < 0 || n > (ssize_t)PIECE) {
			r = hf_error_set(
				err, HF_E_DEVICE_DATA, n < 0 ? (int)-n : 0,
				"device %s: reading its state in STOP_COPY, behind %" PRIu64
				" bytes",
				header->info.name, header->length);
			break;
		}
		(void)XXH3_64bits_update(hash, piece, (size_t)n);
		r = write_all(fd, piece, (size_t)n, HEADER_SIZE + header->length);
		if (r < 0)
			r = hf_error_set(err, HF_E_SYSTEM, -r,
					 "%s: writing, behind %" PRIu64 " bytes", path,
					 header->length);
		header->length += (uint64_t)n;
	}
	if (r == 0)
		header->digest = XXH3_64bits_digest(hash);
	free(piece);
	if (hash)
		(void)XXH3_freeState(hash);
	return r;
}

static int finish(int fd, const char *part, const char *path, const struct header *header,
		  struct hf_error *err)
{
	uint8_t bytes[HEADER_SIZE];
	int r;

	encode(header, bytes);
	r = write_all(fd, bytes, sizeof(bytes), 0);
	if (r < 0)
		return hf_error_set(err, HF_E_SYSTEM, -r, "%s: writing", part);
	if (fsync(fd) < 0 || rename(part, path) < 0)
		return hf_error_set(err, HF_E_SYSTEM, errno, "%s", path);
	return 0;
}

int device_file_save(struct hf_device *device, const char *path, bool force,
		     struct device_file_result *ret_result, struct hf_error *err)
{
	const uint64_t began = now_ns();
	struct header header;
	struct hf_error second = { 0 };
	char part[4096];
	int fd, r;

	memset(&header, 0, sizeof(header));
	if (device->ops->info(device->self, &header.info) < 0)
		return hf_error_set(err, HF_E_DEVICE_LOST, 0, "the device does not say what it is");
	if (!force && access(path, F_OK) == 0)
		return hf_error_set(err, HF_E_INVALID, 0,
				    "%s is there already (--force replaces it)", path);
	if ((size_t)snprintf(part, sizeof(part), "%s.part", path) >= sizeof(part))
		return hf_error_set(err, HF_E_INVALID, 0, "the path is too long");
	fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return hf_error_set(err, HF_E_SYSTEM, errno, "%s", part);
	r = hf_device_walk(device, HF_DEVICE_STOP_COPY, err);
	if (r == 0)
		r = copy_out(device, fd, part, &header, err);
	/* It goes on, whatever became of the file. */
	if (hf_device_walk(device, HF_DEVICE_RUNNING, &second) < 0 && r == 0)
		r = hf_error_set(err, second.code, 0, "the state is read, but %.200s", second.text);
	if (r == 0)
		r = finish(fd, part, path, &header, err);
	if (r < 0)
		(void)unlink(part);
	(void)close(fd);
	if (r == 0)
		*ret_result = (struct device_file_result){ header.length, header.digest,
							   now_ns() - began };
	return r;
}

/* ---- load ---------------------------------------------------------------------------------- */

/*
 * Go through the stream: with a device write it there, without only look. The digest has to be the
 * header's in the end, both times.
 */
static int go_through(int fd, const char *path, const struct header *header,
		      struct hf_device *device, struct hf_error *err)
{
	XXH3_state_t *hash = XXH3_createState();
	uint8_t *piece = malloc(PIECE);
	uint64_t done = 0;
	int r = 0;

	if (!hash || !piece || XXH3_64bits_reset(hash) != XXH_OK)
		r = hf_error_set(err, HF_E_NO_MEMORY, 0, "loading a device");
	while (r == 0 && done < header->length) {
		size_t size =
			header->length - done < PIECE ? (size_t)(header->length - done) : PIECE;

		r = read_all(fd, piece, size, HEADER_SIZE + done);
		if (r < 0) {
			r = hf_error_set(err, HF_E_SYSTEM, -r, "%s: reading, at byte %" PRIu64,
					 path, done);
			break;
		}
		(void)XXH3_64bits_update(hash, piece, size);
		for (size_t at = 0; device && at < size;) {
			ssize_t n = device->ops->write_data(device->self, piece + at, size - at);

			if (n <= 0 || (size_t)n > size - at) {
				r = hf_error_set(
					err, HF_E_DEVICE_DATA, n < 0 ? (int)-n : 0,
					"writing the device's state in RESUMING, at byte %" PRIu64
					" of %" PRIu64,
					done + at, header->length);
				break;
			}
			at += (size_t)n;
		}
		done += size;
	}
	if (r == 0 && XXH3_64bits_digest(hash) != header->digest)
		r = hf_error_set(err, HF_E_INVALID, 0,
				 "%s: its digest is not that of its %" PRIu64
				 " bytes: it is damaged",
				 path, header->length);
	free(piece);
	if (hash)
		(void)XXH3_freeState(hash);
	return r;
}

static int read_header(int fd, const char *path, struct header *ret_header, struct hf_error *err)
{
	uint8_t bytes[HEADER_SIZE];
	struct stat st;
	int r = read_all(fd, bytes, sizeof(bytes), 0);

	if (r == -ENODATA)
		return hf_error_set(err, HF_E_INVALID, 0,
				    "%s: no state of a device is in this file", path);
	if (r < 0 || fstat(fd, &st) < 0)
		return hf_error_set(err, HF_E_SYSTEM, r < 0 ? -r : errno, "%s: reading", path);
	r = decode(bytes, path, ret_header, err);
	if (r < 0)
		return r;
	if ((uint64_t)st.st_size - HEADER_SIZE != ret_header->length)
		return hf_error_set(err, HF_E_INVALID, 0,
				    "%s: it has %" PRIu64 " bytes of state instead of %" PRIu64,
				    path, (uint64_t)st.st_size - HEADER_SIZE, ret_header->length);
	return 0;
}

static int fits(const struct header *header, const struct hf_device_info *info, const char *path,
		struct hf_error *err)
{
	const struct hf_device_info *of = &header->info;

	if (strcmp(of->compat, info->compat) == 0 && of->vendor_id == info->vendor_id &&
	    of->device_id == info->device_id)
		return 0;
	return hf_error_set(
		err, HF_E_INVALID, 0,
		"%s: saved from %s (%04x:%04x), and this device is %s (%04x:%04x); --force "
		"tries it all the same",
		path, of->compat, of->vendor_id, of->device_id, info->compat, info->vendor_id,
		info->device_id);
}

static int load(struct hf_device *device, int fd, const char *path, const struct header *header,
		struct hf_error *err)
{
	int r = hf_device_walk(device, HF_DEVICE_RESUMING, err);

	if (r == 0)
		r = go_through(fd, path, header, device, err);
	/* This arc takes the state over, so all of it has been proved by now. */
	if (r == 0)
		r = hf_device_walk(device, HF_DEVICE_STOP, err);
	if (r == 0)
		r = hf_device_walk(device, HF_DEVICE_RUNNING, err);
	return r;
}

int device_file_load(struct hf_device *device, const char *path, bool force,
		     struct device_file_result *ret_result, struct hf_error *err)
{
	const uint64_t began = now_ns();
	struct hf_device_info info;
	struct header header;
	int fd, r;

	memset(&info, 0, sizeof(info));
	memset(&header, 0, sizeof(header));
	if (device->ops->info(device->self, &info) < 0)
		return hf_error_set(err, HF_E_DEVICE_LOST, 0, "the device does not say what it is");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return hf_error_set(err, HF_E_SYSTEM, errno, "%s", path);
	r = read_header(fd, path, &header, err);
	if (r == 0 && !force)
		r = fits(&header, &info, path, err);
	if (r == 0)
		r = go_through(fd, path, &header, NULL, err);
	if (r == 0) {
		r = load(device, fd, path, &header, err);
		/* A load that failed is ended by nothing else; what was there before is gone. */
		if (r < 0 && device->ops->reset(device->self) < 0)
			(void)hf_error_set(err, HF_E_DEVICE_LOST, 0, "and a reset failed too");
	}
	(void)close(fd);
	if (r == 0)
		*ret_result = (struct device_file_result){ header.length, header.digest,
							   now_ns() - began };
	return r;
}
