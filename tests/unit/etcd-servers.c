/* SPDX-License-Identifier: BSD-3-Clause */
#include "etcd-servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/time.h"

#define READY_NS (60 * NS_PER_S)
#define TRIES 5u /* a port that was free may be taken before etcd has it */

/* ---- real ones ---------------------------------------------------------------------------------
 */

bool servers_can(void)
{
	return system("command -v etcd >/dev/null") == 0; /* nothing of it comes from outside */
}

/* A socket that listens at a free port of loopback. */
static int listen_anywhere(uint16_t *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 64) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		fail_msg("no free port: %s", strerror(errno));
	*ret_port = ntohs(address.sin_port);
	return fd;
}

/* Different ones, all free a moment ago. */
static void find_ports(struct servers *servers)
{
	int fds[2 * SERVERS_MAX];

	for (uint32_t i = 0; i < servers->count; i++) {
		fds[2 * i] = listen_anywhere(&servers->client_ports[i]);
		fds[2 * i + 1] = listen_anywhere(&servers->peer_ports[i]);
	}
	for (uint32_t i = 0; i < 2 * servers->count; i++)
		(void)close(fds[i]);
}

static void path_of(const struct servers *servers, const char *name, char ret_path[128])
{
	(void)snprintf(ret_path, 128, "%.64s/%.40s", servers->dir, name);
}

void servers_endpoint(const struct servers *servers, uint32_t index, char ret_url[HF_URI_MAX])
{
	(void)snprintf(ret_url, HF_URI_MAX, "http%s://127.0.0.1:%u", servers->is_tls ? "s" : "",
		       servers->client_ports[index]);
}

void servers_uri(const struct servers *servers, char ret_uri[HF_URI_MAX])
{
	char url[HF_URI_MAX];
	size_t used = (size_t)snprintf(ret_uri, HF_URI_MAX, "etcd:");

	for (uint32_t i = 0; i < servers->count; i++) {
		servers_endpoint(servers, i, url);
		used += (size_t)snprintf(ret_uri + used, HF_URI_MAX - used, "%s%.64s", i ? "," : "",
					 url);
	}
}

/* In the child: become etcd, with its words in a file. Does not return. */
static void become(const struct servers *servers, uint32_t index)
{
	char name[16], data[128], log[128], client[HF_URI_MAX], peer[64], cluster[256] = "";
	char cert[128], key[128], ca[128];
	size_t used = 0;
	int fd;

	(void)snprintf(name, sizeof(name), "n%u", index);
	path_of(servers, name, data);
	(void)snprintf(log, sizeof(log), "%.100s.log", data);
	(void)snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", servers->peer_ports[index]);
	servers_endpoint(servers, index, client);
	for (uint32_t i = 0; i < servers->count; i++)
		used += (size_t)snprintf(cluster + used, sizeof(cluster) - used,
					 "%sn%u=http://127.0.0.1:%u", i ? "," : "", i,
					 servers->peer_ports[i]);
	path_of(servers, "server.pem", cert);
	path_of(servers, "server.key", key);
	path_of(servers, "ca.pem", ca);

	/* clang-format off */
	/* The list ends at the first NULL: without TLS, before its options. */
	const char *args[] = { "etcd", "--name", name, "--data-dir", data,
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", cluster, "--logger", "zap", "--log-level", "info",
		servers->is_tls ? "--client-cert-auth" : NULL,
		"--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca, NULL };
	/* clang-format on */

	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		_exit(126);
	(void)execvp(args[0], (char *const *)(uintptr_t)args);
	_exit(127);
}

/* Whether the log says, behind its first from bytes, that clients are served. */
static bool is_serving(const char *log, size_t from)
{
	FILE *file = fopen(log, "re");
	char line[4096];
	bool found = false;

	if (!file)
		return false;
	if (fseek(file, (long)from, SEEK_SET) == 0)
		while (!found && fgets(line, sizeof(line), file))
			found = strstr(line, "serving client ");
	(void)fclose(file);
	return found;
}

/* Until it serves; false: it has ended. An event of its log, or 100 ms, whatever comes first. */
static bool wait_serving(struct servers *servers, uint32_t index, size_t from)
{
	uint64_t until = time_now_ns() + READY_NS;
	char log[128], name[16], events[4096];
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), status;
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	bool is_ready = false, is_gone = false;

	(void)snprintf(name, sizeof(name), "n%u.log", index);
	path_of(servers, name, log);
	assert_true(fd >= 0);
	assert_true(inotify_add_watch(fd, servers->dir, IN_MODIFY | IN_CREATE) >= 0);
	while (!is_ready && !is_gone) {
		is_ready = is_serving(log, from);
		is_gone = waitpid(servers->pids[index], &status, WNOHANG) > 0;
		if (!is_ready && !is_gone)
			(void)poll(&poller, 1, 100);
		while (read(fd, events, sizeof(events)) > 0)
			continue;
		if (time_now_ns() > until)
			fail_msg("etcd %u does not serve; see %s", index, log);
	}
	(void)close(fd);
	if (is_gone)
		servers->pids[index] = 0;
	return !is_gone;
}

