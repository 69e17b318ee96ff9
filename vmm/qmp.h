/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QMP, the control protocol that QEMU's clients speak: bytes to messages, messages to answers. No
 * sockets, no clock and nothing of guests: vmm/qmp-server.c has the sockets, vmm/control.c the
 * commands.
 *
 * What is bounded: a message's bytes and its depth. What is wrong gets an error, and the protocol
 * goes on with what follows it, as QEMU does.
 */
#ifndef VMM_QMP_H
#define VMM_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

#define QMP_MESSAGE_MAX (64u << 10) /* bytes from the first bracket to the last */
#define QMP_DEPTH_MAX 64u /* of nested objects and arrays */
#define QMP_REASON_MAX 512 /* with the NUL */

/* ---- bytes to messages --------------------------------------------------------------------- */

/* One client's incoming bytes; that client's thread owns it. */
struct qmp_parser {
	size_t used;
	uint32_t depth;
	char quote; /* inside a string: the character that ends it; else 0 */
	bool escaped;
	bool oversized; /* the rest of this message is read and dropped */
	char reason[QMP_REASON_MAX];
	char text[QMP_MESSAGE_MAX + 1];
};

void qmp_parser_init(struct qmp_parser *parser);

/*
 * Take bytes up to the end of the next message. Returns how many were taken. Then *ret_message is
 * the message (the caller's), or *ret_reason says what was wrong (the parser's, until the next
 * call), or both are NULL: more bytes are needed.
 */
size_t qmp_parser_push(struct qmp_parser *parser, const char *bytes, size_t count,
		       json_t **ret_message, const char **ret_reason);

/* ---- messages to answers ------------------------------------------------------------------- */

enum qmp_type { QMP_STRING, QMP_NUMBER, QMP_BOOL, QMP_STRINGS, QMP_LIST };

struct qmp_argument {
	const char *name; /* NULL ends a list */
	enum qmp_type type;
	bool required;
};

/* Why a command failed: QEMU's class and a sentence. */
struct qmp_error {
	const char *class_; /* static text */
	char text[QMP_REASON_MAX];
};

#define QMP_GENERIC "GenericError"
#define QMP_NOT_FOUND "CommandNotFound"

struct qmp_command {
	const char *name; /* NULL ends a table */
	const struct qmp_argument *arguments; /* or NULL: none */
	/*
	 * arguments is an object that was checked against the list. Returns what goes under
	 * "return", the caller's; NULL is a failure and error says why.
	 */
	json_t *(*run)(void *ctx, const json_t *arguments, struct qmp_error *error);
};

struct qmp_table {
	const struct qmp_command *commands; /* besides those that every server has */
	const char *const *events; /* names, ended by NULL */
	void *ctx;
};

/* Set the error's text and class; returns NULL, so that a command can return it. */
json_t *qmp_fail(struct qmp_error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * A string for an answer. A text that came from outside may be cut in the middle of a character,
 * and jansson takes only UTF-8: then what is not ASCII becomes '?'.
 */
json_t *qmp_text(const char *text);

/* The first message of a connection. NULL: no memory. */
json_t *qmp_greeting(void);

/*
 * The answer to a message. *negotiated is the connection's, false at first. NULL: no memory.
 */
json_t *qmp_answer(const struct qmp_table *table, bool *negotiated, const json_t *message);

/* The answer to bytes that are no message. */
json_t *qmp_refusal(const char *reason);

/* An event; data is given away (NULL: none). NULL: no memory. */
json_t *qmp_event(const char *name, json_t *data, struct timespec now);

#endif
