/* SPDX-License-Identifier: BSD-3-Clause */
/* See guard-side.h. */
#include "tools/guard-side.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include <jansson.h>

#include "tools/commands.h"
#include "tools/paths.h"
#include "vmm/qmp.h"

/* Lines of two sides come from several threads. */
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

/* ---- what is told -------------------------------------------------------------------------- */

static void say(const struct side *side, const char *what, const char *text)
{
	(void)pthread_mutex_lock(&output);
	if (side->json) {
		json_t *line = json_pack("{s:s,s:s,s:o}", "side", side->name, "event", what, "text",
					 text && text[0] ? qmp_text(text) : json_null());

		(void)json_dumpf(line, stdout, JSON_COMPACT);
		(void)printf("\n");
		json_decref(line);
	} else {
		(void)printf("%s: %s%s%s\n", side->name, what, text && text[0] ? ": " : "",
			     text ? text : "");
	}
	(void)fflush(stdout);
	(void)pthread_mutex_unlock(&output);
}

static void on_listening(void *ctx, const char *uri)
{
	struct side *side = ctx;

	(void)snprintf(side->listening, sizeof(side->listening), "%s", uri);
}

static void on_event(void *ctx, const struct hf_event *event)
{
	const struct side *side = ctx;
	char text[HF_ERROR_TEXT_MAX];

	guard_control_event(side->control, event);
	switch (event->id) {
	case HF_TRACE_TRANSITION:
		if (side->json)
			say(side, "transition", event->text);
		break;
	case HF_TRACE_DEVICE_ARC:
		(void)snprintf(
			text, sizeof(text), "%s: %s -> %s, %.1f ms", event->text ? event->text : "",
			hf_device_state_name((uint32_t)event->arg[1]),
			hf_device_state_name((uint32_t)event->arg[2]), (double)event->arg[3] / 1e6);
		say(side, "device", text);
		break;
	case HF_TRACE_DEVICE_FAIL:
		say(side, "device refuses", event->text);
		break;
	case HF_TRACE_LEDGER:
		(void)snprintf(text, sizeof(text), "%s, epoch %" PRIu64 "%s",
			       event->text ? event->text : "", event->arg[2],
			       event->arg[1] == HF_LEDGER_DONE	    ? ""
			       : event->arg[1] == HF_LEDGER_REFUSED ? ": refused"
								    : ": no answer");
		say(side, "ledger", text);
		break;
	case HF_TRACE_WAITING:
		say(side, "waits", event->text);
		break;
	case HF_TRACE_OUTCOME:
		(void)snprintf(text, sizeof(text),
			       "stand-still of the handover %.1f ms, %.1f s in all",
			       (double)event->arg[1] / 1e3, (double)event->arg[2] / 1e6);
		say(side, "ended", text);
		break;
	default:
		break;
	}
}

static void on_link(void *ctx, const char *what, const char *text)
{
	char words[32];

	(void)snprintf(words, sizeof(words), "link %s", what);
	say(ctx, words, text);
}

static void on_remark(void *ctx, const char *what, const char *why)
{
	say(ctx, what, why);
}

static void on_copy(void *ctx, uint64_t remaining, uint64_t total)
{
	char text[96];

	if (total == 0)
		return;
	(void)snprintf(text, sizeof(text), "%.1f of %.1f MiB left", (double)remaining / (1 << 20),
		       (double)total / (1 << 20));
	say(ctx, "copying", text);
}

static const char *outcome_words(enum hf_outcome outcome)
{
	switch (outcome) {
	case HF_OUTCOME_AWAY:
		return "the guest is at the target";
	case HF_OUTCOME_HOME:
		return "the guest is here, as it was";
	case HF_OUTCOME_WAITING:
		return "the guest waits here, paused and whole: it is not known whose it is";
	case HF_OUTCOME_LOST:
		return "the guest is here, and may not run";
	case HF_OUTCOME_RUNNING:
		return "the guest is here";
	case HF_OUTCOME_FAILED:
		return "the guest is not here";
	case HF_OUTCOME_NONE:
		break;
	}
	return "it is not known how it ended";
}

