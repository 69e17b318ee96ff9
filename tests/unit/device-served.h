/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that a thread of the test serves over vfio-user, in a folder of its own. */
#ifndef UNIT_DEVICE_SERVED_H
#define UNIT_DEVICE_SERVED_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <holdfast/device-server.h>

struct served {
	struct hf_device model;
	struct hf_device_server *server;
	pthread_t thread;
	char folder[32], path[48];
	/* What its thread was told; under lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t joined, left, refused;
	char why[256]; /* of the last that left */
};

static inline void served_event(void *ctx, uint32_t event, const char *text)
{
	struct served *s = ctx;

	(void)pthread_mutex_lock(&s->lock);
	s->joined += event == HF_DEVICE_SERVER_JOINED;
	s->refused += event == HF_DEVICE_SERVER_REFUSED;
	if (event == HF_DEVICE_SERVER_LEFT) {
		s->left++;
		(void)snprintf(s->why, sizeof(s->why), "%s", text);
	}
	(void)pthread_cond_broadcast(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
}

static inline void *served_run(void *arg)
{
	struct served *s = arg;
	struct hf_error err = { 0 };

	if (hf_device_server_run(s->server, &err) < 0)
		(void)fprintf(stderr, "# the server: %s\n", err.text);
	return NULL;
}

/* With the model that is in s->model. */
static inline void served_begin(struct served *s)
{
	struct hf_device_server_config config = {
		.size = sizeof(config), .fd = -1, .event = served_event, .ctx = s
	};
	struct hf_error err = { 0 };

	(void)snprintf(s->folder, sizeof(s->folder), "/tmp/hf-served-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	(void)snprintf(s->path, sizeof(s->path), "%s/s", s->folder);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	config.device = s->model;
	config.path = s->path;
	if (hf_device_server_new(&config, &s->server, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(pthread_create(&s->thread, NULL, served_run, s), 0);
}

static inline void served_start(struct served *s, const char *model_uri)
{
	struct hf_error err = { 0 };

	memset(s, 0, sizeof(*s));
	if (hf_device_open(model_uri, "model", &s->model, &err) < 0)
		fail_msg("%s", err.text);
	served_begin(s);
}

/* Until so many clients have left; their reason is in s->why. */
static inline void served_await_left(struct served *s, uint32_t count)
{
	(void)pthread_mutex_lock(&s->lock);
	while (s->left < count) /* the test's own deadline is enough */
		(void)pthread_cond_wait(&s->changed, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
}

static inline void served_stop(struct served *s)
{
	hf_device_server_stop(s->server);
	(void)pthread_join(s->thread, NULL);
	s->server = hf_device_server_free(s->server);
	hf_device_close(&s->model);
	assert_int_equal(rmdir(s->folder), 0); /* its socket is gone */
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
}

#endif
