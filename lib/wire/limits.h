/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limits of the stream (docs/stream.md, section 9). Both sides are held to them; nothing of the
 * peer's that is larger is read, let alone allocated.
 */
#ifndef WIRE_LIMITS_H
#define WIRE_LIMITS_H

#include <holdfast/types.h>

#define WIRE_MAJOR 1u
#define WIRE_MINOR 0u

#define STREAM_HEADER_BYTES 32u
#define REC_HEADER_BYTES 8u
#define REC_ALIGN 8u

#define WIRE_DATA_MAX 65536u /* bytes of data in SHAPE, DEVICE_CONFIG, MACHINE_STATE */
#define REC_CONTROL_BODY_MAX (WIRE_DATA_MAX + 64u) /* any body on the control connection */
#define REC_CONTROL_BYTES_MAX (REC_HEADER_BYTES + REC_CONTROL_BODY_MAX) /* with its header */
#define REC_SKIPPED_BODY_MAX 65536u /* an unknown record that may be skipped */

#define REC_PAGES_MAX 512u /* pages in one PAGES record: 2 MiB */
#define REC_PAGES_WORDS (REC_PAGES_MAX / 64u) /* u64 in each of its bitmaps */
#define REC_PAGES_FIXED 144u /* bytes of its body in front of the pages */
#define REC_DEVICE_DATA_MAX 262144u /* bytes of data in one DEVICE_DATA record */
#define REC_DEVICE_DATA_FIXED 16u /* bytes of its body in front of the data */
#define REC_BULK_FIXED_MAX REC_PAGES_FIXED /* the longest fixed part on a bulk connection */
#define REC_BULK_HEAD_MAX (REC_HEADER_BYTES + REC_BULK_FIXED_MAX) /* with the record's header */

#define WIRE_ADDRESS_BITS 52u /* guest-physical addresses are below 2^52 */
#define WIRE_SECTIONS_MAX 1024u /* MACHINE_STATE records in a session */
#define WIRE_ROUNDS_MAX 65535u /* rounds in a session */
#define WIRE_KIND_MAX 16u /* a device's kind, with the NUL */
#define WIRE_SECTION_NAME_MAX 32u /* a section's name, with the NUL */
#define WIRE_ID_BYTES 16u /* a session's id, a token */
#define WIRE_CHUNK_BYTES_MIN 4096u /* ACCEPT's chunk_bytes_max, at least and at most */
#define WIRE_CHUNK_BYTES_MAX (REC_PAGES_MAX * HF_PAGE_SIZE)
#define WIRE_CODE_FIRST 4101 /* the codes of ABORT and RETURNED are -4199..-4101 */
#define WIRE_CODE_LAST 4199
#define WIRE_CAUSE_MAX 4095 /* an errno of Linux */

#endif
