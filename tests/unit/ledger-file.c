/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can happen to a ledger in a directory only: damage, full disks, stopped and killed writers,
 * other processes, another directory in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/ledger.h"
#include "base/time.h"

#define KILL_NS (2 * NS_PER_S)
#define FORK_RACERS 4u
#define FORK_ROUNDS 200u

static char dir[64];
static char uri[HF_URI_MAX];
static struct hf_ledger ledger;

static struct hf_ledger_record make(const char *guest, uint64_t revision, const char *attempt)
{
	struct hf_ledger_record record;

	memset(&record, 0, sizeof(record));
	(void)snprintf(record.guest, sizeof(record.guest), "%s", guest);
	(void)snprintf(record.owner, sizeof(record.owner), "alpha.1");
	(void)snprintf(record.attempt, sizeof(record.attempt), "%s", attempt);
	record.state = HF_LEDGER_HOME;
	record.revision = revision;
	return record;
}

static void put(const char *name, const char *text, size_t length)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), (long)length);
	(void)close(fd);
}

static size_t get(const char *name, char *buf, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, buf, size);
	assert_true(n >= 0);
	(void)close(fd);
	return (size_t)n;
}

/* How many names in the directory end with this. */
static unsigned int count_files(const char *end)
{
	struct dirent *entry;
	unsigned int count = 0;
	DIR *at = opendir(dir);

	assert_non_null(at);
	while ((entry = readdir(at))) {
		size_t length = strlen(entry->d_name);

		count += length > strlen(end) &&
			 strcmp(entry->d_name + length - strlen(end), end) == 0;
	}
	(void)closedir(at);
	return count;
}

static void a_record_is_text_for_people(void **state)
{
	struct hf_ledger_record record = make("people", 0, "p1"), now;
	char text[4096] = { 0 };

	(void)state;
	record.reason_code = HF_E_DEVICE_STATE;
	(void)snprintf(record.reason, sizeof(record.reason), "device 3:\nset STOP_COPY: EBUSY");
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	(void)get("people", text, sizeof(text) - 1);
	assert_non_null(strstr(text, "holdfast-ledger: 1\nguest: people\nrevision: 1\n"));
	assert_non_null(strstr(text, "\nstate: home\nowner: alpha.1\noffered-to: \n"));
	assert_non_null(strstr(text, "\nreason-code: -4160\n"));
	assert_non_null(strstr(text, "\nreason: device 3:\\x0aset STOP_COPY: EBUSY\nchecksum: "));
}

/* Every single changed byte and every truncation is noticed, named, and left as it is. */
static void a_damaged_record_is_named_and_never_overwritten(void **state)
{
	struct hf_ledger_record record = make("damaged", 0, "d1"), now, seen;
	char text[4096], changed[4096], after[4096], expected[32];
	unsigned int line = 1;
	size_t length;

	(void)state;
	record.reason_code = -1;
	(void)snprintf(record.reason, sizeof(record.reason), "why \\ not");
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	length = get("damaged", text, sizeof(text));
	for (size_t i = 0; i < length; i++) {
		struct hf_error err = { 0 };

		(void)snprintf(expected, sizeof(expected), "/damaged, line %u:", line);
		memcpy(changed, text, length);
		changed[i] = (char)(changed[i] ^ 1);
		put("damaged", changed, length);
		assert_int_equal(ledger_read(&ledger, "damaged", &seen, &err), HF_E_LEDGER_DAMAGED);
		if (!strstr(err.text, expected) &&
		    !strstr(err.text, "/damaged, line 11: the check"))
			fail_msg("byte %zu in line %u: %s", i, line, err.text);

		put("damaged", text, i); /* cut short here */
		memset(&err, 0, sizeof(err));
		assert_int_equal(ledger_read(&ledger, "damaged", &seen, &err), HF_E_LEDGER_DAMAGED);
		if (!strstr(err.text, expected))
			fail_msg("%zu bytes, line %u: %s", i, line, err.text);
		line += text[i] == '\n';
	}
	assert_int_equal(line, 12);
	memcpy(changed, text, length);
	changed[length] = '\n';
	put("damaged", changed, length + 1);
	assert_int_equal(ledger_read(&ledger, "damaged", &seen, NULL), HF_E_LEDGER_DAMAGED);
	record = make("damaged", 1, "d2");
	assert_int_equal(ledger_swap(&ledger, &record, &seen, NULL), HF_E_LEDGER_DAMAGED);
	record = make("damaged", 0, "d3");
	assert_int_equal(ledger_swap(&ledger, &record, &seen, NULL), HF_E_LEDGER_DAMAGED);
	assert_int_equal(get("damaged", after, sizeof(after)), length + 1);
	assert_memory_equal(after, changed, length + 1);

	put("other", text, length); /* whole, but another guest's */
	assert_int_equal(ledger_read(&ledger, "other", &seen, NULL), HF_E_LEDGER_DAMAGED);
	put("damaged", text, length);
	assert_int_equal(ledger_read(&ledger, "damaged", &seen, NULL), 0);
	assert_memory_equal(&seen, &now, sizeof(now));
}

