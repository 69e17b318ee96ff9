/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The demo's guests: each a `holdfast run` process with its control socket, and with its serial
 * console in a file that is read as it grows. What is shown with them is tools/demo.c's business.
 * Every wait has a deadline and ends early when the process does.
 */
#ifndef TOOLS_DEMO_GUEST_H
#define TOOLS_DEMO_GUEST_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guard/qmp-client.h"

#define DEMO_ARGUMENTS_MAX 64u

/* What the guest said about itself in its last report; docs/checker.md. */
struct demo_report {
	uint64_t count; /* reports so far */
	uint64_t pass; /* passes that it has ended */
	uint64_t gap_us; /* the longest stand-still in the reports since the mark */
	char line[512];
};

struct demo_guest {
	char name[16]; /* of the process: "a"; the guest has one name everywhere */
	pid_t pid; /* 0: not started, or gone and waited for */
	int pid_fd, serial_fd, watch_fd;
	struct qmp_client *client;
	char folder[PATH_MAX];
	char socket[PATH_MAX], serial[PATH_MAX], log[PATH_MAX];
	char line[512]; /* of the serial console, as far as it has come */
	uint32_t line_used;
	struct demo_report report;
};

/* Start it in the folder with these arguments behind `run`, ended by NULL, and connect to it. */
int demo_guest_start(struct demo_guest *guest, const char *folder, const char *name,
		     const char *const *arguments, uint32_t timeout_ms, struct hf_error *err);

/* From now on its longest stand-still counts. */
int demo_guest_mark(struct demo_guest *guest, struct hf_error *err);

/*
 * Wait until the guest has ended count passes that it has begun after this call, all of them clean.
 * HF_E_REFUSED: it reported damage, and the text is its line.
 */
int demo_guest_passes(struct demo_guest *guest, uint32_t count, uint32_t timeout_ms,
		      struct hf_error *err);

/* Wait for an event with this member of data equal to value; value NULL: only that it is there. */
int demo_guest_event(struct demo_guest *guest, const char *event, const char *member,
		     const char *value, uint32_t timeout_ms, struct hf_error *err);

/* One command; the answer is the caller's, or dropped (NULL). */
int demo_guest_call(struct demo_guest *guest, const char *command, json_t *arguments,
		    json_t **ret_answer, struct hf_error *err);

/* Wait until the process has ended by itself. */
int demo_guest_ended(struct demo_guest *guest, uint32_t timeout_ms, int *ret_exit_status,
		     struct hf_error *err);

/* The last line of what the process said, for the story of a failure. */
void demo_guest_last_words(const struct demo_guest *guest, char *buf, size_t size);

/* End it, by SIGKILL if it still runs. Takes one that was never started. */
void demo_guest_done(struct demo_guest *guest);

#endif
