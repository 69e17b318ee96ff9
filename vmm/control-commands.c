/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of the control socket: QEMU's names and shapes where QEMU has them, and Holdfast's
 * own query-guest, query-ledger, query-timeline and resolve. holdfast-run(1) lists them for users.
 * Each checks whether it may be done now, and does it by what vmm/control-private.h offers.
 */
#include <stdio.h>
#include <string.h>

#include "vmm/control-private.h"

static json_t *fail(struct qmp_error *error, const struct hf_error *err)
{
	return qmp_fail(error, "%s", err->text[0] ? err->text : hf_error_explain(err->code));
}

static const char *text_argument(const json_t *arguments, const char *name)
{
	return json_string_value(json_object_get(arguments, name));
}

/* ---- the guest ----------------------------------------------------------------------------- */

static json_t *query_status(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;

	(void)arguments;
	(void)error;
	return json_pack("{s:b,s:s}", "running", (int)atomic_load(&control->machine.running),
			 "status", control_run_state(control));
}

static json_t *stop(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	struct hf_machine machine = migrate_machine_handle(&control->machine);
	struct hf_error err = { 0 };
	char why[QMP_REASON_MAX];

	(void)arguments;
	if (control_not_now(control, why, sizeof(why)))
		return qmp_fail(error, "%s", why);
	if (machine.ops->stop(machine.self, &err) < 0)
		return fail(error, &err);
	return json_object();
}

static json_t *cont(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	struct hf_machine machine = migrate_machine_handle(&control->machine);
	struct hf_error err = { 0 };
	char why[QMP_REASON_MAX];

	(void)arguments;
	if (control_not_now(control, why, sizeof(why)))
		return qmp_fail(error, "%s", why);
	if (control_check_doubt(control, &err) < 0 || machine.ops->run(machine.self, &err) < 0)
		return fail(error, &err);
	return json_object();
}

static json_t *quit(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	struct hf_error err = { 0 };

	if (control->guest && !json_is_true(json_object_get(arguments, "force")) &&
	    control_check_doubt(control, &err) < 0) {
		return qmp_fail(error,
				"not leaving, since the guest here may be the only one "
				"(\"force\": true quits all the same): %s",
				err.text);
	}
	control->quit_forced = json_is_true(json_object_get(arguments, "force"));
	qmp_server_event(&control->server, "SHUTDOWN",
			 json_pack("{s:b,s:s}", "guest", 0, "reason", "host-qmp-quit"));
	control_quit(control, 0);
	return json_object();
}

static json_t *query_name(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;

	(void)arguments;
	(void)error;
	return json_pack("{s:s}", "name", control->config->guest_name);
}

static json_t *query_kvm(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	int is_kvm = control->guest && strcmp(control->guest->ops->kind, "kvm") == 0;

	(void)arguments;
	(void)error;
	return json_pack("{s:b,s:b}", "enabled", is_kvm, "present", is_kvm);
}

/* Takes what. */
static void failure_set(json_t *device, const char *name, const struct guest_failure *failure,
			const char *what_name, json_t *what)
{
	(void)json_object_set_new(device, name,
				  json_pack("{s:I,s:o,s:i,s:s}", "count",
					    (json_int_t)failure->count, what_name, what, "errno",
					    failure->error, "error", strerror(failure->error)));
}

static json_t *device_json(const struct guest *guest, uint32_t index)
{
	const struct hf_session_device *entry = &guest->devices[index];
	struct hf_device_info info;
	json_t *device = json_pack("{s:s}", "id", entry->name);
	uint32_t state;

	if (entry->device.ops->info(entry->device.self, &info) == 0) {
		(void)json_object_set_new(device, "kind", qmp_text(info.kind));
		(void)json_object_set_new(device, "compat", qmp_text(info.compat));
		(void)json_object_set_new(device, "migration-flags", json_integer(info.mig_flags));
	}
	(void)json_object_set_new(device, "wanted",
				  json_boolean(guest->devices_wanted >> index & 1));
	if (guest->irqs_failures[index].count != 0)
		failure_set(device, "irqs-failed", &guest->irqs_failures[index], "kind",
			    json_string(control_irqs_name(guest->irqs_failures[index].index)));
	if (guest->bars_failures[index].count != 0)
		failure_set(device, "bars-failed", &guest->bars_failures[index], "bar",
			    json_integer(guest->bars_failures[index].index));
	if (entry->device.ops->get_state(entry->device.self, &state) == 0)
		(void)json_object_set_new(device, "state",
					  json_string(hf_device_state_name(state)));
	return device;
}

