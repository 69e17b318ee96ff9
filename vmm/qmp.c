/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QMP: how bytes are cut into messages, and how a message is checked and answered. Pure; see qmp.h.
 *
 * The cutter counts brackets outside of strings, as QEMU's does, so that a message may come in any
 * number of pieces and several may come in one. It takes strings in single quotes too, since many
 * scripts for QEMU write them; jansson gets them in double quotes.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <holdfast/version.h>

#include "vmm/qmp.h"

enum cut { CUT_MORE, CUT_COMPLETE, CUT_COMPLETE_BEFORE, CUT_BAD };

void qmp_parser_init(struct qmp_parser *parser)
{
	memset(parser, 0, sizeof(*parser));
}

static void restart(struct qmp_parser *parser)
{
	parser->used = 0;
	parser->depth = 0;
	parser->quote = 0;
	parser->escaped = false;
	parser->oversized = false;
}

static void store(struct qmp_parser *parser, char byte)
{
	if (parser->used == QMP_MESSAGE_MAX) {
		parser->oversized = true;
		return;
	}
	parser->text[parser->used++] = byte;
}

static enum cut bad(struct qmp_parser *parser, const char *reason)
{
	(void)snprintf(parser->reason, sizeof(parser->reason), "JSON parse error, %s", reason);
	return CUT_BAD;
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static enum cut cut_string(struct qmp_parser *parser, char byte)
{
	if ((unsigned char)byte < 0x20)
		return bad(parser, "a control character inside a string");
	if (parser->escaped) {
		parser->escaped = false;
		if (byte == '\'' && !parser->oversized)
			parser->used--; /* JSON has no \' */
		store(parser, byte);
		return CUT_MORE;
	}
	if (byte == parser->quote) {
		parser->quote = 0;
		store(parser, '"');
		return CUT_MORE;
	}
	if (byte == '"')
		store(parser, '\\');
	parser->escaped = byte == '\\';
	store(parser, byte);
	return CUT_MORE;
}

static enum cut cut_bracket(struct qmp_parser *parser, char byte)
{
	if (byte == '{' || byte == '[') {
		if (parser->depth == QMP_DEPTH_MAX)
			return bad(parser, "nested too deep");
		parser->depth++;
		store(parser, byte);
		return CUT_MORE;
	}
	if (parser->depth == 0)
		return bad(parser, "a closing bracket without its opening one");
	store(parser, byte);
	return --parser->depth == 0 ? CUT_COMPLETE : CUT_MORE;
}

static enum cut cut(struct qmp_parser *parser, char byte)
{
	bool bracket = byte != 0 && strchr("{}[]", byte);

	if (parser->quote)
		return cut_string(parser, byte);
	if (parser->depth == 0 && parser->used > 0 && (bracket || is_blank(byte)))
		return CUT_COMPLETE_BEFORE; /* a bare word or number */
	if (bracket)
		return cut_bracket(parser, byte);
	if (parser->depth == 0 && is_blank(byte))
		return CUT_MORE;
	if ((unsigned char)byte == 0xff) /* clients send it to be sure where a message begins */
		return parser->used > 0 ? bad(parser, "cut short") : CUT_MORE;
	if (byte == '"' || byte == '\'') {
		parser->quote = byte;
		byte = '"';
	}
	store(parser, byte);
	return CUT_MORE;
}

static json_t *parse(struct qmp_parser *parser)
{
	json_error_t error;
	json_t *message;

	if (parser->oversized) {
		(void)snprintf(parser->reason, sizeof(parser->reason),
			       "JSON parse error, the message is longer than %u bytes",
			       QMP_MESSAGE_MAX);
		return NULL;
	}
	message = json_loadb(parser->text, parser->used, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
			     &error);
	if (!message)
		(void)snprintf(parser->reason, sizeof(parser->reason), "JSON parse error, %s",
			       error.text);
	return message;
}

size_t qmp_parser_push(struct qmp_parser *parser, const char *bytes, size_t count,
		       json_t **ret_message, const char **ret_reason)
{
	*ret_message = NULL;
	*ret_reason = NULL;
	for (size_t i = 0; i < count; i++) {
		enum cut result = cut(parser, bytes[i]);

		if (result == CUT_MORE)
			continue;
		if (result != CUT_BAD)
			*ret_message = parse(parser);
		if (!*ret_message)
			*ret_reason = parser->reason;
		restart(parser);
		return result == CUT_COMPLETE_BEFORE ? i : i + 1;
	}
	return count;
}

/* ---- answers ------------------------------------------------------------------------------- */

json_t *qmp_fail(struct qmp_error *error, const char *format, ...)
{
	va_list args;

	error->class_ = QMP_GENERIC;
	va_start(args, format);
	(void)vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return NULL;
}

json_t *qmp_text(const char *text)
{
	char plain[QMP_REASON_MAX];
	json_t *value = json_string(text);
	size_t i;

	if (value)
		return value;
	for (i = 0; i < sizeof(plain) - 1 && text[i]; i++)
		plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	plain[i] = 0;
	return json_string(plain);
}

static json_t *error_answer(const struct qmp_error *error)
{
	return json_pack("{s:{s:s,s:o}}", "error", "class", error->class_, "desc",
			 qmp_text(error->text));
}

static json_t *version(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "major", HF_VERSION_MAJOR, "minor",
			 HF_VERSION_MINOR, "micro", 0, "package", "Holdfast " HF_VERSION_TEXT);
}

