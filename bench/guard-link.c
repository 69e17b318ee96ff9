/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the link between guards costs: octets from a UNIX socket of one process to a UNIX socket of
 * another, through the link over TCP on loopback; against a plain relay on the same path (a thread
 * for each stream at either end, read and write, 256 KiB, nothing kept), and against a bare copy
 * over as many TCP sockets, without any UNIX sockets or relays. All three in each run, in turns.
 *
 *   guard-link [--gib N] [--runs N] [--streams LIST] [--window KIB] [--only bare|relay|link]
 *
 * A time is from the first octet written until the last one was read; nothing else is in it. Prints
 * a line for each run, and for each number of streams the medians, least and greatest ratios, and
 * the CPU seconds per GiB of all processes together. Exit status 1 if a transfer fails; figures
 * never fail it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard/link.h"
#include "guard/socket.h"

#define STREAMS_MAX 16u
#define RUNS_MAX 32
#define CHUNK (512u << 10) /* a packet of QEMU's multifd: 128 pages */
#define RELAY (256u << 10)

enum way { BARE, RELAYED, LINKED, WAYS };
static const char *const way_names[WAYS] = { "bare", "relay", "link" };

static char folder[] = "/tmp/hf-bench-XXXXXX";
static uint64_t octets_each;
static uint32_t stream_count, window;

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "guard-link: %s: %s\n", what, strerror(errno));
	_exit(1);
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

/* ---- who writes, who reads, who relays ----------------------------------------------------- */

struct lane {
	pthread_t thread;
	int fd, to_fd;
};

static void *send_all(void *arg)
{
	struct lane *lane = arg;
	char *bytes = malloc(CHUNK);
	uint64_t done = 0;

	if (!bytes)
		die("memory");
	memset(bytes, 0x5a, CHUNK);
	while (done < octets_each) {
		ssize_t n = send(lane->fd, bytes + done % CHUNK, CHUNK - done % CHUNK, 0);

		if (n <= 0)
			die("send");
		done += (uint64_t)n;
	}
	free(bytes);
	return NULL;
}

static void *recv_all(void *arg)
{
	struct lane *lane = arg;
	char *bytes = malloc(CHUNK);
	uint64_t done = 0;

	if (!bytes)
		die("memory");
	memset(bytes, 0, CHUNK);
	while (done < octets_each) {
		ssize_t n = recv(lane->fd, bytes, CHUNK, 0);

		if (n <= 0)
			die("receive");
		done += (uint64_t)n;
	}
	free(bytes);
	return NULL;
}

static void *relay_all(void *arg)
{
	struct lane *lane = arg;
	char *bytes = malloc(RELAY);
	ssize_t got;

	if (!bytes)
		die("memory");
	while ((got = read(lane->fd, bytes, RELAY)) > 0)
		for (ssize_t done = 0, n; done < got; done += n) {
			n = write(lane->to_fd, bytes + done, (size_t)(got - done));
			if (n <= 0)
				die("relay");
		}
	(void)shutdown(lane->to_fd, SHUT_WR);
	free(bytes);
	return NULL;
}

static void start(struct lane *lanes, void *(*run)(void *))
{
	for (uint32_t i = 0; i < stream_count; i++)
		if (pthread_create(&lanes[i].thread, NULL, run, &lanes[i]))
			die("thread");
}

static void join(struct lane *lanes)
{
	for (uint32_t i = 0; i < stream_count; i++)
		(void)pthread_join(lanes[i].thread, NULL);
}

/* ---- sockets ------------------------------------------------------------------------------- */

static int must(int fd, const struct hf_error *err)
{
	if (fd >= 0)
		return fd;
	(void)fprintf(stderr, "guard-link: %s\n", err->text);
	_exit(1);
}

static void path_of(char path[64], const char *name)
{
	(void)snprintf(path, 64, "unix:%s/%s", folder, name);
}

static int listen_at(const char *uri)
{
	struct hf_error err;

	return must(socket_listen(uri, &err), &err);
}

static int connect_to(const char *uri)
{
	struct hf_error err;

	return must(socket_connect(uri, &err), &err);
}

