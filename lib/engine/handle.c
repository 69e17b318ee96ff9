/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VMM asks of a session from outside of its loop: how it stands, and to change its course.
 */
#include "base/error.h"
#include "base/export.h"
#include "engine/actions.h"
#include "engine/loop.h"

HF_EXPORT int hf_session_fd(const struct hf_session *handle)
{
	return ((const struct session *)handle)->epoll_fd;
}

HF_EXPORT enum hf_outcome hf_session_outcome(const struct hf_session *handle)
{
	const struct session *session = (const struct session *)handle;

	return session->ended ? session->outcome : HF_OUTCOME_NONE;
}

HF_EXPORT const struct hf_error *hf_session_error(const struct hf_session *handle)
{
	return &((const struct session *)handle)->error;
}

HF_EXPORT const char *hf_session_uri(const struct hf_session *handle)
{
	return ((const struct session *)handle)->uri;
}

HF_EXPORT int hf_session_cancel(struct hf_session *handle)
{
	struct session *session = (struct session *)handle;
	uint32_t state = (uint32_t)atomic_load(&session->state_now);
	bool can = session_is_source(session) ? source_can_cancel((enum source_state)state)
					      : target_can_cancel((enum target_state)state);

	atomic_store(&session->cancel_asked, true);
	loop_wake(session);
	return can ? 0 : HF_E_TOO_LATE;
}

HF_EXPORT int hf_session_fail(struct hf_session *handle, const struct hf_error *why)
{
	struct session *session = (struct session *)handle;
	int none = 0;

	if (!why || !why->code)
		return HF_E_INVALID;
	if (!atomic_compare_exchange_strong(&session->failure_asked, &none, 1))
		return HF_E_BUSY;
	error_copy(&session->failure, why);
	/* As of an operation of the machine: it is no word on the connection to the peer. */
	if (session->failure.code == HF_E_CONNECTION_LOST)
		session->failure.code = HF_E_MACHINE_STATE;
	atomic_store(&session->failure_asked, 2);
	loop_wake(session);
	return 0;
}

HF_EXPORT int hf_session_resolve(struct hf_session *handle, enum hf_resolve how,
				 struct hf_error *err)
{
	static const enum source_event events[] = {
		[HF_RESOLVE_ASK] = SOURCE_E_ASK,
		[HF_RESOLVE_TAKE_BACK] = SOURCE_E_TAKE_BACK,
		[HF_RESOLVE_LET_GO] = SOURCE_E_LET_GO,
	};
	struct session *session = (struct session *)handle;

	if (how < HF_RESOLVE_ASK || how > HF_RESOLVE_LET_GO)
		return error_set(err, HF_E_INVALID, 0, "resolve: %d is no way to do it", (int)how);
	if (!session_is_source(session) || !source_can_resolve(session->source.state))
		return error_set(err, HF_E_INVALID, 0, "nothing is in doubt: it stands in %s",
				 session_is_source(session)
					 ? source_state_name(session->source.state)
					 : target_state_name(session->target.state));
	if (how == HF_RESOLVE_LET_GO && session->has_ledger)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "whose the guest is, %s says; it cannot be let go by word alone",
				 session->ledger.uri);
	session->ending = session->ended = false;
	session->outcome = HF_OUTCOME_NONE;
	session->end_ns = session->ending_ns = 0;
	session->wake_ns = 0; /* nobody was absent: it was at rest */
	session_post(session, events[how]);
	loop_wake(session);
	return 0;
}

HF_EXPORT const char *hf_outcome_name(enum hf_outcome outcome)
{
	switch (outcome) {
	case HF_OUTCOME_NONE:
		return "none";
	case HF_OUTCOME_AWAY:
		return "away";
	case HF_OUTCOME_HOME:
		return "home";
	case HF_OUTCOME_WAITING:
		return "waiting";
	case HF_OUTCOME_LOST:
		return "lost";
	case HF_OUTCOME_RUNNING:
		return "running";
	case HF_OUTCOME_FAILED:
		return "failed";
	}
	return "?";
}
