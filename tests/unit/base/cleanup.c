/* SPDX-License-Identifier: BSD-3-Clause */
/* What leaves a scope is released once, and what was given away is not: lib/base/cleanup.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int new_fd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void test_a_descriptor_is_closed_at_the_end_of_its_scope(void **state)
{
	int seen;

	(void)state;
	{
		_cleanup_close_ int fd = new_fd();

		seen = fd;
		assert_true(is_open(seen));
	}
	assert_false(is_open(seen));
}

static int open_and_give_away(void)
{
	_cleanup_close_ int fd = new_fd();
	int taken = TAKE_FD(fd);

	assert_int_equal(fd, -1);
	return taken;
}

static void test_a_descriptor_that_was_given_away_stays_open(void **state)
{
	int fd = open_and_give_away();

	(void)state;
	assert_true(is_open(fd));
	assert_int_equal(close(fd), 0);
}

static void test_no_descriptor_is_fine(void **state)
{
	(void)state;
	errno = 0;
	{
		_cleanup_close_ int fd = -1;

		assert_int_equal(fd, -1);
	}
	assert_int_equal(errno, 0); /* EBADF if it had been closed */
}

static int freed;

static void count_freed(int **pointer)
{
	if (*pointer)
		freed++;
}

static int *make_and_give_away(int *value)
{
	_cleanup_(count_freed) int *pointer = value;
	int *taken = TAKE_PTR(pointer);

	assert_null(pointer);
	return taken;
}

static void test_a_pointer_that_was_given_away_is_not_released(void **state)
{
	int value = 0;

	(void)state;
	freed = 0;
	assert_ptr_equal(make_and_give_away(&value), &value);
	assert_int_equal(freed, 0);
	{
		_cleanup_(count_freed) int *pointer = &value;

		assert_non_null(pointer);
	}
	assert_int_equal(freed, 1);
}

/* Under ASan a leak or a second free() fails here. */
static void test_memory_is_freed_once(void **state)
{
	_cleanup_free_ char *kept = malloc(16);
	_cleanup_free_ char *given = malloc(16);
	_cleanup_free_ char *none = NULL;
	char *taken = TAKE_PTR(given);

	(void)state;
	assert_non_null(kept);
	assert_null(none);
	assert_non_null(taken);
	free(taken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_descriptor_is_closed_at_the_end_of_its_scope),
		cmocka_unit_test(test_a_descriptor_that_was_given_away_stays_open),
		cmocka_unit_test(test_no_descriptor_is_fine),
		cmocka_unit_test(test_a_pointer_that_was_given_away_is_not_released),
		cmocka_unit_test(test_memory_is_freed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
