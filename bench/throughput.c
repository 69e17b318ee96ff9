/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How close a session comes to the machine's limit: precopy of a guest of random pages over TCP on
 * loopback, as a ratio to a bare copy (writev from one memfd, readv into another) over as many
 * connections with the same socket options, measured in turn in the same run.
 *
 *   throughput [--gib N] [--runs N] [--channels LIST]
 *
 * Prints a line for each run, and for each number of channels the median ratio and the CPU seconds
 * per GiB (both sides together). Exit status 1 if a transfer fails; figures never fail it.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/session.h>

#define CHUNK (2u << 20)
#define RUNS_MAX 32

struct result {
	double seconds, cpu_seconds;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "throughput: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_of(int who)
{
	struct rusage usage;

	(void)getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void *fresh_memory(uint64_t bytes, int *ret_fd)
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

/* ---- the bare copy -------------------------------------------------------------------------- */

struct lane {
	pthread_t thread;
	int fd;
	uint8_t *memory;
	uint64_t bytes;
	int send;
};

static void *run_lane(void *arg)
{
	struct lane *lane = arg;
	uint64_t done = 0;

	while (done < lane->bytes) {
		uint64_t left = lane->bytes - done;
		struct iovec iov = { lane->memory + done, left < CHUNK ? left : CHUNK };
		ssize_t got = lane->send ? writev(lane->fd, &iov, 1) : readv(lane->fd, &iov, 1);

		if (got <= 0)
			die("bare copy");
		done += (uint64_t)got;
	}
	return NULL;
}

static void run_lanes(struct lane *lanes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]))
			die("thread");
	for (uint32_t i = 0; i < count; i++)
		(void)pthread_join(lanes[i].thread, NULL);
}

static void split(struct lane *lanes, uint32_t count, void *memory, uint64_t bytes, int send)
{
	uint64_t part = bytes / count / CHUNK * CHUNK;

	for (uint32_t i = 0; i < count; i++) {
		lanes[i].memory = (uint8_t *)memory + part * i;
		lanes[i].bytes = i == count - 1 ? bytes - part * i : part;
		lanes[i].send = send;
	}
}

static void set_options(int fd)
{
	int one = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static struct result bare_copy(void *memory, uint64_t bytes, uint32_t channels)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	struct lane lanes[HF_CHANNELS_MAX] = { 0 };
	struct result result;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
	double begin, cpu_begin = cpu_of(RUSAGE_SELF), cpu_children = cpu_of(RUSAGE_CHILDREN);
	pid_t child;

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
	    listen(listener, (int)channels) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		die("listen");
	begin = now();
	child = fork();
	if (child == 0) {
		int fd;
		void *target = fresh_memory(bytes, &fd);

		split(lanes, channels, target, bytes, 0);
		for (uint32_t i = 0; i < channels; i++) {
			lanes[i].fd = accept(listener, NULL, NULL);
			set_options(lanes[i].fd);
		}
		run_lanes(lanes, channels);
		_exit(0);
	}
	split(lanes, channels, memory, bytes, 1);
	for (uint32_t i = 0; i < channels; i++) {
		lanes[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		set_options(lanes[i].fd);
		if (connect(lanes[i].fd, (struct sockaddr *)&address, length) < 0)
			die("connect");
	}
	run_lanes(lanes, channels);
	for (uint32_t i = 0; i < channels; i++)
		(void)close(lanes[i].fd);
	if (waitpid(child, &status, 0) < 0 || status)
		die("bare copy");
	result.seconds = now() - begin;
	result.cpu_seconds =
		cpu_of(RUSAGE_SELF) - cpu_begin + cpu_of(RUSAGE_CHILDREN) - cpu_children;
	(void)close(listener);
	return result;
}

/* ---- the session ---------------------------------------------------------------------------- */

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

static struct result session_copy(void *memory, int fd, uint64_t bytes, uint32_t channels,
				  const char *ledger_uri)
{
	struct hf_memory_region region = { .size = bytes, .host = memory, .fd = fd, .name = "ram" };
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

	if (pipe(pipe_fds) < 0 || hf_ledger_open(ledger_uri, &config.ledger, &err) < 0)
		die(err.text[0] ? err.text : "pipe");
	begin = now();
	child = fork();
	if (child == 0) {
		region.host = fresh_memory(bytes, &region.fd);
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

/* ---- figures -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, uint32_t count)
{
	qsort(values, count, sizeof(values[0]), compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void measure(void *memory, int fd, uint64_t bytes, uint32_t channels, uint32_t runs,
		    const char *ledger_uri)
{
	double gib = (double)bytes / (double)(1 << 30);
	double ratios[RUNS_MAX], bare_cpu[RUNS_MAX], cpu[RUNS_MAX], rates[RUNS_MAX];

	for (uint32_t i = 0; i < runs; i++) {
		struct result bare = bare_copy(memory, bytes, channels);
		struct result session = session_copy(memory, fd, bytes, channels, ledger_uri);

		ratios[i] = bare.seconds / session.seconds;
		rates[i] = gib / session.seconds;
		bare_cpu[i] = bare.cpu_seconds / gib;
		cpu[i] = session.cpu_seconds / gib;
		(void)printf(
			"channels %2u run %u: bare %.2f GiB/s, session %.2f GiB/s, ratio %.3f\n",
			channels, i + 1, gib / bare.seconds, rates[i], ratios[i]);
		(void)fflush(stdout);
	}
	(void)printf("channels %2u median: session %.2f GiB/s, ratio %.3f (%.3f to %.3f), "
		     "CPU s/GiB session %.3f bare %.3f\n",
		     channels, median(rates, runs), median(ratios, runs), ratios[0],
		     ratios[runs - 1], median(cpu, runs), median(bare_cpu, runs));
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "gib", required_argument, NULL, 'g' },
						 { "runs", required_argument, NULL, 'r' },
						 { "channels", required_argument, NULL, 'c' },
						 { 0 } };
	uint64_t gib = 4;
	uint32_t runs = 3;
	char list_default[] = "1,2,4", *list = list_default, directory[] = "/tmp/hf-bench-XXXXXX";
	char ledger_uri[64], *rest = NULL;
	void *memory;
	int fd, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'g')
			gib = strtoull(optarg, NULL, 10);
		else if (c == 'r')
			runs = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'c')
			list = optarg;
		else
			return 2;
	}
	if (!gib || gib > 64 || !runs || runs > RUNS_MAX) {
		(void)fprintf(stderr, "throughput: --gib 1..64, --runs 1..%d\n", RUNS_MAX);
		return 2;
	}
	if (!mkdtemp(directory))
		die(directory);
	(void)snprintf(ledger_uri, sizeof(ledger_uri), "file:%s", directory);
	memory = fresh_memory(gib << 30, &fd);
	fill_random(memory, gib << 30);
	for (char *item = strtok_r(list, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		unsigned long channels = strtoul(item, NULL, 10);

		if (channels < 1 || channels > HF_CHANNELS_MAX) {
			(void)fprintf(stderr, "throughput: --channels: 1..%d\n", HF_CHANNELS_MAX);
			return 2;
		}
		measure(memory, fd, gib << 30, (uint32_t)channels, runs, ledger_uri);
	}
	return 0;
}
