/* SPDX-License-Identifier: BSD-3-Clause */
/* Each device is served by a thread; the first one waits for the signal that ends them all. */
#include "tools/device-serve.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <holdfast/backend.h>
#include <holdfast/device-server.h>

#define DEVICES_MAX 7u /* operands behind "serve" */
#define EXIT_NO_DEVICE 4

struct service {
	const char *socket, *uri;
	struct hf_device device;
	struct hf_device_server *server;
	pthread_t thread;
	int runs;
	struct hf_error err; /* of its thread */
};

struct services {
	const struct command *command;
	struct hf_filters *filters;
	uint32_t count;
	struct service of[DEVICES_MAX];
};

static void on_event(void *ctx, uint32_t event, const char *text)
{
	const struct service *s = ctx;

	(void)fprintf(stderr, "holdfast device: %s: %s%s\n", s->socket,
		      event == HF_DEVICE_SERVER_LEFT ? "the client has left: " : "", text);
}

static int open_one(struct services *all, uint32_t i, struct hf_error *err)
{
	struct service *s = &all->of[i];
	struct hf_device_server_config config = {
		.size = sizeof(config), .path = s->socket, .fd = -1, .event = on_event, .ctx = s
	};
	char name[32];
	int r;

	(void)snprintf(name, sizeof(name), "served%" PRIu32, i);
	r = hf_device_open(s->uri, name, &s->device, err);
	if (r == 0 && all->filters)
		r = hf_filters_device(all->filters, i, &s->device, err);
	if (r < 0)
		return r;
	config.device = s->device;
	return hf_device_server_new(&config, &s->server, err);
}

static int open_all(struct services *all, const struct arguments *arguments)
{
	struct hf_error err = { 0 };
	const char *filter;
	int r = hf_filters_new(&all->filters, &err);

	for (uint32_t i = 0; r == 0 && (filter = command_nth(arguments, "filter", i)); i++)
		if (hf_filters_add(all->filters, filter, &err) < 0)
			return command_usage(all->command, "option --filter: %s", err.text);
	for (uint32_t i = 0; r == 0 && i < all->count; i++)
		r = open_one(all, i, &err);
	if (r == 0)
		return EXIT_DONE;
	(void)command_failed(all->command, &err);
	return EXIT_NO_DEVICE;
}

/* A server that cannot go on ends the program. */
static void *serve(void *arg)
{
	struct service *s = arg;

	if (hf_device_server_run(s->server, &s->err) < 0)
		(void)kill(getpid(), SIGTERM);
	return NULL;
}

static int start_all(struct services *all)
{
	for (uint32_t i = 0; i < all->count; i++) {
		struct service *s = &all->of[i];
		int r = pthread_create(&s->thread, NULL, serve, s);

		if (r) {
			(void)fprintf(stderr, "holdfast device: a thread for %s: %s\n", s->uri,
				      strerror(r));
			return EXIT_FAILED;
		}
		s->runs = 1;
		(void)fprintf(stderr, "holdfast device: serving %s at %s\n", s->uri, s->socket);
	}
	return EXIT_DONE;
}

static int stop_all(struct services *all)
{
	int result = EXIT_DONE;

	for (uint32_t i = 0; i < all->count; i++) {
		struct service *s = &all->of[i];

		if (s->runs) {
			hf_device_server_stop(s->server);
			(void)pthread_join(s->thread, NULL);
		}
		if (s->err.code)
			result = command_failed(all->command, &s->err);
		s->server = hf_device_server_free(s->server);
		hf_device_close(&s->device);
	}
	(void)hf_filters_free(all->filters);
	return result;
}

static int read_sockets(struct services *all, const struct arguments *arguments)
{
	all->count = arguments->operand_count - 1;
	for (uint32_t i = 0; i < all->count; i++) {
		all->of[i].uri = arguments->operands[i + 1];
		all->of[i].socket = command_nth(arguments, "socket", i);
	}
	if (!all->count)
		return command_usage(all->command, "'serve' takes DEVICE...");
	if (!all->of[all->count - 1].socket || command_nth(arguments, "socket", all->count))
		return command_usage(all->command, "'serve' takes one --socket for each device");
	return 0;
}

int device_serve(const struct arguments *arguments)
{
	struct services all = { .command = arguments->command };
	sigset_t set;
	int result, ended, number;

	if (read_sockets(&all, arguments))
		return EXIT_USAGE;
	/* Before any thread is made, the devices' own ones included. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	result = open_all(&all, arguments);
	if (result == EXIT_DONE)
		result = start_all(&all);
	if (result == EXIT_DONE)
		(void)sigwait(&set, &number); /* these can be waited for: it does not fail */
	ended = stop_all(&all);
	return result ? result : ended;
}
