/* SPDX-License-Identifier: BSD-3-Clause */
/* The one way out for what happens inside: typed events to the VMM's hook, and USDT probes. */
#include "base/export.h"
#include "base/time.h"
#include "engine/session.h"

#ifdef HF_HAVE_SDT
#include <sys/sdt.h>
#define PROBE(id, a, b, c, d) DTRACE_PROBE5(holdfast, event, id, a, b, c, d)
#else
#define PROBE(id, a, b, c, d)                                                                      \
	do {                                                                                       \
	} while (0)
#endif

HF_EXPORT const char *hf_trace_name(uint32_t id)
{
#define CASE(name, number, text, args)                                                             \
	case HF_TRACE_##name:                                                                      \
		return #name;
	switch ((enum hf_trace_id)id) {
		HF_TRACE_LIST(CASE)
	}
#undef CASE
	return "?";
}

void trace(struct session *session, enum hf_trace_id id, const char *text, uint64_t a, uint64_t b,
	   uint64_t c, uint64_t d)
{
	struct hf_event event = {
		.size = sizeof(event),
		.id = id,
		.arg = { a, b, c, d },
		.text = text ? text : "",
	};

	PROBE(id, a, b, c, d);
	if (!session->config.trace && session->recorder.fd < 0)
		return;
	event.time_ns = time_now_ns();
	record_event(session, &event);
	if (session->config.trace)
		session->config.trace(session->config.trace_ctx, &event);
}
