/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the vfio-user protocol as bytes, in both directions, for either end of a connection
 * (the specification's sections "Header" and "Commands"; docs/vfio-user.md says what of it is
 * spoken here). Pure: bytes in, bytes out.
 *
 * A message is a header of 16 bytes and a body; a body is fixed fields, by a table with one row for
 * each command and direction, and a tail: text, data or descriptions, whose length the fields tell.
 * All numbers are in the order of the host, since both ends are on one.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_MESSAGE_H
#define BACKEND_DEVICE_VFIO_USER_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#define VU_HEADER_BYTES 16u
#define VU_FIXED_MAX 32u /* bytes of the longest fixed part */
#define VU_XFER_DEFAULT (1u << 20) /* max_data_xfer_size of a peer that names none */
#define VU_SIZE_MAX(xfer) ((xfer) + VU_HEADER_BYTES + VU_FIXED_MAX)

/* clang-format off */
/* X(name, number) */
#define VU_COMMAND_LIST(X) \
	X(VERSION,                1) \
	X(DMA_MAP,                2) \
	X(DMA_UNMAP,              3) \
	X(DEVICE_GET_INFO,        4) \
	X(DEVICE_GET_REGION_INFO, 5) \
	X(DEVICE_GET_REGION_IO_FDS, 6) \
	X(DEVICE_GET_IRQ_INFO,    7) \
	X(DEVICE_SET_IRQS,        8) \
	X(REGION_READ,            9) \
	X(REGION_WRITE,          10) \
	X(DMA_READ,              11) \
	X(DMA_WRITE,             12) \
	X(DEVICE_RESET,          13) \
	X(REGION_WRITE_MULTI,    15) \
	X(DEVICE_FEATURE,        16) \
	X(MIG_DATA_READ,         17) \
	X(MIG_DATA_WRITE,        18)
/* clang-format on */

#define VU_COMMAND_ENUM_(name, number) VU_##name = (number),
enum vu_command { VU_COMMAND_LIST(VU_COMMAND_ENUM_) VU_COMMAND_END };
#undef VU_COMMAND_ENUM_

/* "DMA_MAP"; "?" for a number that is none. */
const char *vu_command_name(uint32_t command);

/* ---- the header ---------------------------------------------------------------------------- */

#define VU_TYPE_COMMAND 0u
#define VU_TYPE_REPLY 1u
#define VU_TYPE_MASK 15u
#define VU_NO_REPLY 16u
#define VU_ERROR 32u

struct vu_header {
	uint16_t id, command;
	uint32_t size; /* bytes, with the header */
	uint32_t flags; /* VU_TYPE_*, VU_NO_REPLY, VU_ERROR */
	uint32_t error; /* an errno, with VU_ERROR */
};

void vu_header_encode(const struct vu_header *header, uint8_t ret_bytes[VU_HEADER_BYTES]);
/*
 * size_max: the longest message that is taken. 0, or -EPROTO with the name of the field that is
 * wrong; *ret_header is filled all the same, since a reply wants the id.
 */
int vu_header_decode(const uint8_t bytes[VU_HEADER_BYTES], uint32_t size_max,
		     struct vu_header *ret_header, const char **ret_field);

/* ---- bodies -------------------------------------------------------------------------------- */

enum vu_field {
	VU_END, /* of a row */
	VU_MAJOR,
	VU_MINOR,
	VU_ARGSZ,
	VU_FLAGS,
	VU_INDEX, /* of a region or an IRQ */
	VU_START,
	VU_COUNT,
	VU_CAP_OFFSET,
	VU_REGIONS,
	VU_IRQS,
	VU_OFFSET,
	VU_ADDRESS,
	VU_SIZE,
	VU_FIELDS,
};

struct vu_body {
	uint64_t v[VU_FIELDS];
	const uint8_t *tail; /* into the bytes given to decode; the caller's for encode */
	size_t tail_size;
};