static void what_is_no_file_is_damaged_and_not_waited_for(void **state)
{
	struct hf_ledger_record seen;
	char path[128], big[8192];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(ledger_read(&ledger, "fifo", &seen, NULL), HF_E_LEDGER_DAMAGED);
	memset(big, 'x', sizeof(big));
	put("big", big, sizeof(big));
	assert_int_equal(ledger_read(&ledger, "big", &seen, NULL), HF_E_LEDGER_DAMAGED);
	put("empty", "", 0);
	assert_int_equal(ledger_read(&ledger, "empty", &seen, NULL), HF_E_LEDGER_DAMAGED);
}

static void leftovers_of_a_killed_writer_are_removed_by_the_next(void **state)
{
	struct hf_ledger_record record = make("left", 0, "l1"), now;

	(void)state;
	put(".left.0123456789abcdef.tmp", "half a rec", 10);
	put(".left.over.0123456789abcdef.tmp", "another guest's", 15);
	assert_int_equal(ledger_read(&ledger, "left", &now, NULL), 0);
	assert_int_equal(now.revision, 0);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(count_files(".tmp"), 1);
	record = make("left.over", 0, "l2");
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(count_files(".tmp"), 0);
}

static void a_write_that_fails_changes_nothing_and_says_so(void **state)
{
	struct hf_ledger_record record = make("full", 0, "f1"), now, seen;
	struct rlimit saved, small;
	struct hf_error err = { 0 };
	int answer;

	(void)state;
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
	small = saved;
	small.rlim_cur = 16; /* files end here, as on a full disk */
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	record = make("full", now.revision, "f2");
	answer = ledger_swap(&ledger, &record, &seen, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(answer, HF_E_SYSTEM);
	assert_int_equal(err.cause, EFBIG);
	assert_non_null(strstr(err.text, "nothing was changed"));
	assert_int_equal(ledger_read(&ledger, "full", &seen, NULL), 0);
	assert_memory_equal(&seen, &now, sizeof(now));
	assert_int_equal(count_files(".tmp"), 0);
	assert_int_equal(ledger_swap(&ledger, &record, &seen, NULL), HF_LEDGER_DONE);
}

static void a_stopped_holder_of_the_lock_makes_the_answer_unknown(void **state)
{
	struct hf_ledger_record record = make("held", 0, "h1"), now;
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct hf_error err = { 0 };
	uint64_t begin = time_now_ns();
	char path[128];
	int fd;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/.held.lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	assert_int_equal(ledger_swap(&ledger, &record, &now, &err), HF_LEDGER_UNKNOWN);
	assert_int_equal(err.code, HF_E_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, ".held.lock"));
	assert_true(time_now_ns() - begin < 6 * NS_PER_S);
	assert_int_equal(ledger_read(&ledger, "held", &now, NULL), 0); /* reading does not wait */
	assert_int_equal(now.revision, 0);
	(void)close(fd);
	assert_int_equal(ledger_swap(&ledger, &record, &now, NULL), HF_LEDGER_DONE);
}

