/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors: a negative code decides, a fixed-size story explains.
 *
 * A function returns 0 or a count on success, or a negative HF_E_ code. Those that take a
 * struct hf_error also leave the story there: the innermost call sets it, each outer one puts its
 * words in front. The struct is the caller's, holds no pointer and needs no release; it is also
 * what travels to the peer and into the ledger.
 *
 * The class says whose failure it is. It follows from the code by the list below and is never set
 * by hand; policy asks the class, people read the text.
 */
#ifndef HOLDFAST_ERROR_H
#define HOLDFAST_ERROR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_ERROR_TEXT_MAX 248

struct hf_error {
	int32_t code; /* 0 or a negative HF_E_ code */
	int32_t cause; /* the errno behind it, positive; 0 if there is none */
	char text[HF_ERROR_TEXT_MAX]; /* NUL-terminated, zeroed in full behind the NUL */
};

enum hf_error_class {
	HF_CLASS_RETRY = 1, /* nobody's fault: the same again may succeed */
	HF_CLASS_PEER = 2, /* the other side failed or broke the protocol */
	HF_CLASS_DEVICE = 3, /* a device refused */
	HF_CLASS_LOCAL = 4, /* this host: memory, files, configuration, the operator */
	HF_CLASS_LEDGER = 5, /* the ledger refused or did not answer */
	HF_CLASS_BUG = 6, /* ours */
};

/*
 * One list for the names, numbers, classes and the operator's explanation: X(name, number, class,
 * text). Numbers are part of the protocol (ABORT, RETURNED) and never change their meaning.
 */
/* clang-format off */
#define HF_ERROR_LIST(X) \
	X(INVALID,          4101, LOCAL,  "An argument or a setting is not valid; the text names it.") \
	X(NO_MEMORY,        4102, LOCAL,  "This host has too little memory for what was asked.") \
	X(SYSTEM,           4103, LOCAL,  "A system call failed; the cause is its errno.") \
	X(UNSUPPORTED,      4104, LOCAL,  "This host, kernel or build cannot do what was asked.") \
	X(CANCELLED,        4105, LOCAL,  "The operator cancelled the migration.") \
	X(TOO_LATE,         4106, LOCAL,  "Too late to cancel: the guest was already offered to the target.") \
	X(BUSY,             4107, LOCAL,  "Another migration of this guest is under way.") \
	X(CONNECT,          4120, RETRY,  "The peer could not be reached.") \
	X(CONNECTION_LOST,  4121, RETRY,  "The connection to the peer was lost.") \
	X(DEADLINE,         4122, RETRY,  "Something that was waited for did not happen in time.") \
	X(NOT_CONVERGED,    4123, RETRY,  "The guest dirties memory faster than the link carries it, also when throttled; it was not switched over against the downtime limit.") \
	X(PROTOCOL,         4140, PEER,   "The peer broke the rules of the stream.") \
	X(VERSION,          4141, PEER,   "The peer speaks a version of the stream that this side does not.") \
	X(STREAM_DAMAGED,   4142, PEER,   "Data arrived damaged, incomplete or out of order.") \
	X(MISMATCH,         4143, PEER,   "The two machines are not alike: memory, vCPUs, devices or CPU features.") \
	X(REFUSED,          4144, PEER,   "The peer refused.") \
	X(PEER_FAILED,      4145, PEER,   "The peer failed; the text is its own reason.") \
	X(DEVICE_STATE,     4160, DEVICE, "A device refused a change of its migration state.") \
	X(DEVICE_DATA,      4161, DEVICE, "A device failed while its state was read or written.") \
	X(DEVICE_LOST,      4162, DEVICE, "A device is in ERROR, or was reset: what the guest had in it is gone.") \
	X(DEVICE_TRACKING,  4163, DEVICE, "A device cannot tell which pages its DMA has written.") \
	X(DEVICE_CONFIG,    4164, DEVICE, "A device's configuration space or interrupts could not be set.") \
	X(MACHINE_STATE,    4170, LOCAL,  "The state of the vCPUs or of the platform could not be read or set.") \
	X(DIRTY_TRACKING,   4171, LOCAL,  "Dirty pages of the guest's memory could not be tracked.") \
	X(LEDGER_REFUSED,   4180, LEDGER, "The ledger says that somebody else decided first.") \
	X(LEDGER_UNKNOWN,   4181, LEDGER, "The ledger did not answer; what it holds is unknown.") \
	X(LEDGER_DAMAGED,   4182, LEDGER, "A record of the ledger cannot be read.") \
	X(LEDGER_UNEQUAL,   4183, LEDGER, "The two sides do not use the same ledger.") \
	X(IN_DOUBT,         4184, LEDGER, "It is not known who owns the guest; it waits, paused and whole.") \
	X(BUG,              4199, BUG,    "A fault of Holdfast itself; please report it with the trace.")
/* clang-format on */

#define HF_ERROR_ENUM_(name, number, class_, text) HF_E_##name = -(number),
enum hf_error_code { HF_OK = 0, HF_ERROR_LIST(HF_ERROR_ENUM_) HF_ERROR_CODE_END_ = -4200 };
#undef HF_ERROR_ENUM_

/* The name of a code ("DEVICE_STATE"), "OK" for 0, "?" for a number that is none. Static text. */
const char *hf_error_name(int code);

/* The operator's explanation of a code. Static text; never NULL. */
const char *hf_error_explain(int code);

/* The class of a code; HF_CLASS_BUG for a number that is none of ours (an errno nobody judged). */
enum hf_error_class hf_error_class(int code);

/* The name of a class ("device"). Static text. */
const char *hf_error_class_name(enum hf_error_class class_);

/* The code of a name ("DEVICE_STATE" or "HF_E_DEVICE_STATE"), 0 if there is none. */
int hf_error_from_name(const char *name);

/* The code at index i of the list, 0 behind its end: to walk all of them. */
int hf_error_at(unsigned int index);

#ifdef __GNUC__
#define HF_ERROR_FORMAT_(at, first) __attribute__((__format__(__printf__, at, first)))
#else
#define HF_ERROR_FORMAT_(at, first)
#endif

/*
 * Set the story of a failure: a code (negative), its cause (an errno, or 0), whose own text is
 * appended, and words; what is too long is cut. The first failure wins: one that is set already
 * stays as it is. err is zeroed before its first use, or NULL. Returns err's code, or code for
 * NULL.
 */
int hf_error_set(struct hf_error *err, int code, int cause, const char *format, ...)
	HF_ERROR_FORMAT_(4, 5);

/* Put words in front of the text, with ": " between. Returns err's code (HF_E_BUG for NULL). */
int hf_error_prepend(struct hf_error *err, const char *format, ...) HF_ERROR_FORMAT_(2, 3);

#ifdef __cplusplus
}
#endif

#endif
