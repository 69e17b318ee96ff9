/* SPDX-License-Identifier: BSD-3-Clause */
/* See demo-guest.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/demo-guest.h"
#include "tools/paths.h"
#include "vmm/control-loop.h"

#define CALL_TIMEOUT_MS 30000u
#define LOOK_AGAIN_MS 20u /* between bind() and listen() of a process there is no event */

extern char **environ;

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void demo_guest_last_words(const struct demo_guest *guest, char *buf, size_t size)
{
	char tail[2048];
	int fd = open(guest->log, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	char *line;

	(void)snprintf(buf, size, "it said nothing");
	if (fd < 0)
		return;
	if (lseek(fd, -(long)sizeof(tail) + 1, SEEK_END) < 0)
		(void)lseek(fd, 0, SEEK_SET);
	n = read(fd, tail, sizeof(tail) - 1);
	(void)close(fd);
	while (n > 0 && tail[n - 1] == '\n')
		n--;
	if (n <= 0)
		return;
	tail[n] = 0;
	line = strrchr(tail, '\n');
	(void)snprintf(buf, size, "%s", line ? line + 1 : tail);
}

/* The process ended though it should not have. */
static int is_gone(struct demo_guest *guest, struct hf_error *err)
{
	char words[160];

	demo_guest_last_words(guest, words, sizeof(words));
	return control_error(err, HF_E_PEER_FAILED, 0, "process %s ended: %s", guest->name, words);
}

/*
 * Wait for fd, the process's end, or the time. 1: fd is readable; 0: the time is over; negative:
 * the process has ended.
 */
static int wait_for(struct demo_guest *guest, int fd, uint64_t until_ms, struct hf_error *err)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = guest->pid_fd, .events = POLLIN } };
		uint64_t now = now_ms();
		int n = poll(fds, 2, now < until_ms ? (int)(until_ms - now) : 0);

		if (n < 0 && errno != EINTR)
			return control_error(err, HF_E_SYSTEM, errno, "poll");
		if (n > 0 && fds[0].revents)
			return 1;
		if (n > 0)
			return is_gone(guest, err);
		if (n == 0)
			return 0;
	}
}

/* ---- start --------------------------------------------------------------------------------- */

