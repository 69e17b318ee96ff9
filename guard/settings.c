/* SPDX-License-Identifier: BSD-3-Clause */
/* See settings.h. */
#include "guard/settings.h"

#include <string.h>

#include "guard/fail.h"

/* A guard's own, and the sender's. */
static const char *const others[] = {
	"return-path",	       "events",	 "multifd",	"auto-converge", "dirty-limit",
	"late-block-activate", "zero-copy-send", "zero-blocks", "release-ram",	 NULL
};
/* Parameters. */
static const char *const alike[] = { "multifd-compression", NULL };

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static json_t *read_capabilities(struct qemu *qemu, struct hf_error *err)
{
	json_t *answer = qemu_call(qemu, "query-migrate-capabilities", NULL, err), *list, *item;
	size_t i;

	if (!answer)
		return NULL;
	list = json_array();
	json_array_foreach(answer, i, item)
	{
		json_t *name = json_object_get(item, "capability");

		if (json_is_true(json_object_get(item, "state")) && json_is_string(name) &&
		    !is_among(json_string_value(name), others))
			(void)json_array_append(list, name);
	}
	json_decref(answer);
	return list;
}

json_t *settings_read(struct qemu *qemu, struct hf_error *err)
{
	json_t *parameters, *settings, *capabilities = read_capabilities(qemu, err);

	if (!capabilities)
		return NULL;
	parameters = qemu_call(qemu, "query-migrate-parameters", NULL, err);
	settings = parameters ? json_pack("{s:o}", "capabilities", capabilities) : NULL;
	if (!parameters)
		json_decref(capabilities);
	for (size_t i = 0; settings && alike[i]; i++) {
		json_t *value = json_object_get(parameters, alike[i]);

		if (value)
			(void)json_object_set(settings, alike[i], value);
	}
	json_decref(parameters);
	return settings;
}

static bool has(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i,
			   item) if (json_is_string(item) &&
				     strcmp(json_string_value(item), name) == 0) return true;
	return false;
}

/* Those that only one of them has on. */
static int apply_capabilities(struct qemu *qemu, const json_t *ours, const json_t *theirs,
			      struct hf_error *err)
{
	const json_t *item;
	int r = 0;
	size_t i;

	json_array_foreach(theirs, i, item)
	{
		const char *name = json_string_value(item);

		if (r == 0 && !name)
			r = guard_fail(err, HF_E_PROTOCOL, 0,
				       "what the source says of its capabilities makes no sense");
		if (r == 0 && !has(ours, name))
			r = qemu_capability(qemu, name, true, err);
	}
	json_array_foreach(ours, i, item) if (r == 0 && !has(theirs, json_string_value(item))) r =
		qemu_capability(qemu, json_string_value(item), false, err);
	return r;
}

static int apply_parameters(struct qemu *qemu, const json_t *ours, const json_t *theirs,
			    struct hf_error *err)
{
	struct hf_error own = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && alike[i]; i++) {
		json_t *value = json_object_get(theirs, alike[i]);

		if (!value || json_equal(value, json_object_get(ours, alike[i])))
			continue;
		r = qemu_do(qemu, "migrate-set-parameters", json_pack("{s:O}", alike[i], value),
			    &own);
		if (r < 0)
			r = guard_fail(err, own.code == HF_E_REFUSED ? HF_E_UNSUPPORTED : own.code,
				       0, "%s as the source's: %s", alike[i], own.text);
	}
	return r;
}

int settings_apply(struct qemu *qemu, const json_t *theirs, struct hf_error *err)
{
	const json_t *capabilities = json_object_get(theirs, "capabilities");
	json_t *ours;
	int r;

	if (!json_is_array(capabilities))
		return guard_fail(err, HF_E_PROTOCOL, 0,
				  "what the source says of its settings makes no sense");
	ours = settings_read(qemu, err);
	if (!ours)
		return err->code;
	r = apply_capabilities(qemu, json_object_get(ours, "capabilities"), capabilities, err);
	if (r == 0)
		r = apply_parameters(qemu, ours, theirs, err);
	json_decref(ours);
	return r;
}

int settings_check(struct qemu *qemu, const char *whose, struct hf_error *err)
{
	json_t *answer = qemu_call(qemu, "query-migrate-parameters", NULL, err);
	const char *creds = json_string_value(json_object_get(answer, "tls-creds"));
	int r = answer ? 0 : err->code;

	if (creds && creds[0])
		r = guard_fail(err, HF_E_UNSUPPORTED, 0,
			       "the %s's QEMU has tls-creds set (%.40s): a guard cannot read what "
			       "QEMU encrypts; leave it off, the guards' sockets are local",
			       whose, creds);
	json_decref(answer);
	return r;
}