static int accept_one(int listen_fd)
{
	const int on = 1;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		die("accept");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* ---- three ways ---------------------------------------------------------------------------- */

/* What the two processes share: the target's listeners, made before it is forked. */
struct place {
	int tcp_fd, unix_fd;
	char tcp[64], near[64], far[64]; /* addresses of sockets: between hosts, at either end */
};

static struct link *make_link(const struct place *place, bool listens, const char *uri)
{
	const struct link_config config = {
		.uri = uri,
		.listens = listens,
		.connections = stream_count,
		.window = window,
		.paths = { [LINK_QEMU] = (listens ? place->far : place->near) + 5 },
	};
	struct link *link;
	struct hf_error err;

	(void)must(link_new(&config, &link, &err), &err);
	return link;
}

/* The target's process: says the link's address, and ends when all has been read. */
static _Noreturn void target(const struct place *place, enum way way, int address_fd)
{
	struct lane lanes[STREAMS_MAX], relays[STREAMS_MAX];
	struct link *link = NULL;
	char uri[64] = "";

	if (way == LINKED) {
		link = make_link(place, true, "tcp:127.0.0.1:0");
		(void)snprintf(uri, sizeof(uri), "%s", link_uri(link));
	}
	if (write(address_fd, uri, sizeof(uri)) != (ssize_t)sizeof(uri))
		die("pipe");
	for (uint32_t i = 0; i < stream_count; i++) {
		if (way != LINKED)
			relays[i].fd = lanes[i].fd = accept_one(place->tcp_fd);
		if (way == RELAYED)
			relays[i].to_fd = connect_to(place->far);
		if (way != BARE)
			lanes[i].fd = accept_one(place->unix_fd);
	}
	start(lanes, recv_all);
	if (way == RELAYED)
		start(relays, relay_all);
	join(lanes);
	if (write(address_fd, "", 1) != 1)
		die("pipe");
	if (way == RELAYED)
		join(relays);
	(void)link_free(link);
	_exit(0);
}

static pid_t fork_target(const struct place *place, enum way way, int *ret_fd)
{
	pid_t parent = getpid(), child;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		(void)close(fds[0]);
		target(place, way, fds[1]);
	}
	(void)close(fds[1]);
	*ret_fd = fds[0];
	return child;
}

struct result {
	double seconds, cpu_seconds;
};

static struct result transfer(enum way way)
{
	struct lane lanes[STREAMS_MAX], relays[STREAMS_MAX];
	struct place place;
	struct link *link = NULL;
	struct result result;
	char uri[64];
	double cpu = cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
	int address_fd, near_fd = -1, status;
	pid_t child;

	path_of(place.near, "near");
	path_of(place.far, "far");
	place.tcp_fd = listen_at("tcp:127.0.0.1:0");
	place.unix_fd = listen_at(place.far);
	(void)snprintf(place.tcp, sizeof(place.tcp), "tcp:127.0.0.1:%u", socket_port(place.tcp_fd));
	child = fork_target(&place, way, &address_fd);
	if (read(address_fd, uri, sizeof(uri)) != (ssize_t)sizeof(uri))
		die("the target");
	if (way == LINKED)
		link = make_link(&place, false, uri);
	else if (way == RELAYED)
		near_fd = listen_at(place.near);
	for (uint32_t i = 0; i < stream_count; i++) {
		lanes[i].fd = connect_to(way == BARE ? place.tcp : place.near);
		if (way == RELAYED) {
			relays[i].fd = accept_one(near_fd);
			relays[i].to_fd = connect_to(place.tcp);
		}
	}
	result.seconds = now();
	start(lanes, send_all);
	if (way == RELAYED)
		start(relays, relay_all);
	if (read(address_fd, uri, 1) != 1)
		die("the target");
	result.seconds = now() - result.seconds;
	join(lanes);
	for (uint32_t i = 0; i < stream_count; i++)
		(void)close(lanes[i].fd);
	if (way == RELAYED)
		join(relays);
	(void)link_free(link);
	for (uint32_t i = 0; way == RELAYED && i < stream_count; i++) {
		(void)close(relays[i].fd);
		(void)close(relays[i].to_fd);
	}
	if (near_fd >= 0)
		socket_unlisten(place.near, near_fd);
	socket_unlisten(place.far, place.unix_fd);
	(void)close(place.tcp_fd);
	(void)close(address_fd);
	if (waitpid(child, &status, 0) < 0 || status)
		die("the target");
	result.cpu_seconds = cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN) - cpu;
	return result;
}