int side_tell(const struct side *side)
{
	bool good = side->outcome == HF_OUTCOME_AWAY || side->outcome == HF_OUTCOME_RUNNING;

	const bool held =
		side->options.role == HF_ROLE_TARGET && side->outcome == HF_OUTCOME_WAITING;

	say(side, "outcome",
	    side->result < 0 ? "unknown"
	    : held	     ? "the guest is this side's, and paused: it could not be run"
			     : outcome_words(side->outcome));
	if (side->err.code)
		say(side, good ? "remark" : "reason", side->err.text);
	if (held) {
		say(side, "to do", "mend what the reason says, then let QEMU run it (`cont`)");
	} else if (side->outcome == HF_OUTCOME_WAITING) {
		char text[PATH_MAX + 160];

		(void)snprintf(text, sizeof(text),
			       "the same command with --restart --dir %s asks the ledger again; "
			       "'holdfast resolve --ledger URI --take-back GUEST' first, if the "
			       "target is dead",
			       side->options.dir);
		say(side, "to do", text);
	}
	if (side->result < 0)
		return EXIT_UNKNOWN;
	if (side->outcome == HF_OUTCOME_WAITING)
		return EXIT_DOUBT;
	return good ? EXIT_DONE : EXIT_FAILED;
}

/* ---- running ------------------------------------------------------------------------------- */

int side_listen(struct side *side)
{
	static char paths[3][PATH_MAX]; /* by role */
	char *path = paths[side->options.role];
	const struct guard_control_config config = { .role = side->options.role,
						     .path = path,
						     .guest = side->options.guest,
						     .ledger = side->options.ledger,
						     .qmp = side->options.qmp };
	struct hf_error err = { 0 };
	int r = path_guard_control(side->options.guest, side->name, true, path, &err);

	if (r == 0)
		r = guard_control_new(&config, &side->control, &err);
	return r < 0 ? command_failed(side->command, &err) : 0;
}

int side_open(struct side *side)
{
	const struct guard_listener listener = { .listening = on_listening,
						 .event = on_event,
						 .link = on_link,
						 .remark = on_remark,
						 .copy = on_copy,
						 .ctx = side };
	int r;

	side->outcome = HF_OUTCOME_NONE;
	side->err = (struct hf_error){ 0 };
	/* Its story begins here, also if it comes to nothing. */
	guard_control_begin(side->control, side->options.uri, NULL);
	r = guard_new(&side->options, &listener, &side->guard, &side->err);
	if (r == 0)
		guard_control_begin(side->control, side->options.uri, side->guard);
	/* Who hears of it may ask the control socket at once. */
	if (r == 0 && side->listening[0]) {
		guard_control_listening(side->control, side->listening);
		say(side, "listening", side->listening);
	}
	return r;
}

void *side_run(void *ctx)
{
	struct side *side = ctx;

	side->result = guard_run(side->guard, side->cancel_fd, &side->outcome, &side->err);
	return NULL;
}

void side_close(struct side *side)
{
	/* What the guard itself does not know is no end for who follows it. */
	guard_control_end(side->control,
			  side->outcome == HF_OUTCOME_NONE ? HF_OUTCOME_WAITING : side->outcome,
			  &side->err);
	side->guard = guard_free(side->guard);
}

void side_done(struct side *side)
{
	side->control = guard_control_free(side->control);
}

/* As it was started, but for what `migrate` has said. */
static void take_request(struct side *side, const struct guard_options *started,
			 const struct guard_request *request)
{
	struct guard_options *options = &side->options;

	*options = *started;
	options->uri = request->uri;
	if (request->connections)
		options->connections = request->connections;
	if (request->downtime_us)
		options->downtime_us = request->downtime_us;
	if (request->bandwidth)
		options->bandwidth = request->bandwidth;
	if (request->deadline_us)
		options->deadline_us = request->deadline_us;
	for (uint32_t i = 0; i < request->filter_count && i < GUARD_FILTERS_MAX - 1; i++)
		options->filters[i] = request->filters[i];
	if (request->filter_count)
		options->filter_count = request->filter_count;
}

int side_stand(struct side *side)
{
	struct guard_options started = side->options;
	struct guard_request request;
	int status = EXIT_FAILED;

	for (;;) {
		say(side, "stands", "'holdfast migrate --via-guard' hands the guest over");
		if (!guard_control_wait(side->control, side->cancel_fd, &request)) {
			say(side, "outcome", outcome_words(HF_OUTCOME_HOME));
			return EXIT_FAILED;
		}
		take_request(side, &started, &request);
		started.register_ = false; /* before the first one */
		if (side_open(side) < 0)
			side->outcome = HF_OUTCOME_HOME; /* nothing was touched */
		else
			(void)side_run(side);
		status = side_tell(side);
		side_close(side);
		if (side->result < 0 || side->outcome != HF_OUTCOME_HOME)
			return status;
	}
}