json_t *qmp_greeting(void)
{
	return json_pack("{s:{s:o,s:[]}}", "QMP", "version", version(), "capabilities");
}

json_t *qmp_refusal(const char *reason)
{
	struct qmp_error error;

	(void)qmp_fail(&error, "%s", reason);
	return error_answer(&error);
}

json_t *qmp_event(const char *name, json_t *data, struct timespec now)
{
	json_t *event =
		json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
			  "microseconds", (json_int_t)(now.tv_nsec / 1000), "event", name);

	if (data && json_object_set_new(event, "data", data)) {
		json_decref(event);
		return NULL;
	}
	return event;
}

/* The names that every server answers itself. */
static const char *const own_commands[] = { "qmp_capabilities", "query-commands", "query-events",
					    "query-version", NULL };

static json_t *name_entry(const char *name)
{
	return json_pack("{s:s}", "name", name);
}

static json_t *query_commands(const struct qmp_table *table)
{
	json_t *list = json_array();

	for (size_t i = 0; own_commands[i]; i++)
		(void)json_array_append_new(list, name_entry(own_commands[i]));
	for (const struct qmp_command *command = table->commands; command->name; command++)
		(void)json_array_append_new(list, name_entry(command->name));
	return list;
}

static json_t *query_events(const struct qmp_table *table)
{
	json_t *list = json_array();

	for (size_t i = 0; table->events[i]; i++)
		(void)json_array_append_new(list, name_entry(table->events[i]));
	return list;
}

static const char *type_name(enum qmp_type type)
{
	switch (type) {
	case QMP_STRING:
		return "string";
	case QMP_NUMBER:
		return "a number from 0";
	case QMP_BOOL:
		return "boolean";
	case QMP_STRINGS:
		return "list of strings";
	case QMP_LIST:
		return "list";
	}
	return "?";
}

static bool has_type(const json_t *value, enum qmp_type type)
{
	switch (type) {
	case QMP_STRING:
		return json_is_string(value);
	case QMP_NUMBER:
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case QMP_BOOL:
		return json_is_boolean(value);
	case QMP_STRINGS:
		if (!json_is_array(value))
			return false;
		for (size_t i = 0; i < json_array_size(value); i++)
			if (!json_is_string(json_array_get(value, i)))
				return false;
		return true;
	case QMP_LIST:
		return json_is_array(value);
	}
	return false;
}

static const struct qmp_argument *find_argument(const struct qmp_argument *list, const char *name)
{
	for (; list && list->name; list++)
		if (strcmp(list->name, name) == 0)
			return list;
	return NULL;
}

static bool arguments_fit(const struct qmp_argument *list, json_t *arguments,
			  struct qmp_error *error)
{
	const char *name;
	json_t *value;

