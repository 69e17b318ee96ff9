/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session: an idle machine without devices or state, whose memory is migrated from this process
 * to another by the library's public face.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <holdfast/session.h>

#include "throughput.h"

static int ok(void *self, struct hf_error *err)
{
	(void)self, (void)err;
	return 0;
}

static int describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
		    struct hf_error *err)
{
	(void)self, (void)buf, (void)capacity, (void)err;
	*ret_length = 0;
	return 0;
}

static int check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	(void)self, (void)shape, (void)length, (void)err;
	return 0;
}

static int throttle(void *self, uint32_t percent, struct hf_error *err)
{
	(void)self, (void)percent, (void)err;
	return 0;
}

static int state_save(void *self, uint32_t index, struct hf_state_section *ret_section, void *buf,
		      uint32_t capacity, struct hf_error *err)
{
	(void)self, (void)index, (void)ret_section, (void)buf, (void)capacity, (void)err;
	return HF_STATE_END;
}

static int state_load(void *self, const struct hf_state_section *section, const void *buf,
		      struct hf_error *err)
{
	(void)self, (void)section, (void)buf, (void)err;
	return 0;
}

static int device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
		       uint32_t *ret_length, struct hf_error *err)
{
	(void)self, (void)device, (void)buf, (void)capacity, (void)err;
	*ret_length = 0;
	return 0;
}

static int device_load(void *self, uint32_t device, const void *buf, uint32_t length,
		       struct hf_error *err)
{
	(void)self, (void)device, (void)buf, (void)length, (void)err;
	return 0;
}

static const struct hf_machine_ops machine_ops = {
	.size = sizeof(machine_ops),
	.describe = describe,
	.check = check,
	.stop = ok,
	.run = ok,
	.throttle = throttle,
	.state_save = state_save,
	.state_load = state_load,
	.state_check = ok,
	.device_save = device_save,
	.device_load = device_load,
};

static int memory_ok(void *self)
{
	(void)self;
	return 0;
}

static int memory_read(void *self, uint32_t region, uint64_t *bitmap)
{
	(void)self, (void)region, (void)bitmap; /* an idle guest */
	return 0;
}

static void memory_close(void *self)
{
	(void)self;
}

static const struct hf_memory_ops memory_ops = {
	.size = sizeof(memory_ops),
	.kind = "idle",
	.dirty_start = memory_ok,
	.dirty_sync = memory_ok,
	.dirty_read = memory_read,
	.dirty_stop = memory_ok,
	.close = memory_close,
};

static void run_session(struct hf_config *config, int listening)
{
	struct hf_session *session;
	struct hf_error err = { 0 };

	if (hf_session_new(config, &session, &err) < 0 ||
	    (listening >= 0 && hf_session_step(session) != HF_STEP_WAIT)) {
		(void)fprintf(stderr, "throughput: %s\n", err.text);
		exit(1);
	}
	if (listening >= 0) {
		const char *uri = hf_session_uri(session);

		if (write(listening, uri, strlen(uri) + 1) < 0)
			die("pipe");
	}
	if (hf_session_run(session, &err) < 0) {
		(void)fprintf(stderr, "throughput: %s\n", err.text);
		exit(1);
	}
	(void)hf_session_free(session);
}

struct result session_copy(const struct bench *bench, uint32_t channels)
{
	struct hf_memory_region region = {
		.size = bench->bytes, .host = bench->memory, .fd = bench->fd, .name = "ram"
	};
	struct hf_config config = { .size = sizeof(config),
				    .guest = "throughput",
				    .machine = { &machine_ops, NULL },
				    .regions = &region,
				    .region_count = 1,
				    .channels = channels };
	struct hf_error err = { 0 };
	struct result result;
	char uri[HF_URI_MAX] = "";
	double begin, cpu_begin = cpu_of(RUSAGE_SELF), cpu_children = cpu_of(RUSAGE_CHILDREN);
	int pipe_fds[2], status = 0;
	pid_t child;

	if (pipe(pipe_fds) < 0 || hf_ledger_open(bench->ledger_uri, &config.ledger, &err) < 0)
		die(err.text[0] ? err.text : "pipe");
	begin = now();
	child = fork_target();
	if (child == 0) {
		region.host = fresh_memory(bench->bytes, &region.fd);
		config.role = HF_ROLE_TARGET;
		config.side = "target";
		config.uri = "tcp:127.0.0.1:0";
		run_session(&config, pipe_fds[1]);
		_exit(0);
	}
	if (read(pipe_fds[0], uri, sizeof(uri) - 1) <= 0)
		die("target");
	config.role = HF_ROLE_SOURCE;
	config.side = "source";
	config.uri = uri;
	config.memory = (struct hf_memory){ &memory_ops, NULL };
	if (hf_ledger_register(&config.ledger, config.guest, config.side, &err) < 0)
		die(err.text);
	run_session(&config, -1);
	if (waitpid(child, &status, 0) < 0 || status)
		die("target");
	result.seconds = now() - begin;
	result.cpu_seconds =
		cpu_of(RUSAGE_SELF) - cpu_begin + cpu_of(RUSAGE_CHILDREN) - cpu_children;
	hf_ledger_close(&config.ledger);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	return result;
}
