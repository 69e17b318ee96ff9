/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host names, with a deadline. getaddrinfo() has none, so a name is asked for on a thread that is
 * left behind when it takes too long; it then frees the question itself.
 */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/channel/socket.h"
#include "base/error.h"
#include "base/time.h"

/* Shared by the asker and the resolver's thread, under lock; the last of the two frees it. */
struct question {
	pthread_mutex_t lock;
	pthread_cond_t answered;
	int users;
	int done;
	int status; /* of getaddrinfo() */
	int flags;
	int cause; /* errno, with EAI_SYSTEM */
	struct resolved answer;
	char host[HF_URI_MAX];
	char port[8];
};

/* The system call proper; blocks, unless flags has AI_NUMERICHOST. */
static int ask(const char *host, const char *port, int flags, struct resolved *ret)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = flags | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	int status;

	status = getaddrinfo(*host ? host : NULL, port, &hints, &list);
	if (status)
		return status;
	memset(ret, 0, sizeof(*ret));
	for (struct addrinfo *at = list; at && ret->count < SOCKET_ADDRESSES_MAX;
	     at = at->ai_next) {
		if (at->ai_addrlen > sizeof(ret->at[0].addr))
			continue;
		memcpy(&ret->at[ret->count].addr, at->ai_addr, at->ai_addrlen);
		ret->at[ret->count++].length = at->ai_addrlen;
	}
	freeaddrinfo(list);
	return ret->count ? 0 : EAI_NONAME;
}

/* Called with the lock held; drops it. */
static void leave(struct question *question)
{
	int users = --question->users;

	(void)pthread_mutex_unlock(&question->lock);
	if (users)
		return;
	(void)pthread_cond_destroy(&question->answered);
	(void)pthread_mutex_destroy(&question->lock);
	free(question);
}

static void *resolver(void *arg)
{
	struct question *question = arg;
	struct resolved answer = { 0 };
	int status, cause;

	status = ask(question->host, question->port, question->flags, &answer);
	cause = errno;
	(void)pthread_mutex_lock(&question->lock);
	question->status = status;
	question->cause = cause;
	question->answer = answer;
	question->done = 1;
	(void)pthread_cond_signal(&question->answered);
	leave(question);
	return NULL;
}

static struct question *question_new(const struct address *address, const char *port, int flags)
{
	struct question *question = calloc(1, sizeof(*question));
	pthread_condattr_t clock;

	if (!question)
		return NULL;
	(void)pthread_mutex_init(&question->lock, NULL); /* cannot fail on Linux, nor can these: */
	(void)pthread_condattr_init(&clock);
	(void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&question->answered, &clock);
	(void)pthread_condattr_destroy(&clock);
	question->users = 2;
	question->flags = flags;
	memcpy(question->host, address->host, sizeof(question->host));
	(void)snprintf(question->port, sizeof(question->port), "%s", port);
	return question;
}

static int failed(const struct address *address, int status, int cause, struct hf_error *err)
{
	if (status == EAI_MEMORY)
		return error_set(err, HF_E_NO_MEMORY, 0, "resolve host %s", address->host);
	if (status == EAI_SYSTEM)
		return error_set(err, HF_E_CONNECT, cause, "resolve host %s", address->host);
	return error_set(err, HF_E_CONNECT, 0, "resolve host %s: %s", address->host,
			 gai_strerror(status));
}

static int ask_by_deadline(const struct address *address, const char *port, int flags,
			   uint64_t deadline_ns, struct resolved *ret, struct hf_error *err)
{
	struct timespec until = { .tv_sec = (time_t)(deadline_ns / NS_PER_S),
				  .tv_nsec = (long)(deadline_ns % NS_PER_S) };
	struct question *question = question_new(address, port, flags);
	pthread_t thread;
	int waited = 0;
	int r;

	if (!question)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "resolve host %s", address->host);
	(void)pthread_mutex_lock(&question->lock);
	r = pthread_create(&thread, NULL, resolver, question);
	if (r) {
		question->users--; /* the thread's */
		leave(question);
		return error_set(err, HF_E_SYSTEM, r, "resolve host %s: start a thread",
				 address->host);
	}
	(void)pthread_detach(thread);
	while (!question->done && waited == 0)
		waited = deadline_ns ? pthread_cond_timedwait(&question->answered, &question->lock,
							      &until)
				     : pthread_cond_wait(&question->answered, &question->lock);
	if (!question->done)
		r = error_set(err, HF_E_DEADLINE, 0, "resolve host %s: no answer in time",
			      address->host);
	else if (question->status)
		r = failed(address, question->status, question->cause, err);
	else
		*ret = question->answer;
	leave(question);
	return r;
}

int address_resolve(const struct address *address, int listening, uint64_t deadline_ns,
		    struct resolved *ret, struct hf_error *err)
{
	int flags = listening ? AI_PASSIVE : 0;
	char port[8];
	int status;

	assert(address->kind == ADDRESS_TCP);
	(void)snprintf(port, sizeof(port), "%u", address->port);
	status = ask(address->host, port, flags | AI_NUMERICHOST, ret);
	if (status == 0)
		return 0;
	if (status != EAI_NONAME)
		return failed(address, status, errno, err);
	return ask_by_deadline(address, port, flags, deadline_ns, ret, err);
}
