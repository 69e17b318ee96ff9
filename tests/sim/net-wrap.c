/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The functions that take the place of the C library's, by the linker's --wrap; net-wrap.txt lists
 * them, and tests/sim/net-seams.py sees that none is missing. Outside of a task they do nothing of
 * their own.
 */
#include "net-wrap.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

#include "net-saboteur.h"
#include "net-world.h"

#define SEND_MAX (24u << 10) /* a call takes at most this: sends are partial */

/* ---- time ---------------------------------------------------------------------------------- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
	uint64_t now = sched_now();

	if (!world.scenario)
		return __real_clock_gettime(clock, ret_now);
	sched_pass(20); /* who asks in a circle sees time go by */
	ret_now->tv_sec = (time_t)(now / S);
	ret_now->tv_nsec = (long)(now % S);
	return 0;
}

static uint64_t after_ms(int timeout)
{
	return timeout < 0 ? SCHED_NEVER : sched_now() + (uint64_t)timeout * MS;
}

static uint64_t ns_of(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * S + (uint64_t)time->tv_nsec;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)left;
	sched_sleep_until(sched_now() + ns_of(time));
	return 0;
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			   struct timespec *left);

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			   struct timespec *left)
{
	(void)clock;
	(void)left;
	sched_sleep_until(flags & TIMER_ABSTIME ? ns_of(time) : sched_now() + ns_of(time));
	return 0;
}

/* ---- waiting for descriptors --------------------------------------------------------------- */

int seam_poll_now(struct pollfd *fds, nfds_t count)
{
	return __real_poll(fds, count, 0);
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask);

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask)
{
	(void)mask;
	sched_preempt();
	return sched_poll(fds, count, timeout ? sched_now() + ns_of(timeout) : SCHED_NEVER);
}

int __wrap___ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		       const sigset_t *mask, size_t size);

int __wrap___ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		       const sigset_t *mask, size_t size)
{
	(void)size;
	return __wrap_ppoll(fds, count, timeout, mask);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	if (!sched_current())
		return __real_poll(fds, count, timeout);
	return sched_poll(fds, count, after_ms(timeout));
}

int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size);

int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size)
{
	(void)size;
	return __wrap_poll(fds, count, timeout);
}

int __real_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);

int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	if (timeout && sched_current())
		(void)sched_poll(&ready, 1, after_ms(timeout));
	return __real_epoll_wait(fd, events, max, 0);
}

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how);

int __wrap_shutdown(int fd, int how)
{
	sched_touch();
	return __real_shutdown(fd, how);
}

int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	if (op == EPOLL_CTL_ADD && seam_fails(SEAM_WATCH, "add")) {
		errno = ENOMEM;
		return -1;
	}
	sched_touch();
	return __real_epoll_ctl(epoll_fd, op, fd, event);
}

/* ---- threads: mutexes and conditions live in the memory of the real ones -------------------- */

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	struct task *task;

	(void)attr;
	if (seam_fails(SEAM_THREAD, "create"))
		return EAGAIN;
	task = sched_spawn(sched_side(), "thread", run, arg);
	memcpy(ret_thread, &task, sizeof(task));
	sched_preempt();
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret_result);

int __wrap_pthread_join(pthread_t thread, void **ret_result)
{
	struct task *task;

	memcpy(&task, &thread, sizeof(task));
	while (!sched_is_done(task))
		(void)sched_wait(task, SCHED_NEVER, "the end of a thread");
	if (ret_result)
		*ret_result = sched_result(task);
	return 0;
}

int __wrap_pthread_detach(pthread_t thread);

int __wrap_pthread_detach(pthread_t thread)
{
	(void)thread;
	return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name);

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
	(void)thread;
	sched_rename(name);
	return 0;
}

/* A mutex: who has it. Zero, as of the static initializer: nobody. */
static const void *owner_of(const pthread_mutex_t *mutex)
{
	const void *owner;

	memcpy(&owner, mutex, sizeof(owner));
	return owner;
}

static void set_owner(pthread_mutex_t *mutex, const void *owner)
{
	memcpy(mutex, &owner, sizeof(owner));
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
	(void)attr;
	memset(mutex, 0, sizeof(*mutex));
	return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
	assert(!owner_of(mutex));
	memset(mutex, 0xa5, sizeof(*mutex)); /* who uses it now waits for ever: found as a hang */
	return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	const void *me = sched_current();

	if (!me)
		return 0; /* between the tasks nobody is in the way: all are parked */
	sched_preempt();
	assert(owner_of(mutex) != me);
	while (owner_of(mutex))
		(void)sched_wait(mutex, SCHED_NEVER, "a mutex");
	set_owner(mutex, me);
	return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (!sched_current())
		return 0;
	assert(owner_of(mutex) == sched_current());
	set_owner(mutex, NULL);
	sched_wake(mutex, true);
	sched_preempt();
	return 0;
}

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
	(void)cond;
	(void)attr;
	return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *cond);

