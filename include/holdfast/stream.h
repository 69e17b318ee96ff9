/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captured streams, record by record: what a connection is, and what its next record is and how
 * long. For tools that show streams; the caller reads the bytes. Whether records say what they may,
 * in an order that they may, is not judged here. docs/stream.md.
 */
#ifndef HOLDFAST_STREAM_H
#define HOLDFAST_STREAM_H

#include <stdint.h>

#include <holdfast/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_STREAM_MAGIC "HOLDFAST"
#define HF_STREAM_HEADER_BYTES 32 /* at the start of each connection, in each direction */
#define HF_STREAM_RECORD_BYTES 8 /* in front of each record's body */

struct hf_stream_header {
	uint32_t size;
	uint32_t bad_at; /* after an error: which of the bytes is the first that is not right */
	uint32_t major, minor;
	uint32_t bulk; /* 0: the control connection */
	uint32_t to_source; /* 0: from source to target */
	uint32_t channel; /* of a bulk connection */
};

struct hf_stream_record {
	uint32_t size;
	uint32_t bad_at;
	const char *name; /* "HELLO"; "?": unknown, and may be skipped. Static text. */
	uint32_t type; /* as it is in the stream */
	uint32_t length; /* of the body */
	uint32_t padding; /* bytes of zero behind the body */
};

/*
 * What the first HF_STREAM_HEADER_BYTES of a connection say. Errors: HF_E_PROTOCOL, HF_E_VERSION;
 * the text says what was expected at bad_at. The size is set by the caller.
 */
int hf_stream_header(const void *bytes, struct hf_stream_header *ret_header, struct hf_error *err);

/*
 * What the HF_STREAM_RECORD_BYTES in front of a record say. HF_E_PROTOCOL: no such record can come
 * on this connection, in this direction, or its length cannot be right; the text says so.
 */
int hf_stream_record(const struct hf_stream_header *connection, const void *bytes,
		     struct hf_stream_record *ret_record, struct hf_error *err);

#ifdef __cplusplus
}
#endif

#endif