static void another_directory_in_its_place_is_noticed(void **state)
{
	struct hf_ledger moved = { 0 };
	struct hf_ledger_record record = make("moved", 0, "m1"), now;
	struct hf_error err = { 0 };
	char path[128], away[160], text[160];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/moved", dir);
	(void)snprintf(away, sizeof(away), "%s.away", path);
	(void)snprintf(text, sizeof(text), "file:%s", path);
	assert_int_equal(hf_ledger_open(text, &moved, &err), 0);
	assert_int_equal(ledger_swap(&moved, &record, &now, &err), HF_LEDGER_DONE);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(ledger_read(&moved, "moved", &now, NULL), HF_E_LEDGER_UNKNOWN);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(ledger_read(&moved, "moved", &now, &err), HF_E_LEDGER_UNKNOWN);
	assert_non_null(strstr(err.text, "another directory"));
	record = make("moved", 1, "m2");
	assert_int_equal(ledger_swap(&moved, &record, &now, NULL), HF_E_LEDGER_UNKNOWN);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rename(away, path), 0);
	assert_int_equal(ledger_read(&moved, "moved", &now, NULL), 0);
	hf_ledger_close(&moved);
}

static void one_directory_has_one_address(void **state)
{
	struct hf_ledger other = { 0 };
	char text[HF_URI_MAX], link_path[128];

	(void)state;
	(void)snprintf(link_path, sizeof(link_path), "%s.link", dir);
	assert_int_equal(symlink(dir, link_path), 0);
	(void)snprintf(text, sizeof(text), "file:%s/../%s//./", link_path, strrchr(dir, '/') + 1);
	assert_int_equal(hf_ledger_open(text, &other, NULL), 0);
	assert_string_equal(other.uri, ledger.uri);
	hf_ledger_close(&other);
	assert_int_equal(unlink(link_path), 0);
}

/* ---- other processes ------------------------------------------------------------------------- */

/* A slow disk makes the lock's holder late, and the answer unknown: ask again, as a session does.
 */
static int swap_until_known(struct hf_ledger *at, const struct hf_ledger_record *record,
			    struct hf_ledger_record *ret_now)
{
	int answer = HF_LEDGER_UNKNOWN;

	for (unsigned int i = 0; i < 10 && answer == HF_LEDGER_UNKNOWN; i++)
		answer = ledger_swap(at, record, ret_now, NULL);
	return answer;
}

/* Each takes the revision it sees and tries to be the next; counts how often it was. */
static void race(atomic_uint *wins, atomic_uint *start, unsigned int number)
{
	struct hf_ledger mine = { 0 };
	struct hf_ledger_record record, now = { 0 };
	int answer;

	if (hf_ledger_open(uri, &mine, NULL) < 0)
		_exit(2);
	atomic_fetch_add(start, 1);
	while (atomic_load(start) < FORK_RACERS)
		(void)sched_yield();
	while (now.revision < FORK_ROUNDS) {
		record = make("forked", now.revision, "");
		(void)snprintf(record.attempt, sizeof(record.attempt), "%u-%u", number,
			       (unsigned int)now.revision);
		answer = swap_until_known(&mine, &record, &now);
		if (answer == HF_LEDGER_DONE)
			atomic_fetch_add(wins, 1);
		else if (answer != HF_LEDGER_REFUSED)
			_exit(3);
	}
	_exit(0);
}