	json_object_foreach(arguments, name, value)
	{
		const struct qmp_argument *known = find_argument(list, name);

		if (!known) {
			(void)qmp_fail(error, "Parameter '%s' is unexpected", name);
			return false;
		}
		if (!has_type(value, known->type)) {
			(void)qmp_fail(error, "Invalid parameter type for '%s', expected: %s", name,
				       type_name(known->type));
			return false;
		}
	}
	for (; list && list->name; list++)
		if (list->required && !json_object_get(arguments, list->name)) {
			(void)qmp_fail(error, "Parameter '%s' is missing", list->name);
			return false;
		}
	return true;
}

/* QEMU's clients say which capabilities they enable; there are none, so the list is empty. */
static json_t *negotiate(bool *negotiated, const json_t *arguments, struct qmp_error *error)
{
	const json_t *enable = json_object_get(arguments, "enable");

	if (json_array_size(enable) > 0)
		return qmp_fail(error, "Capability is not available: this server has none");
	*negotiated = true;
	return json_object();
}

static json_t *execute(const struct qmp_table *table, bool *negotiated, const char *name,
		       json_t *arguments, struct qmp_error *error)
{
	static const struct qmp_argument enable[] = { { "enable", QMP_LIST, false }, { NULL } };
	bool capabilities = strcmp(name, "qmp_capabilities") == 0;
	const struct qmp_command *command;

	if (capabilities == *negotiated) {
		(void)qmp_fail(error, capabilities
					      ? "Capabilities negotiation is already complete, "
						"command ignored"
					      : "Expecting capabilities negotiation with "
						"'qmp_capabilities'");
		error->class_ = QMP_NOT_FOUND;
		return NULL;
	}
	if (capabilities)
		return arguments_fit(enable, arguments, error)
			       ? negotiate(negotiated, arguments, error)
			       : NULL;
	for (command = table->commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return arguments_fit(command->arguments, arguments, error)
				       ? command->run(table->ctx, arguments, error)
				       : NULL;
	for (size_t i = 0; own_commands[i]; i++)
		if (strcmp(name, own_commands[i]) == 0 && !arguments_fit(NULL, arguments, error))
			return NULL;
	if (strcmp(name, "query-commands") == 0)
		return query_commands(table);
	if (strcmp(name, "query-events") == 0)
		return query_events(table);
	if (strcmp(name, "query-version") == 0)
		return version();
	(void)qmp_fail(error, "The command %s has not been found", name);
	error->class_ = QMP_NOT_FOUND;
	return NULL;
}

/* The members a message may have. *ret_arguments is borrowed, or NULL if there are none. */
static const char *read_message(const json_t *message, json_t **ret_arguments,
				struct qmp_error *error)
{
	const json_t *execute_ = json_object_get(message, "execute");
	json_t *arguments = json_object_get(message, "arguments");
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)message, name, value)
	{
		if (strcmp(name, "execute") != 0 && strcmp(name, "arguments") != 0 &&
		    strcmp(name, "id") != 0) {
			(void)qmp_fail(error, "QMP input member '%s' is unexpected", name);
			return NULL;
		}
	}
	if (!execute_) {
		(void)qmp_fail(error, "QMP input lacks member 'execute'");
		return NULL;
	}
	if (!json_is_string(execute_)) {
		(void)qmp_fail(error, "QMP input member 'execute' must be a string");
		return NULL;
	}
	if (arguments && !json_is_object(arguments)) {
		(void)qmp_fail(error, "QMP input member 'arguments' must be an object");
		return NULL;
	}
	*ret_arguments = arguments;
	return json_string_value(execute_);
}

json_t *qmp_answer(const struct qmp_table *table, bool *negotiated, const json_t *message)
{
	struct qmp_error error = { QMP_GENERIC, "" };
	json_t *arguments = NULL, *result = NULL, *answer, *none = NULL;
	const char *name;

	if (!json_is_object(message))
		return qmp_refusal("QMP input must be a JSON object");

	name = read_message(message, &arguments, &error);
	if (name && !arguments)
		arguments = none = json_object();
	if (name)
		result = execute(table, negotiated, name, arguments, &error);
	json_decref(none);

	assert(result || error.text[0]);
	answer = result ? json_pack("{s:o}", "return", result) : error_answer(&error);
	if (answer && json_object_get(message, "id"))
		(void)json_object_set(answer, "id", json_object_get(message, "id"));
	return answer;
}