/* ---- figures ------------------------------------------------------------------------------- */

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

static void measure(uint32_t runs, int only)
{
	double gib = (double)octets_each * stream_count / (double)(1 << 30);
	double rate[WAYS][RUNS_MAX] = { 0 }, cpu[WAYS][RUNS_MAX] = { 0 };
	double to_relay[RUNS_MAX], to_bare[RUNS_MAX];

	for (uint32_t run = 0; run < runs; run++) {
		for (uint32_t i = 0; i < WAYS; i++) {
			enum way way = (enum way)((i + run) % WAYS);
			struct result result = { 1, 0 };

			if (only < 0 || only == (int)way)
				result = transfer(way);
			rate[way][run] = gib / result.seconds;
			cpu[way][run] = result.cpu_seconds / gib;
		}
		to_relay[run] = rate[LINKED][run] / rate[RELAYED][run];
		to_bare[run] = rate[LINKED][run] / rate[BARE][run];
		(void)printf("streams %2u run %u:", stream_count, run + 1);
		for (uint32_t way = 0; way < WAYS; way++)
			(void)printf(" %s %.2f GiB/s,", way_names[way], rate[way][run]);
		(void)printf(" link to relay %.3f\n", to_relay[run]);
		(void)fflush(stdout);
	}
	(void)printf("streams %2u median of %u:", stream_count, runs);
	for (uint32_t way = 0; way < WAYS; way++)
		(void)printf(" %s %.2f GiB/s %.2f CPU s/GiB,", way_names[way],
			     median(rate[way], runs), median(cpu[way], runs));
	(void)printf(" link to relay %.3f", median(to_relay, runs));
	(void)printf(" (%.3f to %.3f),", to_relay[0], to_relay[runs - 1]);
	(void)printf(" link to bare %.3f", median(to_bare, runs));
	(void)printf(" (%.3f to %.3f)\n", to_bare[0], to_bare[runs - 1]);
	(void)fflush(stdout);
}

static int way_of(const char *name)
{
	int way = 0;

	while (way < WAYS && strcmp(name, way_names[way]) != 0)
		way++;
	return way;
}

static int usage(void)
{
	(void)fprintf(stderr,
		      "guard-link [--gib 1..64] [--runs 1..%d] [--streams N,... of 1..%u] "
		      "[--window KIB] [--only bare|relay|link]\n",
		      RUNS_MAX, STREAMS_MAX);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "gib", required_argument, NULL, 'g' },
						 { "runs", required_argument, NULL, 'r' },
						 { "streams", required_argument, NULL, 's' },
						 { "window", required_argument, NULL, 'w' },
						 { "only", required_argument, NULL, 'o' },
						 { 0 } };
	char list_default[] = "1,4", *list = list_default, *rest = NULL;
	unsigned long gib = 2, runs = 5;
	int only = -1, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'g')
			gib = strtoul(optarg, NULL, 10);
		else if (c == 'r')
			runs = strtoul(optarg, NULL, 10);
		else if (c == 's')
			list = optarg;
		else if (c == 'w')
			window = (uint32_t)strtoul(optarg, NULL, 10) << 10;
		else if (c == 'o')
			only = way_of(optarg);
		else
			return usage();
	}
	if (only == WAYS || gib < 1 || gib > 64 || runs < 1 || runs > RUNS_MAX)
		return usage();
	if (!mkdtemp(folder))
		die(folder);
	for (char *item = strtok_r(list, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		stream_count = (uint32_t)strtoul(item, NULL, 10);
		if (stream_count < 1 || stream_count > STREAMS_MAX)
			return usage();
		octets_each = ((uint64_t)gib << 30) / stream_count;
		measure((uint32_t)runs, only);
	}
	if (rmdir(folder) < 0)
		die(folder);
	return 0;
}