static void start(struct servers *servers, uint32_t index)
{
	servers->pids[index] = fork();
	if (servers->pids[index] == 0)
		become(servers, index);
	assert_true(servers->pids[index] > 0);
}

void servers_signal(struct servers *servers, uint32_t index, int signal)
{
	assert_true(servers->pids[index] > 0);
	assert_int_equal(kill(servers->pids[index], signal), 0);
}

void servers_kill(struct servers *servers, uint32_t index)
{
	if (!servers->pids[index])
		return;
	servers_signal(servers, index, SIGKILL);
	assert_int_equal(waitpid(servers->pids[index], NULL, 0), servers->pids[index]);
	servers->pids[index] = 0;
}

static size_t log_length(const struct servers *servers, uint32_t index)
{
	char log[128], name[16];
	FILE *file;
	long length;

	(void)snprintf(name, sizeof(name), "n%u.log", index);
	path_of(servers, name, log);
	file = fopen(log, "re");
	if (!file)
		return 0;
	(void)fseek(file, 0, SEEK_END);
	length = ftell(file);
	(void)fclose(file);
	return length > 0 ? (size_t)length : 0;
}

void servers_restart(struct servers *servers, uint32_t index)
{
	size_t from = log_length(servers, index);

	assert_int_equal(servers->pids[index], 0);
	start(servers, index);
	if (!wait_serving(servers, index, from))
		fail_msg("etcd %u has ended; see %s", index, servers->dir);
}

static void run(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command)) /* folders of mkdtemp() and our own words */
		fail_msg("failed: %s", command);
}

/* A CA, the servers' certificate, and a client's: ca.pem, server.*, client.*. */
static void make_certificates(const char *dir)
{
	run("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 "
	    "-subj /CN=test-ca >log 2>&1",
	    dir);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "client" : "server";

		run("cd %s && printf 'subjectAltName=IP:127.0.0.1' >ext && openssl req -newkey "
		    "rsa:2048 -nodes -keyout %s.key -out %s.csr -subj /CN=%s >>log 2>&1 && "
		    "openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
		    "-days 2 -extfile ext -out %s.pem >>log 2>&1",
		    dir, name, name, name, name, name);
	}
}

static bool start_all(struct servers *servers)
{
	bool is_running = true;

	find_ports(servers);
	for (uint32_t i = 0; i < servers->count; i++)
		start(servers, i);
	for (uint32_t i = 0; i < servers->count && is_running; i++)
		is_running = wait_serving(servers, i, 0);
	for (uint32_t i = 0; i < servers->count && !is_running; i++)
		servers_kill(servers, i);
	return is_running;
}

struct servers *servers_new(uint32_t count, bool is_tls)
{
	struct servers *servers = calloc(1, sizeof(*servers));

	assert_non_null(servers);
	assert_true(count <= SERVERS_MAX);
	servers->count = count;
	servers->is_tls = is_tls;
	(void)snprintf(servers->dir, sizeof(servers->dir), "/tmp/hf-etcd-XXXXXX");
	assert_non_null(mkdtemp(servers->dir));
	if (is_tls)
		make_certificates(servers->dir);
	for (uint32_t i = 0; i < TRIES; i++) {
		if (start_all(servers))
			return servers;
		run("rm -rf %s/n*", servers->dir);
	}
	fail_msg("etcd does not start in %s", servers->dir);
	return NULL;
}

void servers_free(struct servers *servers)
{
	if (!servers)
		return;
	for (uint32_t i = 0; i < servers->count; i++)
		servers_kill(servers, i);
	run("rm -rf %s", servers->dir);
	free(servers);
}

/* ---- one that is told what to say --------------------------------------------------------------
 */

