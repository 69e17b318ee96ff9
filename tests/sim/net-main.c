/* SPDX-License-Identifier: BSD-3-Clause */
#include "net-main.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net-world.h"

static char running[96];

bool main_number(int argc, char **argv, const char *name, uint64_t *ret_number)
{
	for (int i = 1; i + 1 < argc; i++) {
		char *end;

		if (strcmp(argv[i], name) != 0)
			continue;
		*ret_number = strtoull(argv[i + 1], &end, 0);
		if (!*end)
			return true;
		(void)fprintf(stderr, "%s %s: not a number\n", name, argv[i + 1]);
		exit(2);
	}
	return false;
}

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define NET_TSAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define NET_TSAN 1
#endif
#ifndef NET_TSAN
#define NET_TSAN 0
#endif

bool main_skips(void)
{
	if (NET_TSAN)
		printf("1..0 # SKIP one thread: the thread sanitizer has nothing to see\n");
	return NET_TSAN;
}

double main_seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* no scenario is under way: the real one */
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void on_abort(int number)
{
	(void)number;
	(void)!write(STDOUT_FILENO, running, strlen(running));
	story_print();
	_exit(1);
}

void main_about_to(const char *what, uint64_t number)
{
	static bool caught;

	if (!caught)
		(void)signal(SIGABRT, on_abort);
	caught = true;
	(void)fflush(stdout);
	(void)snprintf(running, sizeof(running), "# an assertion failed in %s %llu\nnot ok 1\n",
		       what, (unsigned long long)number);
}