static json_t *p2p_refused_json(const struct guest *guest)
{
	int error = guest->p2p_refused.error;

	return json_pack("{s:I,s:o,s:o,s:i,s:s}", "count", (json_int_t)guest->p2p_refused.count,
			 "device", qmp_text(guest->devices[guest->p2p_refused.device].name), "peer",
			 qmp_text(guest->devices[guest->p2p_refused.peer].name), "errno", error,
			 "error", strerror(error));
}

static json_t *query_guest(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	const struct guest *guest = control->guest;
	json_t *answer, *devices;
	uint64_t memory = 0;

	(void)arguments;
	(void)error;
	answer = json_pack("{s:s,s:s,s:b}", "name", control->config->guest_name, "side",
			   control->config->side, "here", guest && !control_awaits_guest(control));
	if (!guest)
		return answer;
	devices = json_array();
	/* A session's workers own the devices' migration while it goes on; so does a reset. */
	if (!migration_active(control->migration) && !control->reset.under_way)
		for (uint32_t i = 0; i < guest->device_count; i++)
			(void)json_array_append_new(devices, device_json(guest, i));
	for (uint32_t i = 0; i < guest->region_count; i++)
		memory += guest->regions[i].size;
	(void)json_object_set_new(answer, "kind", json_string(guest->ops->kind));
	(void)json_object_set_new(answer, "description",
				  qmp_text(guest->ops->describe(control->guest)));
	(void)json_object_set_new(answer, "memory", json_integer((json_int_t)memory));
	(void)json_object_set_new(answer, "vcpus", json_integer(guest->vcpu_count));
	(void)json_object_set_new(answer, "device-count", json_integer(guest->device_count));
	(void)json_object_set_new(answer, "devices", devices);
	if (guest->p2p_refused.count != 0)
		(void)json_object_set_new(answer, "p2p-refused", p2p_refused_json(guest));
	return answer;
}

/* ---- migration ----------------------------------------------------------------------------- */

#define NUMBER(name, member, unit, least, most, standard) { name, QMP_NUMBER, false },
#define TEXT(name, type) { name, type, false },
static const struct qmp_argument parameter_arguments[] = { MIGRATE_NUMBERS(NUMBER)
								   MIGRATE_TEXTS(TEXT){ NULL } };
/* QEMU's "detach" means nothing here: migrate never waits. */
static const struct qmp_argument migrate_arguments[] = { { "uri", QMP_STRING, true },
							 { "channels", QMP_NUMBER, false },
							 { "detach", QMP_BOOL, false },
							 MIGRATE_NUMBERS(NUMBER)
								 MIGRATE_TEXTS(TEXT){ NULL } };
#undef NUMBER
#undef TEXT

static json_t *migrate(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	struct migrate_parameters parameters = control->parameters;
	struct hf_error err = { 0 };
	char why[QMP_REASON_MAX];

	if (control_not_now(control, why, sizeof(why)))
		return qmp_fail(error, "%s", why);
	if (control->quitting)
		return qmp_fail(error, "this process is about to end");
	if (control_check_doubt(control, &err) < 0 ||
	    migrate_parameters_set(&parameters, arguments, &err) < 0 ||
	    control_migrate(control, HF_ROLE_SOURCE, text_argument(arguments, "uri"), &parameters,
			    &err) < 0)
		return fail(error, &err);
	return json_object();
}

static json_t *migrate_incoming(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	struct migrate_parameters parameters = control->parameters;
	struct hf_error err = { 0 };

	if (!control->awaits_guest)
		return qmp_fail(error, "no guest is awaited: 'holdfast run' was started without "
				       "--incoming defer");
	if (migration_active(control->migration))
		return qmp_fail(error, "already listening at %s", control->migration->uri);
	if (migrate_parameters_set(&parameters, arguments, &err) < 0 ||
	    control_migrate(control, HF_ROLE_TARGET, text_argument(arguments, "uri"), &parameters,
			    &err) < 0)
		return fail(error, &err);
	return json_object();
}

static json_t *migrate_cancel(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	int result = migration_cancel(control->migration);

	(void)arguments;
	if (result < 0)
		return qmp_fail(error, "%s", hf_error_explain(result));
	return json_object();
}

static json_t *resolve(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	static const char *const words[] = {
		[HF_RESOLVE_ASK] = "ask",
		[HF_RESOLVE_TAKE_BACK] = "take-back",
		[HF_RESOLVE_LET_GO] = "let-go",
	};
	struct control *control = ctx;
	const char *action = text_argument(arguments, "action");
	struct hf_error err = { 0 };

	for (int how = HF_RESOLVE_ASK; how <= HF_RESOLVE_LET_GO; how++)
		if (strcmp(action ? action : "ask", words[how]) == 0)
			return control_resolve(control, (enum hf_resolve)how, &err) < 0
				       ? fail(error, &err)
				       : json_object();
	return qmp_fail(error, "Parameter 'action': '%s' is none of ask, take-back, let-go",
			action);
}

