/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast the state of a device comes and goes over vfio-user, beside a bare copy through a UNIX
 * socket between the same two processes in the same run. The device's own part is left out: what it
 * gives is whatever stands in the buffer, and what it is given it does not look at. With an
 * argument (a device's URI) that device itself is read, too.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/device-server.h>

#define BYTES (1ull << 30)
#define PIECE (1u << 20)
#define RUNS 5

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* CPU time of this process and of another one: what a busy host does not change. */
static double cpu_s(pid_t other)
{
	struct timespec t = { 0 }, u = { 0 };
	clockid_t clock;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	if (clock_getcpuclockid(other, &clock) == 0)
		(void)clock_gettime(clock, &u);
	return (double)(t.tv_sec + u.tv_sec) + (double)(t.tv_nsec + u.tv_nsec) / 1e9;
}

static uint8_t buffer[PIECE];

/* ---- the device ------------------------------------------------------------------------------ */

static ssize_t give(void *self, void *buf, size_t size)
{
	(void)self, (void)buf;
	return (ssize_t)size;
}

static ssize_t take(void *self, const void *buf, size_t size)
{
	(void)self, (void)buf;
	return (ssize_t)size;
}

/* Serve at a socket that listens, until we are killed. */
static void serve(int fd, const char *uri)
{
	struct hf_device_server_config config = { .size = sizeof(config), .fd = fd };
	struct hf_device_server *server;
	struct hf_device_ops ops;
	struct hf_error err = { 0 };

	if (hf_device_open(uri ? uri : "sim:state=4K", "model", &config.device, &err) < 0)
		goto fail;
	if (!uri) {
		ops = *config.device.ops;
		ops.read_data = give;
		ops.write_data = take;
		config.device.ops = &ops;
	}
	if (hf_device_server_new(&config, &server, &err) < 0 ||
	    hf_device_server_run(server, &err) < 0)
		goto fail;
	exit(0);
fail:
	(void)fprintf(stderr, "bench: %s\n", err.text);
	exit(1);
}

/* A device in a process of its own. */
static pid_t start(struct hf_device *device, const char *uri)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char client[160];
	struct hf_error err = { 0 };
	pid_t pid;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/hf-bench-%d", getpid());
	(void)unlink(address.sun_path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 1) < 0)
		die(address.sun_path);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		serve(fd, uri);
	(void)close(fd);
	(void)snprintf(client, sizeof(client), "vfio-user:%s", address.sun_path);
	if (hf_device_open(client, "dut", device, &err) < 0) {
		(void)fprintf(stderr, "bench: %s\n", err.text);
		exit(1);
	}
	(void)unlink(address.sun_path);
	return pid;
}

static void stop(struct hf_device *device, pid_t pid)
{
	hf_device_close(device);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

/* ---- what is measured ------------------------------------------------------------------------ */

static void enter(struct hf_device *d, uint32_t state)
{
	if (d->ops->reset(d->self) < 0 || d->ops->set_state(d->self, state) < 0)
		die("state");
}

/* One copy of at most BYTES. */
struct rate {
	double bytes_per_s, cpu_s_per_gib;
};

static struct rate rate_of(uint64_t bytes, double began_s, double began_cpu_s, pid_t other)
{
	return (struct rate){ (double)bytes / (now_s() - began_s),
			      (cpu_s(other) - began_cpu_s) * (double)(1u << 30) / (double)bytes };
}

static struct rate read_state(struct hf_device *d, pid_t pid)
{
	uint64_t done = 0;
	double began, cpu;

	enter(d, HF_DEVICE_STOP_COPY);
	cpu = cpu_s(pid);
	began = now_s();
	while (done < BYTES) {
		ssize_t n = d->ops->read_data(d->self, buffer, sizeof(buffer));

		if (n < 0)
			die("read_data");
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	return rate_of(done, began, cpu, pid);
}

static struct rate write_state(struct hf_device *d, pid_t pid)
{
	double began, cpu;

	enter(d, HF_DEVICE_RESUMING);
	cpu = cpu_s(pid);
	began = now_s();
	for (uint64_t done = 0; done < BYTES;) {
		ssize_t n = d->ops->write_data(d->self, buffer, sizeof(buffer));

		if (n <= 0)
			die("write_data");
		done += (uint64_t)n;
	}
	return rate_of(BYTES, began, cpu, pid);
}

static struct rate bare(void)
{
	int pair[2];
	uint64_t done = 0;
	double began, cpu;
	struct rate rate;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		(void)close(pair[0]);
		while (write(pair[1], buffer, sizeof(buffer)) > 0)
			; /* until nobody reads */
		_exit(0);
	}
	(void)close(pair[1]);
	cpu = cpu_s(pid);
	began = now_s();
	while (done < BYTES) {
		ssize_t n = read(pair[0], buffer, sizeof(buffer));

		if (n <= 0)
			die("bare copy");
		done += (uint64_t)n;
	}
	rate = rate_of(done, began, cpu, pid);
	(void)close(pair[0]);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return rate;
}

static int ascending(const void *a, const void *b)
{
	double x = ((const struct rate *)a)->bytes_per_s, y = ((const struct rate *)b)->bytes_per_s;

	return (x > y) - (x < y);
}

static struct rate median(struct rate *values)
{
	qsort(values, RUNS, sizeof(values[0]), ascending);
	return values[RUNS / 2];
}

static void line(const char *what, struct rate rate, struct rate base)
{
	(void)printf("%-28s %6.0f MB/s, %.2f of the bare copy; CPU %.3f s/GiB, %.2f of it\n", what,
		     rate.bytes_per_s / 1e6, rate.bytes_per_s / base.bytes_per_s,
		     rate.cpu_s_per_gib, rate.cpu_s_per_gib / base.cpu_s_per_gib);
}

int main(int argc, char **argv)
{
	struct rate bares[RUNS], reads[RUNS], writes[RUNS], own[RUNS], base;
	struct hf_device device;
	pid_t pid;

	(void)signal(SIGPIPE, SIG_IGN);
	memset(buffer, 0x5a, sizeof(buffer));
	pid = start(&device, NULL);
	for (int i = 0; i < RUNS; i++) { /* in turn: a host's mood is everybody's */
		bares[i] = bare();
		reads[i] = read_state(&device, pid);
		writes[i] = write_state(&device, pid);
	}
	stop(&device, pid);
	base = median(bares);
	line("bare copy", base, base);
	line("vfio-user: MIG_DATA_READ", median(reads), base);
	line("vfio-user: MIG_DATA_WRITE", median(writes), base);
	if (argc > 1) {
		pid = start(&device, argv[1]);
		for (int i = 0; i < RUNS; i++)
			own[i] = read_state(&device, pid);
		stop(&device, pid);
		line(argv[1], median(own), base);
	}
	return 0;
}