static void of_processes_that_race_one_wins_each_revision(void **state)
{
	struct hf_ledger_record now;
	atomic_uint *shared;
	pid_t pids[FORK_RACERS];
	int status;

	(void)state;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	for (unsigned int i = 0; i < FORK_RACERS; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			race(&shared[0], &shared[1], i);
	}
	for (unsigned int i = 0; i < FORK_RACERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	assert_int_equal(ledger_read(&ledger, "forked", &now, NULL), 0);
	assert_int_equal(now.revision, atomic_load(&shared[0])); /* no win was lost or double */
	assert_true(now.revision >= FORK_ROUNDS);
	(void)munmap(shared, 4096);
}

/* Writes for ever; the parent kills it somewhere in between. */
static void write_for_ever(atomic_ullong *done, atomic_ullong *tried, unsigned int number)
{
	struct hf_ledger mine = { 0 };
	struct hf_ledger_record record, now;

	if (hf_ledger_open(uri, &mine, NULL) < 0 || ledger_read(&mine, "killed", &now, NULL) < 0)
		_exit(2);
	for (;;) {
		record = make("killed", now.revision, "");
		(void)snprintf(record.attempt, sizeof(record.attempt), "%u-%llu", number,
			       (unsigned long long)now.revision);
		memset(record.reason, 'a' + (int)(now.revision % 26), now.revision % 247);
		record.epoch = now.revision + 1;
		atomic_store(tried, record.epoch);
		if (swap_until_known(&mine, &record, &now) != HF_LEDGER_DONE)
			_exit(3);
		atomic_store(done, now.revision);
	}
}

static void a_killed_writer_leaves_the_old_record_or_the_new(void **state)
{
	uint64_t end = time_now_ns() + KILL_NS;
	atomic_ullong *shared;
	unsigned int kills = 0, seed = 4711;
	struct hf_ledger_record now = { 0 };
	int status;

	(void)state;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	while (time_now_ns() < end) {
		uint64_t before = atomic_load(&shared[0]);
		struct timespec random = { .tv_nsec = rand_r(&seed) % 3000000 };
		struct hf_error err = { 0 };
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			write_for_ever(&shared[0], &shared[1], kills);
		while (atomic_load(&shared[0]) == before && time_now_ns() < end + 5 * NS_PER_S)
			(void)sched_yield(); /* it has begun */
		(void)nanosleep(&random, NULL); /* when to kill is the experiment */
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		if (ledger_read(&ledger, "killed", &now, &err) < 0)
			fail_msg("after %u kills: %s", kills, err.text);
		assert_true(now.revision >= atomic_load(&shared[0]));
		assert_true(now.revision <= atomic_load(&shared[1]));
		assert_int_equal(now.epoch, now.revision);
		assert_int_equal(strlen(now.reason), (now.revision - 1) % 247);
		kills++;
	}
	print_message("# %u writers killed, %llu revisions\n", kills,
		      (unsigned long long)now.revision);
	assert_true(kills > 0);
	(void)munmap(shared, 4096);
}

static int make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/hf-ledger-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(uri, sizeof(uri), "file:%s", dir);
	return hf_ledger_open(uri, &ledger, NULL);
}

static int remove_dir(void **state)
{
	char command[128];

	(void)state;
	hf_ledger_close(&ledger);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command); /* made by mkdtemp() above */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_text_for_people),
		cmocka_unit_test(a_damaged_record_is_named_and_never_overwritten),
		cmocka_unit_test(what_is_no_file_is_damaged_and_not_waited_for),
		cmocka_unit_test(leftovers_of_a_killed_writer_are_removed_by_the_next),
		cmocka_unit_test(a_write_that_fails_changes_nothing_and_says_so),
		cmocka_unit_test(a_stopped_holder_of_the_lock_makes_the_answer_unknown),
		cmocka_unit_test(another_directory_in_its_place_is_noticed),
		cmocka_unit_test(one_directory_has_one_address),
		cmocka_unit_test(of_processes_that_race_one_wins_each_revision),
		cmocka_unit_test(a_killed_writer_leaves_the_old_record_or_the_new),
	};

	return cmocka_run_group_tests_name("ledger-file", tests, make_dir, remove_dir);
}
