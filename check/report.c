/* SPDX-License-Identifier: BSD-3-Clause */
/* What was found, for people, for machines, and for harnesses of tests. */
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include <holdfast/version.h>

#include "check/run.h"

const char *check_level_name(enum check_level level)
{
	switch (level) {
	case CHECK_MUST:
		return "must";
	case CHECK_SHOULD:
		return "should";
	case CHECK_INFO:
		return "info";
	}
	return "?";
}

const char *check_verdict_name(enum check_verdict verdict)
{
	switch (verdict) {
	case CHECK_NOT_RUN:
		return "not-run";
	case CHECK_PASS:
		return "pass";
	case CHECK_FAIL:
		return "fail";
	case CHECK_WARN:
		return "warn";
	case CHECK_SKIP:
		return "skip";
	case CHECK_QUIRK:
		return "known-quirk";
	}
	return "?";
}

static double mb_per_s(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes * 1000.0 / (double)ns : 0.0;
}

/* ---- text ---------------------------------------------------------------------------------- */

static void print_arcs(FILE *to, const struct check_report *report)
{
	bool first = true;

	for (uint32_t from = 0; from < HF_DEVICE_STATE_COUNT; from++) {
		for (uint32_t at = 0; at < HF_DEVICE_STATE_COUNT; at++) {
			const struct check_arc_times *t = &report->arcs[from][at];

			if (!t->count)
				continue;
			if (first)
				(void)fprintf(to, "\n%-30s %8s %12s %12s %12s\n", "request",
					      "times", "min us", "median us", "p99 us");
			first = false;
			(void)fprintf(to, "%-14s -> %-12s %8" PRIu32 " %12.1f %12.1f %12.1f\n",
				      hf_device_state_name(from), hf_device_state_name(at),
				      t->count, (double)t->min_ns / 1000,
				      (double)t->median_ns / 1000, (double)t->p99_ns / 1000);
		}
	}
}

void check_print_text(FILE *to, const struct check_report *report)
{
	(void)fprintf(to, "device     %s (%s, %s), flags %" PRIu32 ", %s%s\n\n", report->info.name,
		      report->info.kind, report->info.compat, report->info.mig_flags,
		      report->driver ? "driven as " : "not driven",
		      report->driver ? report->driver : "");
	for (uint32_t row = 0; row < check_row_count; row++) {
		const struct check_result *r = &report->results[row];

		if (r->verdict == CHECK_NOT_RUN)
			continue;
		(void)fprintf(to, "%-11s %-6s %-30s %8.1f ms%s%s%s%s%s\n",
			      check_verdict_name(r->verdict),
			      check_level_name(check_rows[row].level), check_rows[row].name,
			      (double)r->took_ns / 1e6, r->text[0] ? "  " : "", r->text,
			      r->quirk ? " (" : "", r->quirk ? r->quirk : "", r->quirk ? ")" : "");
		if (r->verdict == CHECK_FAIL || r->verdict == CHECK_WARN)
			(void)fprintf(to, "%-18s %s: %s\n", "", check_rows[row].source,
				      check_rows[row].sentence);
	}
	print_arcs(to, report);
	if (report->save_ns)
		(void)fprintf(to, "\nsave       %.0f MB/s\n",
			      mb_per_s(report->save_bytes, report->save_ns));
	if (report->load_ns)
		(void)fprintf(to, "load       %.0f MB/s\n",
			      mb_per_s(report->load_bytes, report->load_ns));
	(void)fprintf(to,
		      "\npassed %" PRIu32 ", failed %" PRIu32 ", warnings %" PRIu32
		      ", known quirks %" PRIu32 ", skipped %" PRIu32 "%s\n",
		      report->verdicts[CHECK_PASS], report->verdicts[CHECK_FAIL],
		      report->verdicts[CHECK_WARN], report->verdicts[CHECK_QUIRK],
		      report->verdicts[CHECK_SKIP],
		      report->hung ? "; the device hangs in an operation" : "");
}

/* ---- TAP ----------------------------------------------------------------------------------- */