static int spawn(struct demo_guest *guest, const char *const *arguments, struct hf_error *err)
{
	const char *line[DEMO_ARGUMENTS_MAX + 8];
	posix_spawn_file_actions_t actions;
	char self[PATH_MAX];
	size_t n = 0;
	int failed;

	if (path_self(self, err) < 0)
		return err->code;
	line[n++] = self;
	line[n++] = "run";
	line[n++] = "--control";
	line[n++] = guest->socket;
	while (*arguments && n < DEMO_ARGUMENTS_MAX)
		line[n++] = *arguments++;
	line[n] = NULL;
	failed = posix_spawn_file_actions_init(&actions);
	if (!failed)
		failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!failed)
		failed = posix_spawn_file_actions_addopen(&actions, 1, guest->log,
							  O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (!failed)
		failed = posix_spawn_file_actions_adddup2(&actions, 1, 2);
	if (!failed)
		failed = posix_spawn(&guest->pid, self, &actions, NULL,
				     (char *const *)(uintptr_t)line, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (failed) {
		guest->pid = 0;
		return control_error(err, HF_E_SYSTEM, failed, "starting %s", self);
	}
	guest->pid_fd = (int)syscall(SYS_pidfd_open, guest->pid, 0);
	if (guest->pid_fd < 0)
		return control_error(err, HF_E_SYSTEM, errno, "pidfd_open");
	return 0;
}

static int connect_client(struct demo_guest *guest, uint64_t until_ms, struct hf_error *err)
{
	for (;;) {
		struct hf_error why = { 0 };
		uint64_t look_ms = now_ms() + LOOK_AGAIN_MS;
		int result = qmp_client_open(guest->socket, CALL_TIMEOUT_MS, &guest->client, &why);

		if (result == 0)
			return 0;
		if (result != HF_E_CONNECT || now_ms() >= until_ms) {
			*err = why;
			return result;
		}
		result = wait_for(guest, -1, look_ms, err);
		if (result < 0)
			return result;
	}
}

int demo_guest_start(struct demo_guest *guest, const char *folder, const char *name,
		     const char *const *arguments, uint32_t timeout_ms, struct hf_error *err)
{
	int result;

	memset(guest, 0, sizeof(*guest));
	guest->pid_fd = guest->serial_fd = guest->watch_fd = -1;
	(void)snprintf(guest->name, sizeof(guest->name), "%s", name);
	(void)snprintf(guest->folder, sizeof(guest->folder), "%s", folder);
	(void)snprintf(guest->socket, sizeof(guest->socket), "%.4000s/%s.qmp", folder, name);
	(void)snprintf(guest->serial, sizeof(guest->serial), "%.4000s/%s.serial", folder, name);
	(void)snprintf(guest->log, sizeof(guest->log), "%.4000s/%s.log", folder, name);

	guest->serial_fd = open(guest->serial, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (guest->serial_fd < 0)
		return control_error(err, HF_E_SYSTEM, errno, "%.100s", guest->serial);
	guest->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (guest->watch_fd < 0 || inotify_add_watch(guest->watch_fd, guest->serial, IN_MODIFY) < 0)
		return control_error(err, HF_E_SYSTEM, errno, "inotify");
	result = spawn(guest, arguments, err);
	return result < 0 ? result : connect_client(guest, now_ms() + timeout_ms, err);
}

/* ---- what the guest says ------------------------------------------------------------------- */

/* The number behind name in line; 0 if it is not there. */
static uint64_t number_in(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static int take_line(struct demo_guest *guest, struct hf_error *err)
{
	const char *line = guest->line;

	if (strstr(line, "CORRUPT"))
		return control_error(err, HF_E_REFUSED, 0, "the guest says: %.200s", line);
	if (!strstr(line, "pass=") || !strstr(line, " clean"))
		return 0;
	guest->report.count++;
	guest->report.pass = number_in(line, "pass=");
	if (number_in(line, "gap_us_last=") > guest->report.gap_us)
		guest->report.gap_us = number_in(line, "gap_us_last=");
	(void)snprintf(guest->report.line, sizeof(guest->report.line), "%s", line);
	return 0;
}

/* All of the console that is there. */
static int read_serial(struct demo_guest *guest, struct hf_error *err)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(guest->serial_fd, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			int result = 0;

			if (bytes[i] == '\n') {
				guest->line[guest->line_used] = 0;
				guest->line_used = 0;
				result = take_line(guest, err);
			} else if (bytes[i] != '\r' && guest->line_used < sizeof(guest->line) - 1) {
				guest->line[guest->line_used++] = bytes[i];
			}
			if (result < 0)
				return result;
		}
	}
	return n < 0 ? control_error(err, HF_E_SYSTEM, errno, "%.100s", guest->serial) : 0;
}

int demo_guest_mark(struct demo_guest *guest, struct hf_error *err)
{
	int result = read_serial(guest, err);

	guest->report.gap_us = 0;
	return result;
}

/* Until the console has grown, and what has come is read. */
static int wait_serial(struct demo_guest *guest, uint64_t until_ms, struct hf_error *err)
{
	char events[4096];
	int result = wait_for(guest, guest->watch_fd, until_ms, err);

	if (result == 0)
		return control_error(
			err, HF_E_DEADLINE, 0,
			"the guest in process %s did not report enough clean passes in "
			"time; the last: %.100s",
			guest->name, guest->report.line);
	if (result < 0)
		return result;
	while (read(guest->watch_fd, events, sizeof(events)) > 0)
		continue; /* that something was written is all they say */
	return read_serial(guest, err);
}

int demo_guest_passes(struct demo_guest *guest, uint32_t count, uint32_t timeout_ms,
		      struct hf_error *err)
{
	uint64_t until_ms = now_ms() + timeout_ms, begun;
	int result = read_serial(guest, err);
	uint64_t reports = guest->report.count;

	/* The next report may have been put together before: the one behind it was not. */
	while (result == 0 && guest->report.count < reports + 2)
		result = wait_serial(guest, until_ms, err);
	/* The pass that was under way then does not count either. */
	begun = guest->report.pass + 1;
	while (result == 0 && guest->report.pass < begun + count)
		result = wait_serial(guest, until_ms, err);
	return result;
}

/* ---- what the process says ----------------------------------------------------------------- */

static bool event_matches(const json_t *event, const char *name, const char *member,
			  const char *value)
{
	const char *event_name = json_string_value(json_object_get(event, "event"));
	const json_t *found = json_object_get(json_object_get(event, "data"), member);

	if (!event_name || strcmp(event_name, name) != 0 || !found)
		return false;
	return !value || (json_is_string(found) && strcmp(json_string_value(found), value) == 0);
}

int demo_guest_event(struct demo_guest *guest, const char *event, const char *member,
		     const char *value, uint32_t timeout_ms, struct hf_error *err)
{
	uint64_t until_ms = now_ms() + timeout_ms;

	for (;;) {
		uint64_t now = now_ms();
		json_t *came;
		bool matches;
		int result;

		result = qmp_client_event(
			guest->client, now < until_ms ? (uint32_t)(until_ms - now) : 0, &came, err);
		if (result < 0)
			return result;
		if (!came)
			return control_error(err, HF_E_DEADLINE, 0,
					     "process %s: no event %s (%s %s) in %u s", guest->name,
					     event, member, value ? value : "", timeout_ms / 1000);
		matches = event_matches(came, event, member, value);
		json_decref(came);
		if (matches)
			return 0;
	}
}

int demo_guest_call(struct demo_guest *guest, const char *command, json_t *arguments,
		    json_t **ret_answer, struct hf_error *err)
{
	json_t *answer = qmp_client_call(guest->client, command, arguments, CALL_TIMEOUT_MS, err);

	if (!answer)
		return err->code;
	if (ret_answer)
		*ret_answer = answer;
	else
		json_decref(answer);
	return 0;
}

/* ---- the end ------------------------------------------------------------------------------- */

int demo_guest_ended(struct demo_guest *guest, uint32_t timeout_ms, int *ret_exit_status,
		     struct hf_error *err)
{
	struct pollfd fd = { .fd = guest->pid_fd, .events = POLLIN };
	int status = 0, n;

	do
		n = poll(&fd, 1, (int)timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return control_error(err, HF_E_DEADLINE, 0, "process %s did not end in %u s",
				     guest->name, timeout_ms / 1000);
	if (waitpid(guest->pid, &status, 0) != guest->pid)
		return control_error(err, HF_E_SYSTEM, errno, "waiting for process %s",
				     guest->name);
	guest->pid = 0;
	*ret_exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
}

void demo_guest_done(struct demo_guest *guest)
{
	if (guest->pid > 0) {
		(void)kill(guest->pid, SIGKILL);
		(void)waitpid(guest->pid, NULL, 0);
		guest->pid = 0;
	}
	guest->client = qmp_client_close(guest->client);
	if (!guest->name[0])
		return;
	if (guest->pid_fd >= 0)
		(void)close(guest->pid_fd);
	if (guest->serial_fd >= 0)
		(void)close(guest->serial_fd);
	if (guest->watch_fd >= 0)
		(void)close(guest->watch_fd);
	guest->pid_fd = guest->serial_fd = guest->watch_fd = -1;
}
