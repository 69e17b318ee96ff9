/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How close a session comes to the machine's limit: the migration of a guest of random pages over
 * TCP on loopback, as a ratio to a bare copy (writev from one memfd, readv into another, fresh one)
 * over as many connections with the same options and pieces of the same size. Both are measured in
 * each run, one behind the other, in turns which is first.
 *
 *   throughput [--gib N] [--runs N] [--channels LIST] [--json]
 *
 * A time is from the fork of the target's process until that has ended, set-up, handover and the
 * freeing of memory included, for both alike. Prints a line for each run, and for each number of
 * channels median, least and greatest ratio, and the CPU seconds per GiB (both sides together).
 * Exit status 1 if a transfer fails; figures never fail it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/types.h>

#include "throughput.h"

#define RUNS_MAX 32

void die(const char *what)
{
	(void)fprintf(stderr, "throughput: %s: %s\n", what, strerror(errno));
	exit(1);
}

double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double cpu_of(int who)
{
	struct rusage usage;

	(void)getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void *fresh_memory(uint64_t bytes, int *ret_fd)
{
	int fd = memfd_create("throughput", MFD_CLOEXEC);
	void *memory;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		die("memfd");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	*ret_fd = fd;
	return memory;
}

/* The target's process: gone when ours is. */
pid_t fork_target(void)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		die("fork");
	if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(1);
	return child;
}

static void fill_random(void *memory, uint64_t bytes)
{
	uint64_t *word = memory, x = 0x9e3779b97f4a7c15ull;

	for (uint64_t i = 0; i < bytes / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = x;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Sorts the values: the first is the least then. */
static double median(double *values, uint32_t count)
{
	qsort(values, count, sizeof(values[0]), compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

struct figures {
	double bare_rate[RUNS_MAX], rate[RUNS_MAX], ratio[RUNS_MAX];
	double bare_cpu[RUNS_MAX], cpu[RUNS_MAX];
};

static void tell(const struct bench *bench, struct figures *figures, uint32_t channels)
{
	uint32_t last = bench->runs - 1;
	double bare_rate = median(figures->bare_rate, bench->runs);
	double rate = median(figures->rate, bench->runs);
	double ratio = median(figures->ratio, bench->runs);
	double bare_cpu = median(figures->bare_cpu, bench->runs);
	double cpu = median(figures->cpu, bench->runs);

	if (bench->json) {
		(void)printf("{\"channels\":%u,\"gib\":%llu,\"runs\":%u,\"bare_gib_per_s\":%.3f,"
			     "\"session_gib_per_s\":%.3f,\"ratio\":%.3f,\"ratio_min\":%.3f,"
			     "\"ratio_max\":%.3f,\"bare_cpu_s_per_gib\":%.3f,"
			     "\"session_cpu_s_per_gib\":%.3f}\n",
			     channels, (unsigned long long)(bench->bytes >> 30), bench->runs,
			     bare_rate, rate, ratio, figures->ratio[0], figures->ratio[last],
			     bare_cpu, cpu);
		return;
	}
	(void)printf("channels %2u median of %u: bare %.2f GiB/s, session %.2f GiB/s, "
		     "ratio %.3f (%.3f to %.3f), CPU s/GiB bare %.3f session %.3f\n",
		     channels, bench->runs, bare_rate, rate, ratio, figures->ratio[0],
		     figures->ratio[last], bare_cpu, cpu);
}

static void measure(const struct bench *bench, uint32_t channels)
{
	double gib = (double)bench->bytes / (double)(1 << 30);
	struct figures figures;

	for (uint32_t i = 0; i < bench->runs; i++) {
		struct result bare, session;

		if (i % 2) {
			session = session_copy(bench, channels);
			bare = bare_copy(bench, channels);
		} else {
			bare = bare_copy(bench, channels);
			session = session_copy(bench, channels);
		}
		figures.bare_rate[i] = gib / bare.seconds;
		figures.rate[i] = gib / session.seconds;
		figures.ratio[i] = bare.seconds / session.seconds;
		figures.bare_cpu[i] = bare.cpu_seconds / gib;
		figures.cpu[i] = session.cpu_seconds / gib;
		if (bench->json)
			continue;
		(void)printf("channels %2u run %u: bare %.2f GiB/s, session %.2f GiB/s, ratio "
			     "%.3f, CPU s/GiB bare %.3f session %.3f\n",
			     channels, i + 1, figures.bare_rate[i], figures.rate[i],
			     figures.ratio[i], figures.bare_cpu[i], figures.cpu[i]);
		(void)fflush(stdout);
	}
	tell(bench, &figures, channels);
	(void)fflush(stdout);
}

/* The ledger's folder, which holds one guest's record and lock. */
static void remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0); /* rmdir tells */
	(void)closedir(dir);
	if (rmdir(folder) < 0)
		(void)fprintf(stderr, "throughput: %s: %s\n", folder, strerror(errno));
}

static int usage(void)
{
	(void)fprintf(stderr,
		      "throughput [--gib 1..64] [--runs 1..%d] [--channels N,... of 1..%d] "
		      "[--json]\n",
		      RUNS_MAX, HF_CHANNELS_MAX);
	return 2;
}

/* The numbers of a list such as 1,2,4; how many, or 0. */
static uint32_t parse_list(char *list, uint32_t *ret_numbers)
{
	uint32_t count = 0;
	char *rest = NULL;

	for (char *item = strtok_r(list, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		unsigned long number = strtoul(item, NULL, 10);

		if (number < 1 || number > HF_CHANNELS_MAX || count == HF_CHANNELS_MAX)
			return 0;
		ret_numbers[count++] = (uint32_t)number;
	}
	return count;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "gib", required_argument, NULL, 'g' },
						 { "runs", required_argument, NULL, 'r' },
						 { "channels", required_argument, NULL, 'c' },
						 { "json", no_argument, NULL, 'j' },
						 { 0 } };
	struct bench bench = { .bytes = 4, .runs = 5 };
	char list_default[] = "1,2,4", *list = list_default, folder[] = "/tmp/hf-bench-XXXXXX";
	uint32_t channels[HF_CHANNELS_MAX], count;
	char ledger_uri[64];
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'g')
			bench.bytes = strtoull(optarg, NULL, 10);
		else if (c == 'r')
			bench.runs = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'c')
			list = optarg;
		else if (c == 'j')
			bench.json = 1;
		else
			return usage();
	}
	count = parse_list(list, channels);
	if (!count || !bench.bytes || bench.bytes > 64 || !bench.runs || bench.runs > RUNS_MAX)
		return usage();
	if (!mkdtemp(folder))
		die(folder);
	(void)snprintf(ledger_uri, sizeof(ledger_uri), "file:%s", folder);
	bench.ledger_uri = ledger_uri;
	bench.bytes <<= 30;
	bench.memory = fresh_memory(bench.bytes, &bench.fd);
	fill_random(bench.memory, bench.bytes);
	for (uint32_t i = 0; i < count; i++)
		measure(&bench, channels[i]);
	remove_folder(folder);
	return 0;
}