void check_print_tap(FILE *to, const struct check_report *report)
{
	uint32_t number = 0;

	(void)fprintf(to, "TAP version 13\n");
	for (uint32_t row = 0; row < check_row_count; row++) {
		const struct check_result *r = &report->results[row];
		const char *directive = "";

		if (r->verdict == CHECK_NOT_RUN)
			continue;
		if (r->verdict == CHECK_SKIP)
			directive = " # SKIP ";
		else if (r->verdict == CHECK_WARN)
			directive = " # TODO not a must: ";
		else if (r->verdict == CHECK_QUIRK)
			directive = " # TODO known quirk: ";
		(void)fprintf(to, "%sok %" PRIu32 " - %s%s%s%s%s\n",
			      r->verdict == CHECK_PASS || r->verdict == CHECK_SKIP ? "" : "not ",
			      ++number, check_rows[row].name, directive, r->quirk ? r->quirk : "",
			      r->quirk ? ": " : "", directive[0] ? r->text : "");
		if (r->verdict == CHECK_FAIL)
			(void)fprintf(to, "# %s\n# %s: %s\n", r->text, check_rows[row].source,
				      check_rows[row].sentence);
	}
	(void)fprintf(to, "1..%" PRIu32 "\n", number);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* A device may say anything: bytes that are no UTF-8 become "?". */
static json_t *text(const char *from)
{
	json_t *value = json_string(from);
	char clean[CHECK_TEXT_MAX];

	if (value)
		return value;
	(void)snprintf(clean, sizeof(clean), "%s", from);
	for (char *at = clean; *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	return json_string(clean);
}

static json_t *arcs_json(const struct check_report *report)
{
	json_t *all = json_array();

	for (uint32_t from = 0; from < HF_DEVICE_STATE_COUNT; from++)
		for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT; to++) {
			const struct check_arc_times *t = &report->arcs[from][to];

			if (t->count)
				(void)json_array_append_new(
					all, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "from",
						       hf_device_state_name(from), "to",
						       hf_device_state_name(to), "count",
						       (json_int_t)t->count, "min-ns",
						       (json_int_t)t->min_ns, "median-ns",
						       (json_int_t)t->median_ns, "p99-ns",
						       (json_int_t)t->p99_ns));
		}
	return all;
}

static json_t *checks_json(const struct check_report *report)
{
	json_t *all = json_array();

	for (uint32_t row = 0; row < check_row_count; row++) {
		const struct check_result *r = &report->results[row];
		json_t *one;

		if (r->verdict == CHECK_NOT_RUN)
			continue;
		one = json_pack("{s:s,s:s,s:s,s:s,s:s,s:I}", "name", check_rows[row].name, "level",
				check_level_name(check_rows[row].level), "source",
				check_rows[row].source, "sentence", check_rows[row].sentence,
				"verdict", check_verdict_name(r->verdict), "ns",
				(json_int_t)r->took_ns);
		if (r->text[0])
			(void)json_object_set_new(one, "text", text(r->text));
		if (r->quirk)
			(void)json_object_set_new(one, "quirk", json_string(r->quirk));
		(void)json_array_append_new(all, one);
	}
	return all;
}

void check_print_json(FILE *to, const struct check_report *report)
{
	json_t *all = json_pack("{s:s,s:o,s:o,s:I,s:o,s:o}", "version", hf_version(), "uri",
				text(report->uri), "device", text(report->info.name), "flags",
				(json_int_t)report->info.mig_flags, "checks", checks_json(report),
				"arcs", arcs_json(report));
	json_t *counts = json_object();

	for (uint32_t v = CHECK_PASS; v <= CHECK_QUIRK; v++)
		(void)json_object_set_new(counts, check_verdict_name((enum check_verdict)v),
					  json_integer((json_int_t)report->verdicts[v]));
	(void)json_object_set_new(all, "verdicts", counts);
	(void)json_object_set_new(all, "kind", text(report->info.kind));
	(void)json_object_set_new(all, "compat", text(report->info.compat));
	(void)json_object_set_new(all, "driver",
				  report->driver ? json_string(report->driver) : json_null());
	(void)json_object_set_new(all, "save-mb-per-s",
				  json_real(mb_per_s(report->save_bytes, report->save_ns)));
	(void)json_object_set_new(all, "load-mb-per-s",
				  json_real(mb_per_s(report->load_bytes, report->load_ns)));
	(void)json_object_set_new(all, "hung", json_boolean(report->hung));
	(void)json_dumpf(all, to, JSON_COMPACT);
	(void)fputc('\n', to);
	json_decref(all);
}

/* ---- the list ------------------------------------------------------------------------------ */

static void print_needs(FILE *to, uint32_t needs)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = { { CHECK_NEEDS_P2P, "P2P" },
		      { CHECK_NEEDS_PRE, "PRE_COPY" },
		      { CHECK_NEEDS_SIZE, "data size" },
		      { CHECK_NEEDS_LOG, "DMA logging" },
		      { CHECK_NEEDS_NOLOG, "no DMA logging" },
		      { CHECK_NEEDS_LESS, "a state it lacks" },
		      { CHECK_NEEDS_SECOND, "--second" },
		      { CHECK_NEEDS_CONFIG, "configuration space" },
		      { CHECK_NEEDS_DANGER, "--dangerous" },
		      { CHECK_NEEDS_DRIVER, "a driver" } };
	bool any = false;

	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (needs & names[i].flag) {
			(void)fprintf(to, "%s%s", any ? ", " : "", names[i].name);
			any = true;
		}
}

void check_print_list(FILE *to)
{
	(void)fprintf(to, "| check | level | needs | stands on | what holds |\n"
			  "| --- | --- | --- | --- | --- |\n");
	for (uint32_t row = 0; row < check_row_count; row++) {
		const struct check_row *r = &check_rows[row];

		(void)fprintf(to, "| `%s` | %s | ", r->name, check_level_name(r->level));
		print_needs(to, r->needs);
		(void)fprintf(to, "%s| %s | %s |\n", r->needs ? " " : "", r->source, r->sentence);
	}
}