int __wrap_pthread_cond_destroy(pthread_cond_t *cond)
{
	(void)cond;
	return 0;
}

static int cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
	bool woken;

	assert(owner_of(mutex) == sched_current());
	set_owner(mutex, NULL);
	sched_wake(mutex, true);
	woken = sched_wait(cond, deadline_ns, "? a condition");
	while (owner_of(mutex))
		(void)sched_wait(mutex, SCHED_NEVER, "a mutex");
	set_owner(mutex, sched_current());
	return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	return cond_wait(cond, mutex, SCHED_NEVER);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *until);

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *until)
{
	return cond_wait(cond, mutex, ns_of(until));
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond);

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
	if (!saboteur_forgets_wake())
		sched_wake(cond, false);
	return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
	sched_wake(cond, true);
	return 0;
}

/* ---- memory -------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	if (seam_fails(SEAM_ALLOC, "malloc"))
		return NULL;
	return seam_piece_made(__real_malloc(size));
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	if (seam_fails(SEAM_ALLOC, "calloc"))
		return NULL;
	return seam_piece_made(__real_calloc(count, size));
}

void *__real_realloc(void *at, size_t size);
void *__wrap_realloc(void *at, size_t size);

void *__wrap_realloc(void *at, size_t size)
{
	if (seam_fails(SEAM_ALLOC, "realloc"))
		return NULL;
	seam_piece_gone(at);
	return seam_piece_made(__real_realloc(at, size));
}

void __wrap_free(void *at);

void __wrap_free(void *at)
{
	if (world.scenario && world.scenario->sabotage == SABOTAGE_LEAK && at && sched_current() &&
	    sched_chance(10))
		return;
	seam_piece_gone(at);
	__real_free(at);
}

/* xxhash allocates in its own library, out of sight: here its states are counted as well. */
XXH3_state_t *__real_XXH3_createState(void);
XXH3_state_t *__wrap_XXH3_createState(void);
XXH_errorcode __wrap_XXH3_freeState(XXH3_state_t *state);

#define DIGESTS_MAX 256u

static struct {
	XXH3_state_t *state;
	uint32_t side; /* SIDES: nobody's, to be used again */
} digests[DIGESTS_MAX];

XXH3_state_t *__wrap_XXH3_createState(void)
{
	uint32_t i = 0;

	if (seam_fails(SEAM_ALLOC, "digest"))
		return NULL;
	while (digests[i].state && digests[i].side != SIDES)
		i++;
	assert(i < DIGESTS_MAX - 1);
	if (!digests[i].state)
		digests[i].state = __real_XXH3_createState();
	digests[i].side = sched_side();
	return digests[i].state;
}

XXH_errorcode __wrap_XXH3_freeState(XXH3_state_t *state)
{
	for (uint32_t i = 0; state && digests[i].state; i++)
		if (digests[i].state == state)
			digests[i].side = SIDES;
	return XXH_OK;
}

uint32_t wrap_digests(uint32_t side, bool bury)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < DIGESTS_MAX && digests[i].state; i++)
		if (digests[i].side == side) {
			count++;
			if (bury)
				digests[i].side = SIDES;
		}
	return count;
}

/* ---- descriptors --------------------------------------------------------------------------- */

int __wrap_close(int fd);

int __wrap_close(int fd)
{
	sched_touch();
	seam_fd_gone(fd);
	return __real_close(fd);
}

static bool no_fd(const char *op)
{
	if (!seam_fails(SEAM_FD, op))
		return false;
	errno = EMFILE;
	return true;
}

int __wrap_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol)
{
	return no_fd("socket") ? -1 : seam_fd_made(__real_socket(domain, type, protocol));
}

int __real_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2]);

int __wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
	if (no_fd("socketpair") || __real_socketpair(domain, type, protocol, fds) < 0)
		return -1;
	(void)seam_fd_made(fds[0]);
	(void)seam_fd_made(fds[1]);
	return 0;
}

int __real_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags);

int __wrap_eventfd(unsigned int count, int flags)
{
	return no_fd("eventfd") ? -1 : seam_fd_made(__real_eventfd(count, flags));
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);

int __wrap_epoll_create1(int flags)
{
	return no_fd("epoll_create1") ? -1 : seam_fd_made(__real_epoll_create1(flags));
}

int __real_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);

int __wrap_memfd_create(const char *name, unsigned int flags)
{
	return no_fd("memfd_create") ? -1 : seam_fd_made(__real_memfd_create(name, flags));
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode = 0;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(args, mode_t);
	va_end(args);
	return no_fd("open") ? -1 : seam_file_made(__real_open64(path, flags, mode));
}

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);