static json_t *set_parameters(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	struct hf_error err = { 0 };

	if (migration_active(control->migration))
		return qmp_fail(error, "a migration is under way; its parameters are fixed");
	if (migrate_parameters_set(&control->parameters, arguments, &err) < 0)
		return fail(error, &err);
	return json_object();
}

static json_t *query_parameters(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;

	(void)arguments;
	(void)error;
	return migrate_parameters_json(&control->parameters);
}

static json_t *query_migrate(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;

	(void)arguments;
	(void)error;
	return migration_query(control->migration);
}

/* What QEMU's clients ask to be switched on is always on, and the rest is not there. */
static const char *const capabilities_on[] = { "events", "return-path", "multifd", "auto-converge",
					       NULL };

static json_t *query_capabilities(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	json_t *list = json_array();

	(void)ctx;
	(void)arguments;
	(void)error;
	for (size_t i = 0; capabilities_on[i]; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s,s:b}", "capability", capabilities_on[i], "state", 1));
	return list;
}

static json_t *set_capabilities(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	const json_t *list = json_object_get(arguments, "capabilities");

	(void)ctx;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		const char *name = text_argument(entry, "capability");
		const json_t *wanted = json_object_get(entry, "state");
		bool is_on = false;

		if (!name || !json_is_boolean(wanted))
			return qmp_fail(error, "Parameter 'capabilities' is a list of "
					       "{\"capability\": NAME, \"state\": BOOL}");
		for (size_t j = 0; capabilities_on[j]; j++)
			if (strcmp(capabilities_on[j], name) == 0)
				is_on = true;
		if (json_is_true(wanted) != is_on)
			return qmp_fail(error, "Capability '%s' is always %s here", name,
					is_on ? "on" : "off");
	}
	return json_object();
}

/* Reads the record itself, by a handle of its own: a session's worker may be using the other. */
static json_t *query_ledger(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;
	const char *uri = control->parameters.ledger;
	struct hf_error err = { 0 };
	json_t *answer;

	(void)arguments;
	/* A ledger that hangs would hold up the session, which is driven by this thread. */
	if (migration_active(control->migration))
		return qmp_fail(error, "a migration is under way, and asks the ledger itself; "
				       "'query-migrate' has its last answer");
	if (control->migration)
		uri = control->migration->parameters.ledger;
	answer = migration_ledger_query(uri, control->config->guest_name, &err);
	return answer ? answer : fail(error, &err);
}

static json_t *query_timeline(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct control *control = ctx;

	(void)error;
	return migration_timeline(control->migration, (uint64_t)json_integer_value(
							      json_object_get(arguments, "first")));
}

/* ---- the table ----------------------------------------------------------------------------- */

static const struct qmp_argument quit_arguments[] = { { "force", QMP_BOOL, false }, { NULL } };
static const struct qmp_argument resolve_arguments[] = { { "action", QMP_STRING, false },
							 { NULL } };
static const struct qmp_argument capability_arguments[] = { { "capabilities", QMP_LIST, true },
							    { NULL } };
static const struct qmp_argument timeline_arguments[] = { { "first", QMP_NUMBER, false },
							  { NULL } };

/* clang-format off */
const struct qmp_command control_commands[] = {
	{ "cont",                       NULL,                 cont },
	{ "migrate",                    migrate_arguments,    migrate },
	{ "migrate-cancel",             NULL,                 migrate_cancel },
	{ "migrate-incoming",           migrate_arguments,    migrate_incoming },
	{ "migrate-set-capabilities",   capability_arguments, set_capabilities },
	{ "migrate-set-parameters",     parameter_arguments,  set_parameters },
	{ "migrate_cancel",             NULL,                 migrate_cancel },
	{ "query-guest",                NULL,                 query_guest },
	{ "query-kvm",                  NULL,                 query_kvm },
	{ "query-ledger",               NULL,                 query_ledger },
	{ "query-migrate",              NULL,                 query_migrate },
	{ "query-migrate-capabilities", NULL,                 query_capabilities },
	{ "query-migrate-parameters",   NULL,                 query_parameters },
	{ "query-name",                 NULL,                 query_name },
	{ "query-status",               NULL,                 query_status },
	{ "query-timeline",             timeline_arguments,   query_timeline },
	{ "quit",                       quit_arguments,       quit },
	{ "resolve",                    resolve_arguments,    resolve },
	{ "stop",                       NULL,                 stop },
	{ NULL,                         NULL,                 NULL },
};
/* clang-format on */

const char *const control_events[] = { "DEVICE_WANTED",	 "GUEST_PANICKED",
				       "MIGRATION",	 "RESUME",
				       "SHUTDOWN",	 "STOP",
				       "VFIO_MIGRATION", NULL };
