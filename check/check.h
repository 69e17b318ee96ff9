/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance check of devices: does a device behave as the kernel's VFIO migration interface,
 * version 2, says? It reaches the device by struct hf_device_ops alone, so it is the same for all
 * kinds, and says nothing of what lies beneath them (descriptors, ioctl arguments).
 *
 * This is what the command and the tests use. The checks are the rows of list.h.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <holdfast/backend.h>

enum check_level {
	CHECK_MUST, /* the uAPI says so, or what is built on it breaks */
	CHECK_SHOULD, /* good practice, or needed for a handover to be quick */
	CHECK_INFO, /* worth knowing */
};

enum check_verdict {
	CHECK_NOT_RUN, /* not chosen */
	CHECK_PASS,
	CHECK_FAIL, /* a must */
	CHECK_WARN, /* a should, or an info */
	CHECK_SKIP, /* cannot be asked here; the text says why */
	CHECK_QUIRK, /* would fail, and is known of this driver; the text names the quirk */
};

#define CHECK_TEXT_MAX 256

struct check_row {
	const char *name, *source, *sentence;
	enum check_level level;
	uint32_t needs; /* CHECK_NEEDS_* of run.h */
};

struct check_result {
	enum check_verdict verdict;
	uint64_t took_ns;
	char text[CHECK_TEXT_MAX]; /* what was found, or why it was skipped */
	const char *quirk; /* its name in the table of known quirks, or NULL */
};

#define CHECK_ONLY_MAX 32

struct check_options {
	const char *uri; /* of the device; it is opened and closed */
	const char *second_uri; /* of another one of the same model, or NULL */
	const char *only[CHECK_ONLY_MAX]; /* names of checks or groups; none: all */
	uint32_t only_count;
	bool dangerous; /* also what can lock up a kernel that is not mended */
	uint32_t deadline_ms; /* for each check; 0: CHECK_DEADLINE_MS */
};

#define CHECK_DEADLINE_MS 120000u

struct check_arc_times {
	uint32_t count; /* of requests */
	uint64_t min_ns, median_ns, p99_ns;
};

/* All that was found. Of fixed size but for the results, one for each row. */
struct check_report {
	struct hf_device_info info;
	char uri[HF_URI_MAX];
	const char *driver; /* what drives the device for checks of its work, or NULL */
	struct check_result *results;
	struct check_arc_times arcs[HF_DEVICE_STATE_COUNT][HF_DEVICE_STATE_COUNT];
	uint64_t save_bytes, save_ns, load_bytes, load_ns;
	uint32_t verdicts[CHECK_QUIRK + 1]; /* how many of each */
	bool hung; /* a check did not return: the process cannot use the device any more */
};

extern const struct check_row check_rows[];
extern const uint32_t check_row_count;

/* Is it the name of a check, or of a group of them? */
bool check_is_name(const char *name);

/*
 * Run the checks. 0, also if all of them fail; or a negative HF_E_ code if there is no device to
 * check. The report is the caller's, who gives it to check_report_done().
 */
int check_run(const struct check_options *options, struct check_report *report,
	      struct hf_error *err);
void check_report_done(struct check_report *report);

/* -- report.c -- */

void check_print_text(FILE *to, const struct check_report *report);
void check_print_tap(FILE *to, const struct check_report *report);
void check_print_json(FILE *to, const struct check_report *report);
/* The rows as a table in Markdown, which docs/device-check.md has. */
void check_print_list(FILE *to);
const char *check_level_name(enum check_level level);
const char *check_verdict_name(enum check_verdict verdict);

/* -- quirks.c -- */

struct check_quirk {
	const char *name; /* "mtty/temporary-end" */
	const char *kind; /* in hf_device_info.compat, or NULL */
	uint16_t vendor_id, device_id; /* 0: not by these */
	const char *check;
	const char *text;
};

extern const struct check_quirk check_quirks[];
extern const uint32_t check_quirk_count;
const struct check_quirk *check_quirk_of(const struct hf_device_info *info, const char *check);

#endif