int __wrap_openat64(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode = 0;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(args, mode_t);
	va_end(args);
	return no_fd("openat") ? -1 : seam_file_made(__real_openat64(dir, path, flags, mode));
}

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);

/* closedir() closes it, out of sight. */
DIR *__wrap_fdopendir(int fd)
{
	DIR *dir;

	if (no_fd("fdopendir"))
		return NULL;
	dir = __real_fdopendir(fd);
	if (dir)
		seam_fd_gone(fd);
	return dir;
}

ssize_t __real_write(int fd, const void *buf, size_t size);
ssize_t __wrap_write(int fd, const void *buf, size_t size);

ssize_t __wrap_write(int fd, const void *buf, size_t size)
{
	if (seam_is_file(fd)) {
		sched_preempt();
		if (seam_fails(SEAM_FILE, "write")) {
			errno = ENOSPC;
			return -1;
		}
	}
	sched_touch();
	return __real_write(fd, buf, size);
}

static bool no_change(const char *op)
{
	sched_preempt();
	if (!seam_fails(SEAM_FILE, op))
		return false;
	errno = EIO;
	return true;
}

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return no_change("rename") ? -1 : __real_renameat(from_dir, from, to_dir, to);
}

int __real_unlinkat(int dir, const char *path, int flags);
int __wrap_unlinkat(int dir, const char *path, int flags);

int __wrap_unlinkat(int dir, const char *path, int flags)
{
	if (world.scenario && world.scenario->sabotage == SABOTAGE_KEPT)
		return 0;
	if (!no_change("unlink"))
		return __real_unlinkat(dir, path, flags);
	world_side()->run_failed = true; /* with an old state beside it, it may not run */
	return -1;
}

/* ---- connections --------------------------------------------------------------------------- */

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t length);

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t length)
{
	sched_preempt();
	if (seam_fails(SEAM_CONNECT, "connect")) {
		errno = ECONNREFUSED;
		return -1;
	}
	sched_touch();
	if (__real_connect(fd, addr, length) < 0)
		return -1;
	if (sched_side() == SOURCE)
		road_connected(fd);
	return 0;
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags)
{
	int accepted;

	sched_preempt();
	if (seam_fails(SEAM_ACCEPT, "accept")) {
		errno = EMFILE;
		return -1;
	}
	sched_touch();
	accepted = seam_fd_made(__real_accept4(fd, addr, length, flags));
	if (accepted >= 0 && sched_side() == TARGET)
		road_accepted(accepted);
	return accepted;
}

/* The connection is gone; or it is not, and there was no memory for a moment. */
static ssize_t broken(int fd)
{
	bool gone = sched_chance(700);

	if (gone)
		(void)shutdown(fd, SHUT_RDWR);
	errno = gone ? ECONNRESET : ENOBUFS;
	return -1;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

/* What fits the window, and no more than a piece at a time. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct flow *flow;
	struct iovec part[16];
	struct msghdr few = { .msg_iov = part };
	size_t room = SEND_MAX;
	ssize_t sent;

	sched_preempt();
	sched_touch();
	flow = seam_send_flow(fd);
	if (seam_fails(SEAM_SEND, "sendmsg"))
		return broken(fd);
	if (flow && !flow_open(flow)) {
		/* A connection that has ended says so, full or not. */
		struct pollfd look = { .fd = fd };

		if (__real_poll(&look, 1, 0) <= 0) {
			errno = EAGAIN;
			return -1;
		}
	}
	if (flow && flow->window - (flow->sent - flow->taken) < room)
		room = flow_open(flow) ? (size_t)(flow->window - (flow->sent - flow->taken)) : 1;
	while (few.msg_iovlen < msg->msg_iovlen && few.msg_iovlen < 16 && room > 0) {
		struct iovec *iov = &part[few.msg_iovlen];

		*iov = msg->msg_iov[few.msg_iovlen++];
		if (iov->iov_len > room)
			iov->iov_len = room;
		room -= iov->iov_len;
	}
	sent = __real_sendmsg(fd, &few, flags);
	if (sent > 0 && flow)
		flow_put(flow, (uint64_t)sent);
	return sent;
}

ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct flow *flow;
	ssize_t got;

	sched_preempt();
	if (seam_fails(SEAM_RECV, "recvmsg"))
		return broken(fd);
	sched_touch();
	flow = seam_recv_flow(fd);
	got = __real_recvmsg(fd, msg, flags);
	if (got > 0 && flow)
		flow_take(flow, (uint64_t)got);
	return got;
}

ssize_t __wrap_getrandom(void *buf, size_t size, unsigned int flags);

ssize_t __wrap_getrandom(void *buf, size_t size, unsigned int flags)
{
	uint8_t *bytes = buf;

	(void)flags;
	if (seam_fails(SEAM_RANDOM, "getrandom")) {
		errno = ENOSYS;
		return -1;
	}
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)sched_random();
	return (ssize_t)size;
}