/*
 * The body of a command (reply 0) or of its reply (1). Decoding: 0; -ENOTSUP for a command that is
 * none or has no row; -EINVAL with the name of the field that does not fit the length that came.
 */
int vu_body_decode(uint32_t command, int reply, const uint8_t *bytes, size_t size,
		   struct vu_body *ret_body, const char **ret_field);
/* The fixed part only: what follows it is body->tail. Returns its bytes (0 is fine). */
size_t vu_body_encode(uint32_t command, int reply, const struct vu_body *body,
		      uint8_t ret_bytes[VU_FIXED_MAX]);
/* Bytes of the fixed part. */
size_t vu_fixed_size(uint32_t command, int reply);

/* ---- what the fields hold ------------------------------------------------------------------- */

#define VU_DMA_READ_FLAG 1u
#define VU_DMA_WRITE_FLAG 2u
#define VU_DMA_P2P_FLAG (1u << 31) /* ours: with the capability holdfast.dma_p2p */
#define VU_UNMAP_ALL 2u

#define VU_DEVICE_RESET_FLAG 1u
#define VU_DEVICE_PCI 2u

#define VU_REGION_READ_FLAG 1u
#define VU_REGION_WRITE_FLAG 2u
#define VU_REGION_MMAP 4u
#define VU_REGION_CAPS 8u
#define VU_CAP_SPARSE_MMAP 1u
#define VU_CAP_MSIX_MAPPABLE 3u

#define VU_IRQ_INFO_EVENTFD 1u
#define VU_IRQ_NONE 1u
#define VU_IRQ_BOOL 2u
#define VU_IRQ_EVENTFD 4u
#define VU_IRQ_MASK 8u
#define VU_IRQ_UNMASK 16u
#define VU_IRQ_TRIGGER 32u

#define VU_FEATURE_MASK 0xffffu
#define VU_FEATURE_GET (1u << 16)
#define VU_FEATURE_SET (1u << 17)
#define VU_FEATURE_PROBE (1u << 18)
#define VU_FEATURE_MIGRATION 1u
#define VU_FEATURE_MIG_STATE 2u
#define VU_FEATURE_LOG_START 6u
#define VU_FEATURE_LOG_STOP 7u
#define VU_FEATURE_LOG_REPORT 8u
#define VU_FEATURE_DATA_SIZE 9u
#define VU_FEATURE_PRECOPY_INFO 0xf001u /* ours: with the capability holdfast.precopy_info */

#define VU_LOG_START_BYTES 16u /* page_size, num_ranges, reserved; then 16 for each range */
#define VU_LOG_REPORT_BYTES 24u /* iova, length, page_size; then the bitmap */

/* Numbers in tails. */
void vu_put32(uint8_t *to, uint32_t v);
void vu_put64(uint8_t *to, uint64_t v);
uint32_t vu_get32(const uint8_t *from);
uint64_t vu_get64(const uint8_t *from);

/*
 * Capabilities of a region, in the tail of a reply to DEVICE_GET_REGION_INFO; offsets count from
 * the beginning of the body.
 */
#define VU_AREAS_MAX 16u /* further ones are left out: slower, and right */
struct vu_region_caps {
	uint32_t sparse; /* there is a list of areas, be it empty */
	uint32_t msix_mappable;
	uint32_t area_count;
	uint32_t reserved;
	struct {
		uint64_t offset, size;
	} areas[VU_AREAS_MAX];
};
#define VU_CAPS_BYTES_MAX (16u + 16u * VU_AREAS_MAX + 8u)

/* Returns bytes of the tail; 0: there is nothing to tell. */
size_t vu_caps_encode(const struct vu_region_caps *caps, uint8_t ret_bytes[VU_CAPS_BYTES_MAX]);
/* 0, or -EPROTO with the field: an offset that leads out, or around. */
int vu_caps_decode(const struct vu_body *body, struct vu_region_caps *ret_caps,
		   const char **ret_field);

#endif
