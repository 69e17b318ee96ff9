/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Known mistakes, put between the library's own parts (--wrap): what the nets must find, so that
 * their silence means something. Without sabotage everything goes straight through.
 */
#include "net-saboteur.h"

#include "engine/actions.h"
#include "net-world.h"

static bool is(enum sabotage sabotage)
{
	return world.scenario && world.scenario->sabotage == sabotage;
}

void __real_session_post(struct session *session, uint32_t event);
void __wrap_session_post(struct session *session, uint32_t event);

void __wrap_session_post(struct session *session, uint32_t event)
{
	__real_session_post(session, event);
	if (is(SABOTAGE_TWICE) && session_is_source(session) && event == SOURCE_E_LOADED)
		__real_session_post(session, event);
}

void __real_ledger_submit(struct session *session, enum ledger_op op);
void __wrap_ledger_submit(struct session *session, enum ledger_op op);

void __wrap_ledger_submit(struct session *session, enum ledger_op op)
{
	bool skip = (is(SABOTAGE_CLAIM) && op == LEDGER_OP_CLAIM) ||
		    (is(SABOTAGE_CLAIM) && op == LEDGER_OP_STARTED) ||
		    (is(SABOTAGE_STARTED) && op == LEDGER_OP_STARTED);

	if (skip)
		session_post(session, TARGET_E_LEDGER_DONE);
	else
		__real_ledger_submit(session, op);
}

enum ledger_verdict __real_ledger_next(const struct ledger_request *request,
				       const struct hf_ledger_record *now,
				       struct hf_ledger_record *ret_record);
enum ledger_verdict __wrap_ledger_next(const struct ledger_request *request,
				       const struct hf_ledger_record *now,
				       struct hf_ledger_record *ret_record);

enum ledger_verdict __wrap_ledger_next(const struct ledger_request *request,
				       const struct hf_ledger_record *now,
				       struct hf_ledger_record *ret_record)
{
	if (is(SABOTAGE_LATE) && request->op == LEDGER_OP_REVOKE && now->state == HF_LEDGER_HOME)
		return LEDGER_ALREADY;
	return __real_ledger_next(request, now, ret_record);
}

enum source_event saboteur_source(const struct source *source, enum source_event event)
{
	if (source->state != SOURCE_COMMITTING)
		return event;
	if (is(SABOTAGE_RESUME) && event == SOURCE_E_LOST)
		return SOURCE_E_RETURNED;
	if (is(SABOTAGE_FREE))
		return SOURCE_E_STARTED;
	return event;
}

bool saboteur_forgets_wake(void)
{
	return is(SABOTAGE_DEAF) && sched_side() == SOURCE && sched_chance(100);
}
