/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VMM's main loop on its real socket, in a thread of the test's, with a client connected to it:
 * for tests of vmm/control*.c. The session under it is qmp-fake-session.h's.
 */
#ifndef TESTS_QMP_VMM_H
#define TESTS_QMP_VMM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/qmp-fake-session.h"
#include "guard/qmp-client.h"
#include "vmm/control.h"

#define TIMEOUT_MS 10000u

static struct {
	pthread_t thread;
	char dir[64], path[96];
	struct migrate_parameters parameters;
	struct control_config config;
	int freed, exit_status, listening;
	char said[4096];
	struct qmp_client *client;
} vmm;

static inline void say(void *ctx, const char *sentence)
{
	size_t used = strlen(vmm.said);

	(void)ctx;
	(void)snprintf(vmm.said + used, sizeof(vmm.said) - used, "%s\n", sentence);
}

static inline void *run(void *ctx)
{
	(void)ctx;
	vmm.exit_status = control_run(&vmm.config);
	return NULL;
}

static inline int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vmm, 0, sizeof(vmm));
	(void)snprintf(vmm.dir, sizeof(vmm.dir), "/tmp/qmp-control.XXXXXX");
	assert_non_null(mkdtemp(vmm.dir));
	(void)snprintf(vmm.path, sizeof(vmm.path), "%s/socket", vmm.dir);
	migrate_parameters_init(&vmm.parameters);
	vmm.config.guest = fake_guest(&vmm.freed);
	vmm.config.guest_name = "g1";
	vmm.config.socket_path = vmm.path;
	vmm.config.signal_fd = -1;
	vmm.config.trace_fd = -1;
	vmm.config.side = "host.1.x";
	vmm.config.parameters = &vmm.parameters;
	vmm.config.say = say;
	return 0;
}

/* The socket is there when connect() works: its folder is watched by trying, with a deadline. */
static inline struct qmp_client *connect_client(void)
{
	for (int i = 0; i < 1000; i++) {
		struct qmp_client *client;
		struct hf_error err = { 0 };

		if (qmp_client_open(vmm.path, TIMEOUT_MS, &client, &err) == 0)
			return client;
		assert_int_equal(err.code, HF_E_CONNECT);
		(void)usleep(10000); /* allowed: bind() to listen() has no event */
	}
	fail_msg("nobody listens at %s", vmm.path);
	return NULL;
}

static inline void start(void)
{
	assert_int_equal(pthread_create(&vmm.thread, NULL, run, NULL), 0);
	vmm.client = connect_client();
}

static inline void ended(int exit_status)
{
	assert_int_equal(pthread_join(vmm.thread, NULL), 0);
	assert_int_equal(vmm.exit_status, exit_status);
	assert_int_equal(vmm.freed, 1);
	vmm.client = qmp_client_close(vmm.client);
	assert_int_not_equal(access(vmm.path, F_OK), 0);
	assert_int_equal(rmdir(vmm.dir), 0);
}

/* The command works; its answer is the caller's. */
static inline json_t *call(const char *command, const char *arguments)
{
	struct hf_error err = { 0 };
	json_t *given = arguments ? json_loads(arguments, 0, NULL) : NULL, *answer;

	assert_true(given || !arguments);
	answer = qmp_client_call(vmm.client, command, given, TIMEOUT_MS, &err);
	if (!answer)
		fail_msg("%s: %s", command, err.text);
	return answer;
}

static inline void does(const char *command, const char *arguments)
{
	json_decref(call(command, arguments));
}

/* The command is refused, with these words. */
static inline void refuses(const char *command, const char *arguments, const char *words)
{
	struct hf_error err = { 0 };
	json_t *given = arguments ? json_loads(arguments, 0, NULL) : NULL;

	assert_null(qmp_client_call(vmm.client, command, given, TIMEOUT_MS, &err));
	assert_int_equal(err.code, HF_E_REFUSED);
	if (!strstr(err.text, words))
		fail_msg("%s: '%s' does not say '%s'", command, err.text, words);
}

static inline void status_is(const char *wanted)
{
	json_t *answer = call("query-status", NULL);

	assert_string_equal(json_string_value(json_object_get(answer, "status")), wanted);
	assert_int_equal(json_is_true(json_object_get(answer, "running")),
			 strcmp(wanted, "running") == 0);
	json_decref(answer);
}

/* The next event is this one; its data is the caller's. */
static inline json_t *event_of(struct qmp_client *client, const char *name)
{
	struct hf_error err = { 0 };
	json_t *event, *data;

	assert_int_equal(qmp_client_event(client, TIMEOUT_MS, &event, &err), 0);
	assert_non_null(event);
	assert_string_equal(json_string_value(json_object_get(event, "event")), name);
	data = json_incref(json_object_get(event, "data"));
	json_decref(event);
	return data;
}

static inline void event_is(const char *name)
{
	json_decref(event_of(vmm.client, name));
}

static inline void migration_is(const char *status)
{
	json_t *data = event_of(vmm.client, "MIGRATION");

	assert_string_equal(json_string_value(json_object_get(data, "status")), status);
	json_decref(data);
}

static inline const char *query_text(const json_t *answer, const char *name)
{
	return json_string_value(json_object_get(answer, name));
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

#endif