#define REQUEST_MAX 65536u
#define OPEN_MAX 64u

struct fake {
	int (*answer)(void *ctx, const char *path, const char *body, char **ret_body);
	void *ctx;
	int listen_fd, end_pipe[2];
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock; /* held while answer() is called */
	char text[REQUEST_MAX];
	int silent[OPEN_MAX]; /* kept open, never answered */
	uint32_t silent_count;
	atomic_uint requests;
};

/* A whole request, terminated; false: the other side went away. */
static bool read_request(int fd, char *text, char **ret_body)
{
	size_t used = 0, wanted = REQUEST_MAX;
	const char *length;

	*ret_body = NULL;
	while (used < wanted) {
		ssize_t n = read(fd, text + used, REQUEST_MAX - 1 - used);

		if (n <= 0)
			return false;
		used += (size_t)n;
		text[used] = '\0';
		if (*ret_body || !(*ret_body = strstr(text, "\r\n\r\n")))
			continue;
		*ret_body += 4;
		length = strstr(text, "Content-Length: ");
		wanted = (size_t)(*ret_body - text) + (length ? strtoul(length + 16, NULL, 10) : 0);
		if (wanted >= REQUEST_MAX)
			return false;
	}
	return true;
}

void fake_lock(struct fake *fake)
{
	assert_int_equal(pthread_mutex_lock(&fake->lock), 0);
}

void fake_unlock(struct fake *fake)
{
	assert_int_equal(pthread_mutex_unlock(&fake->lock), 0);
}

/* True: the connection is to be closed. */
static bool serve(struct fake *fake, int fd)
{
	char *text = fake->text, *body, *answer = NULL, head[256], *path, *end;
	size_t length;
	int status;

	if (!read_request(fd, text, &body))
		return true;
	path = strchr(text, ' ');
	end = path ? strchr(path + 1, ' ') : NULL;
	if (!end)
		return true;
	*end = '\0';
	fake_lock(fake);
	status = fake->answer(fake->ctx, path + 1, body, &answer);
	fake_unlock(fake);
	atomic_fetch_add(&fake->requests, 1);
	if (status < 0)
		return status == FAKE_CLOSE;
	length = answer ? strlen(answer) : 0;
	(void)snprintf(head, sizeof(head),
		       "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
		       length);
	/* Who does not want to hear the end of it may go: MSG_NOSIGNAL. */
	if (send(fd, head, strlen(head), MSG_NOSIGNAL) > 0)
		for (size_t sent = 0; sent < length;) {
			ssize_t n = send(fd, answer + sent, length - sent, MSG_NOSIGNAL);

			if (n <= 0)
				break;
			sent += (size_t)n;
		}
	free(answer);
	return true;
}

static void *serve_all(void *arg)
{
	struct fake *fake = arg;
	struct pollfd fds[2] = { { .fd = fake->listen_fd, .events = POLLIN },
				 { .fd = fake->end_pipe[0], .events = POLLIN } };

	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		int fd = accept4(fake->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		if (serve(fake, fd) || fake->silent_count == OPEN_MAX)
			(void)close(fd);
		else
			fake->silent[fake->silent_count++] = fd;
	}
	return NULL;
}

struct fake *fake_new(int (*answer)(void *ctx, const char *path, const char *body, char **ret_body),
		      void *ctx)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	fake->answer = answer;
	fake->ctx = ctx;
	assert_int_equal(pthread_mutex_init(&fake->lock, NULL), 0);
	fake->listen_fd = listen_anywhere(&fake->port);
	assert_int_equal(pipe2(fake->end_pipe, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&fake->thread, NULL, serve_all, fake), 0);
	return fake;
}

void fake_free(struct fake *fake)
{
	if (!fake)
		return;
	assert_int_equal(write(fake->end_pipe[1], "x", 1), 1);
	assert_int_equal(pthread_join(fake->thread, NULL), 0);
	for (uint32_t i = 0; i < fake->silent_count; i++)
		(void)close(fake->silent[i]);
	(void)close(fake->listen_fd);
	(void)close(fake->end_pipe[0]);
	(void)close(fake->end_pipe[1]);
	(void)pthread_mutex_destroy(&fake->lock);
	free(fake);
}

uint16_t fake_port(const struct fake *fake)
{
	return fake->port;
}

uint32_t fake_requests(struct fake *fake)
{
	return atomic_load(&fake->requests);
}
