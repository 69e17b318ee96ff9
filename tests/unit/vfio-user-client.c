/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client of served devices against servers that are wrong, hostile, slow or gone. A relay
 * stands between the client and a sound server, hands messages through, and spoils one of them:
 * whatever it does, an operation fails with a reason that names message and field, and nothing
 * hangs.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

#include <holdfast/backend.h>

#include "device-served.h"
#include "vfio-user-peer.h"

#define RAM_IOVA 0x100000ull
#define RAM_SIZE 0x10000u

/* What the relay does to what comes from the server. Bytes count from the first one. */
struct relay {
	struct served served;
	int listen_fd, client, server;
	char path[64];
	pthread_t thread;
	/* The plan; set while nobody is connected. */
	uint64_t cut_at; /* close both ends after so many bytes; UINT64_MAX: never */
	uint32_t spoil_nth; /* the n-th message from 0 gets value at offset; UINT32_MAX: none */
	uint32_t offset, value;
	void (*edit)(struct relay *r, struct message *m); /* each message; may drop it */
	uint32_t silent_for; /* messages of this command are dropped */
	uint32_t reads_open; /* MIG_DATA_READs that are not answered yet */
	uint32_t swapped;
	uint32_t memory_given; /* descriptors that came with DMA_MAP */
	int captures; /* replies of the client go here, and no further */
	int captured[2];
	/* What came of it. */
	uint64_t bytes;
	uint32_t messages;
	uint32_t runs; /* connections to the server, each of which it sees come and go */
};

static void relay_edit(struct relay *r, struct message *m)
{
	if (r->edit)
		r->edit(r, m);
	if (r->messages == r->spoil_nth && r->offset + 4 <= m->header.size)
		vu_put32(m->bytes + r->offset, r->value);
	r->messages++;
}

/* One message from one end to the other. 0: one of them is closed. */
static int relay_one(struct relay *r, int from, int to, int edits)
{
	static struct message m;
	struct iovec iov = { m.bytes, 0 };
	int r1;

	if (peer_recv(from, &m))
		return 0;
	if (edits && m.header.command == r->silent_for)
		m.header.size = 0;
	else if (edits)
		relay_edit(r, &m);
	else if (r->captures && (m.header.flags & VU_TYPE_MASK) == VU_TYPE_REPLY)
		to = r->captured[1];
	if (m.header.command == VU_DMA_MAP && !edits)
		r->memory_given += m.fds.count;
	if (m.header.command == VU_MIG_DATA_READ)
		r->reads_open += edits ? UINT32_MAX : 1;
	iov.iov_len = m.header.size;
	if (edits && r->bytes + iov.iov_len > r->cut_at)
		iov.iov_len = (size_t)(r->cut_at - r->bytes);
	r->bytes += edits ? iov.iov_len : 0;
	r1 = iov.iov_len ? vu_send(to, &iov, 1, m.fds.fd, m.fds.count, peer_deadline()) : 0;
	vu_fds_close(&m.fds);
	return r1 == 0 && !(edits && r->bytes >= r->cut_at);
}

static void *relay_run(void *arg)
{
	struct relay *r = arg;
	int on = 1;

	r->client = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	r->server = peer_dial(r->served.path);
	while (on) {
		struct pollfd fds[2] = { { .fd = r->client, .events = POLLIN },
					 { .fd = r->server, .events = POLLIN } };

		(void)poll(fds, 2, -1);
		if (fds[1].revents)
			on = relay_one(r, r->server, r->client, 1);
		else if (fds[0].revents)
			on = relay_one(r, r->client, r->server, 0);
	}
	(void)close(r->client);
	(void)close(r->server);
	return NULL;
}

static void relay_begin(struct relay *r)
{
	r->bytes = r->messages = 0;
	r->runs++;
	assert_int_equal(pthread_create(&r->thread, NULL, relay_run, r), 0);
}

static void relay_end(struct relay *r)
{
	(void)pthread_join(r->thread, NULL);
}

static void relay_plan(struct relay *r)
{
	r->cut_at = UINT64_MAX;
	r->spoil_nth = UINT32_MAX;
	r->edit = NULL;
	r->silent_for = UINT32_MAX;
}

static int open_keys(struct relay *r, const char *keys, struct hf_device *device,
		     struct hf_error *err)
{
	char uri[HF_URI_MAX];

	memset(err, 0, sizeof(*err));
	(void)snprintf(uri, sizeof(uri), "vfio-user:%s,twin=off%s", r->path, keys);
	return hf_device_open(uri, "dut", device, err);
}

static int setup(void **state)
{
	struct relay *r = calloc(1, sizeof(*r));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	assert_non_null(r);
	served_start(&r->served, "sim:state=64K");
	(void)snprintf(r->path, sizeof(r->path), "%s/relay", r->served.folder);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", r->path);
	r->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(r->listen_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(r->listen_fd, 4), 0);
	relay_plan(r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct relay *r = *state;

	(void)close(r->listen_fd);
	assert_int_equal(unlink(r->path), 0);
	served_stop(&r->served);
	free(r);
	return 0;
}

static void why_has(const struct hf_device *d, const char *words)
{
	char why[256];

	d->ops->why(d->self, why, sizeof(why));
	if (!strstr(why, words))
		fail_msg("why says \"%s\", not \"%s\"", why, words);
}

/* ---- while it is opened ---------------------------------------------------------------------- */

static void a_server_may_close_at_any_byte(void **state)
{
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	uint32_t before, opened = 0;
	uint64_t all;

	relay_begin(r);
	assert_int_equal(open_keys(r, "", &d, &err), 0);
	hf_device_close(&d);
	relay_end(r);
	all = r->bytes;
	served_await_left(&r->served, r->runs);
	before = peer_descriptors();
	for (r->cut_at = 0; r->cut_at < all; r->cut_at += r->cut_at < 600 ? 1 : 7) {
		relay_begin(r);
		if (open_keys(r, "", &d, &err) == 0) {
			opened++;
			hf_device_close(&d);
		} else if (!strstr(err.text, "closed") && !strstr(err.text, "sending")) {
			fail_msg("cut at %llu: %s", (unsigned long long)r->cut_at, err.text);
		}
		relay_end(r);
	}
	assert_int_equal(opened, 0);
	served_await_left(&r->served, r->runs);
	assert_int_equal(peer_descriptors(), before);
}

static void a_word_that_is_spoilt_is_noticed_or_harmless(void **state)
{
	static const uint32_t values[] = { 0, 1, 0x7fffffff, UINT32_MAX, 0x1001 };
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	uint32_t all, opened = 0, refused = 0;

	relay_begin(r);
	assert_int_equal(open_keys(r, "", &d, &err), 0);
	hf_device_close(&d);
	relay_end(r);
	all = r->messages;
	assert_true(all > 15);
	for (uint32_t n = 0; n < all; n++)
		for (uint32_t at = 8; at <= 44; at += 4) /* the size has a test of its own */
			for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
				r->spoil_nth = n;
				r->offset = at;
				r->value = values[v];
				relay_begin(r);
				if (open_keys(r, "", &d, &err) == 0) {
					opened++;
					hf_device_close(&d);
				} else {
					refused++;
					assert_true(err.text[0] != 0);
				}
				relay_end(r);
			}
	assert_true(opened > 0 && refused > all * 4);
}

/* The field of the n-th reply, by the command it answers, as the reason has it. */
struct spoilt {
	uint16_t command;
	uint32_t nth; /* of its kind */
	uint32_t offset, value;
	const char *words;
};

static const struct spoilt *spoilt;
static uint32_t seen;

static void spoil(struct relay *r, struct message *m)
{
	(void)r;
	if (m->header.command == spoilt->command && seen++ == spoilt->nth)
		vu_put32(m->bytes + spoilt->offset, spoilt->value);
}

static void the_reason_names_message_and_field(void **state)
{
	static const struct spoilt list[] = {
		{ VU_VERSION, 0, 4, 15, "malformed message (VERSION, field size)" },
		{ VU_VERSION, 0, 4, UINT32_MAX, "malformed message (VERSION, field size)" },
		{ VU_VERSION, 0, 8, 2, "malformed message (VERSION, field flags)" },
		{ VU_VERSION, 0, 8, 0x41, "malformed message (VERSION, field flags)" },
		{ VU_VERSION, 0, 0, VU_VERSION << 16 | 9, "a reply to no request (VERSION, id 9)" },
		{ VU_VERSION, 0, 0, 5u << 16, "a reply to no request (DEVICE_GET_REGION_INFO" },
		{ VU_VERSION, 0, 16, 1, "VERSION (field major)" },
		{ VU_VERSION, 0, 16, 9u << 16, "VERSION (field minor)" },
		{ VU_VERSION, 0, 20, 0x41414141, "VERSION (field version data)" },
		{ VU_DEVICE_GET_INFO, 0, 16, 15, "DEVICE_GET_INFO (field argsz)" },
		{ VU_DEVICE_GET_INFO, 0, 20, 1, "serves no PCI device" },
		{ VU_DEVICE_GET_INFO, 0, 24, 7, "DEVICE_GET_INFO (field num_regions)" },
		{ VU_DEVICE_GET_REGION_INFO, 0, 16, 31, "DEVICE_GET_REGION_INFO (field argsz)" },
		{ VU_DEVICE_GET_REGION_INFO, 0, 16, 1u << 20, "REGION_INFO (field argsz)" },
		{ VU_DEVICE_GET_REGION_INFO, 0, 24, 3, "DEVICE_GET_REGION_INFO (field index)" },
		{ VU_DEVICE_GET_REGION_INFO, 4, 20, 15, NULL }, /* caps at 0 are none: fine */
		{ VU_DEVICE_GET_REGION_INFO, 4, 32, 0x20000, "(field size: its descriptor holds" },
		{ VU_DEVICE_GET_REGION_INFO, 4, 40, 0x1000, "(field size: its descriptor holds" },
		{ VU_DEVICE_GET_REGION_INFO, 4, 44, UINT32_MAX, "its descriptor holds" },
		{ VU_DEVICE_GET_REGION_INFO, 7, 32, 64, "size of the configuration space" },
		{ VU_DEVICE_GET_IRQ_INFO, 2, 28, 5000, "DEVICE_GET_IRQ_INFO (field count)" },
		{ VU_REGION_READ, 0, 28, 47, "REGION_READ (field count)" },
		{ VU_DEVICE_FEATURE, 0, 16, 9, "DEVICE_FEATURE (field argsz)" },
		{ VU_DEVICE_FEATURE, 0, 4, 20, NULL }, /* the rest becomes a header */
	};
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;

	r->edit = spoil;
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		int got;

		spoilt = &list[i];
		seen = 0;
		relay_begin(r);
		got = open_keys(r, "", &d, &err);
		if (got == 0)
			hf_device_close(&d);
		relay_end(r);
		if (list[i].words && (got == 0 || !strstr(err.text, list[i].words)))
			fail_msg("\"%s\" is not in \"%s\"", list[i].words, err.text);
	}
}

static void a_server_that_does_not_answer_is_not_waited_for(void **state)
{
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	uint64_t began = time_now_ns();

	r->silent_for = VU_DEVICE_GET_IRQ_INFO;
	relay_begin(r);
	assert_int_equal(open_keys(r, ",timeout=1", &d, &err), HF_E_SYSTEM);
	relay_end(r);
	assert_int_equal(err.cause, ETIMEDOUT);
	assert_non_null(strstr(err.text, "did not reply to DEVICE_GET_IRQ_INFO in time"));
	assert_true(time_now_ns() - began >= NS_PER_S);
}

/* ---- a server that can do less --------------------------------------------------------------- */

/* As one of others: no capability of ours, no sizes, no log. */
static void make_foreign(struct relay *r, struct message *m)
{
	uint32_t f = vu_get32(m->bytes + 20) & VU_FEATURE_MASK;
	char *ours;

	(void)r;
	if (m->header.command == VU_VERSION) {
		ours = memmem(m->bytes, m->header.size, "holdfast", 8);
		assert_non_null(ours);
		memcpy(ours, "somebody", 8);
	}
	if (m->header.command != VU_DEVICE_FEATURE || (m->header.flags & VU_ERROR))
		return;
	if (f == VU_FEATURE_MIGRATION || f == VU_FEATURE_MIG_STATE)
		return;
	m->header.flags = VU_TYPE_REPLY | VU_ERROR;
	m->header.error = ENOTTY;
	m->header.size = VU_HEADER_BYTES;
	vu_header_encode(&m->header, m->bytes);
}

static void a_server_that_can_less_is_used_as_far_as_it_goes(void **state)
{
	static uint8_t buf[1u << 16];
	struct relay *r = *state;
	uint64_t initial = 99, dirty = 99, bitmap = 0, bytes = 0;
	const struct hf_dma_range range = { RAM_IOVA, RAM_SIZE };
	struct hf_device_info info;
	struct hf_device d;
	struct hf_error err;
	ssize_t n;
	uint8_t *ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	r->edit = make_foreign;
	relay_begin(r);
	assert_int_equal(open_keys(r, "", &d, &err), 0);
	assert_int_equal(d.ops->info(d.self, &info), 0);
	assert_int_equal(info.flags, HF_DEVICE_HAS_RESET | HF_DEVICE_HAS_DMA_LOGGING |
					     HF_DEVICE_DIRTY_ALL | HF_DEVICE_GUESSES_PRECOPY);
	assert_string_equal(info.compat, "vfio-user/1234:4846/1234:0001/01");
	assert_int_equal(d.ops->data_size(d.self, &bytes), -EOPNOTSUPP);
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA, 0x3000, ram, -1, 0, HF_DMA_WRITE), 0);
	assert_int_equal(d.ops->dirty_start(d.self, 4096, &range, 1), 0);
	for (int i = 0; i < 2; i++) { /* all that is mapped, each time */
		bitmap = 0;
		assert_int_equal(d.ops->dirty_read(d.self, RAM_IOVA, RAM_SIZE, 4096, &bitmap), 0);
		assert_int_equal(bitmap, 7);
	}
	assert_int_equal(d.ops->dirty_stop(d.self), 0);

	assert_int_equal(d.ops->set_state(d.self, HF_DEVICE_PRE_COPY), 0);
	assert_int_equal(d.ops->precopy_info(d.self, &initial, &dirty), 0);
	assert_true(initial > 0);
	while ((n = d.ops->read_data(d.self, buf, sizeof(buf))) > 0)
		bytes += (uint64_t)n;
	assert_int_equal(n, -ENOMSG);
	assert_int_equal(d.ops->precopy_info(d.self, &initial, &dirty), 0);
	assert_int_equal(initial, 0);
	assert_int_equal(dirty, bytes);
	assert_int_equal(d.ops->read_data(d.self, buf, sizeof(buf)), -ENOMSG);
	assert_int_equal(d.ops->precopy_info(d.self, &initial, &dirty), 0);
	assert_int_equal(dirty, 0); /* a pass that found nothing */
	hf_device_close(&d);
	relay_end(r);
	(void)munmap(ram, RAM_SIZE);
}

/* ---- while it is used ------------------------------------------------------------------------ */

/* All of them fail at once, and say why. */
static void is_gone(struct hf_device *d, const char *words)
{
	uint64_t began = time_now_ns(), bits = 0;
	uint32_t state;
	uint8_t b[8] = { 0 };

	assert_int_equal(d->ops->get_state(d->self, &state), -ENOTCONN);
	assert_int_equal(d->ops->set_state(d->self, HF_DEVICE_STOP), -ENOTCONN);
	assert_int_equal(d->ops->reset(d->self), -ENOTCONN);
	assert_int_equal(d->ops->region_read(d->self, 0, 0, b, 8), -ENOTCONN);
	assert_int_equal(d->ops->region_write(d->self, 0, 0, b, 8), -ENOTCONN);
	assert_int_equal(d->ops->data_size(d->self, &bits), -ENOTCONN);
	assert_int_equal(d->ops->dma_map(d->self, 0, 4096, (void *)0x10000, -1, 0, 3), -ENOTCONN);
	assert_true(time_now_ns() - began < 10 * NS_PER_S);
	why_has(d, words);
}

static void after_a_reply_that_is_late_the_device_is_gone(void **state)
{
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	uint8_t b[8];

	relay_begin(r);
	assert_int_equal(open_keys(r, ",timeout=1", &d, &err), 0);
	r->silent_for = VU_REGION_READ;
	assert_int_equal(d.ops->region_read(d.self, 0, 0, b, 8), -ETIMEDOUT);
	is_gone(&d, "did not reply to REGION_READ in time");
	hf_device_close(&d);
	relay_end(r);
}

static void add_a_reply(struct relay *r, struct message *m)
{
	if (m->header.command == VU_REGION_READ)
		assert_int_equal(vu_send(r->client, &(struct iovec){ m->bytes, m->header.size }, 1,
					 NULL, 0, peer_deadline()),
				 0);
}

static void a_reply_that_comes_twice_ends_it(void **state)
{
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	uint8_t b[8];

	relay_begin(r);
	assert_int_equal(open_keys(r, "", &d, &err), 0);
	r->edit = add_a_reply;
	assert_int_equal(d.ops->region_read(d.self, 0, 0, b, 8), 0);
	while (d.ops->region_read(d.self, 0, 0, b, 8) == 0)
		;
	is_gone(&d, "a reply to no request (REGION_READ");
	hf_device_close(&d);
	relay_end(r);
}

/* Where two replies are to come, the first is kept until the second has passed. */
static struct message kept;

static void swap_replies(struct relay *r, struct message *m)
{
	struct message second = *m;

	if (m->header.command != VU_MIG_DATA_READ)
		return;
	if (!kept.header.size && r->reads_open < 2)
		return;
	if (!kept.header.size) {
		kept = *m;
		m->header.size = 0; /* for now */
		return;
	}
	assert_int_equal(vu_send(r->client, &(struct iovec){ second.bytes, second.header.size }, 1,
				 NULL, 0, peer_deadline()),
			 0);
	*m = kept;
	kept.header.size = 0;
	r->swapped++;
}

static size_t save(struct hf_device *d, uint8_t *to, size_t size)
{
	size_t done = 0;
	ssize_t n;

	assert_int_equal(d->ops->set_state(d->self, HF_DEVICE_STOP), 0);
	assert_int_equal(d->ops->set_state(d->self, HF_DEVICE_STOP_COPY), 0);
	while ((n = d->ops->read_data(d->self, to + done, 8192)) > 0) {
		done += (size_t)n;
		assert_true(done + 8192 <= size);
	}
	assert_int_equal(n, 0);
	return done;
}

static void replies_may_overtake_each_other(void **state)
{
	static uint8_t apart[200000], swapped[200000];
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	size_t size;

	kept.header.size = 0;
	relay_begin(r);
	/* With messages so short there are many, several at once. */
	assert_int_equal(open_keys(r, ",xfer=4096", &d, &err), 0);
	size = save(&d, apart, sizeof(apart));
	assert_true(size > 64u << 10);
	r->edit = swap_replies;
	assert_int_equal(save(&d, swapped, sizeof(swapped)), size);
	assert_memory_equal(apart, swapped, size);
	assert_true(r->swapped > 0);
	hf_device_close(&d);
	relay_end(r);
}

/* ---- what a server asks for ------------------------------------------------------------------ */

/* A request to the client, as from the server. 0, or the error of its reply, which is in *m. */
static int request(struct relay *r, struct message *m, uint16_t command, uint64_t address,
		   uint64_t count, const uint8_t *data, size_t size)
{
	struct vu_body b = { .tail = data, .tail_size = size };

	b.v[VU_ADDRESS] = address;
	b.v[VU_COUNT] = count;
	peer_send(r->client, 7, command, VU_TYPE_COMMAND, &b, NULL, 0);
	assert_int_equal(peer_recv(r->captured[0], m), 0);
	assert_int_equal(m->header.id, 7);
	return m->header.flags & VU_ERROR ? -(int)m->header.error : 0;
}

static void a_server_gets_at_what_is_mapped_and_as_it_is_mapped(void **state)
{
	static struct message m;
	static const uint8_t data[0x2000] = { 1, 2, 3 };
	const struct hf_dma_range range = { RAM_IOVA, 0x4000 };
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	uint64_t bitmap = 0;
	uint8_t *ram =
		mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, r->captured), 0);
	r->captures = 1;
	relay_begin(r);
	assert_int_equal(open_keys(r, ",xfer=8192", &d, &err), 0);
	ram[5] = 77;
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA, 0x1000, ram, -1, 0, HF_DMA_READ), 0);
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA + 0x1000, 0x1000, ram + 0x1000, -1, 0,
					HF_DMA_WRITE),
			 0);
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA + 0x2000, 0x2000, ram + 0x2000, -1, 0, 3),
			 0);
	assert_int_equal(d.ops->dirty_start(d.self, 4096, &range, 1), 0);

	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA, 16, NULL, 0), 0);
	assert_int_equal(m.body.tail_size, 16);
	assert_int_equal(m.body.tail[5], 77);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA + 0xfff, 2, NULL, 0), -EFAULT);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA + 0x1000, 1, NULL, 0), -EFAULT);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA - 1, 1, NULL, 0), -EFAULT);
	assert_int_equal(request(r, &m, VU_DMA_READ, UINT64_MAX, 2, NULL, 0), -EFAULT);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA + 0x3fff, 2, NULL, 0), -EFAULT);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA + 0x2000, 0x2000, NULL, 0), 0);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA, 8193, NULL, 0), -EINVAL);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA, UINT64_MAX, NULL, 0), -EINVAL);
	assert_int_equal(request(r, &m, VU_DMA_WRITE, RAM_IOVA, 3, data, 3), -EFAULT);
	assert_int_equal(ram[0], 0);
	assert_int_equal(request(r, &m, VU_DMA_WRITE, RAM_IOVA + 0x1fff, 3, data, 3), 0);
	assert_memory_equal(ram + 0x1fff, data, 3);
	assert_int_equal(request(r, &m, VU_DMA_WRITE, RAM_IOVA + 0x3ffe, 3, data, 3), -EFAULT);
	assert_int_equal(request(r, &m, VU_DEVICE_GET_INFO, 0, 0, NULL, 0), -ENOTSUP);
	/* Some servers' logs know nothing of what goes by messages; ours has not seen these. */
	assert_int_equal(d.ops->dirty_read(d.self, RAM_IOVA, 0x4000, 4096, &bitmap), 0);
	assert_int_equal(bitmap, 6);
	assert_int_equal(d.ops->dma_unmap(d.self, RAM_IOVA, 0x4000), 0);
	assert_int_equal(request(r, &m, VU_DMA_READ, RAM_IOVA, 16, NULL, 0), -EFAULT);

	peer_send(r->client, 7, VU_DMA_WRITE, VU_TYPE_COMMAND,
		  &(struct vu_body){ .v = { [VU_COUNT] = 9 }, .tail = data, .tail_size = 3 }, NULL,
		  0);
	while (d.ops->region_read(d.self, 0, 0, ram, 8) == 0)
		;
	why_has(&d, "the server sent a malformed DMA_WRITE (field count)");
	hf_device_close(&d);
	relay_end(r);
	(void)close(r->captured[0]);
	(void)close(r->captured[1]);
	(void)munmap(ram, 0x4000);
}

static void give_a_file_that_can_shrink(struct relay *r, struct message *m)
{
	(void)r;
	if (m->header.command != VU_DEVICE_GET_REGION_INFO || !m->fds.count)
		return;
	(void)close(m->fds.fd[0]);
	m->fds.fd[0] = memfd_create("bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(m->fds.fd[0], 1 << 20), 0);
}

/* What the server could shorten would be a SIGBUS of ours, or of whoever maps it with us. */
static void what_a_server_could_shorten_is_not_mapped_and_not_given(void **state)
{
	struct relay *r = *state;
	struct hf_device d;
	struct hf_error err;
	struct hf_region_info info;
	int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint32_t word = 0;
	uint8_t *ram;

	assert_int_equal(ftruncate(fd, 0x1000), 0);
	ram = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(ram != MAP_FAILED);
	relay_begin(r);
	assert_int_equal(open_keys(r, "", &d, &err), 0);
	assert_int_equal(d.ops->region_info(d.self, 4, &info), 0);
	assert_true((info.flags & HF_REGION_MMAP) && info.mmap_fd >= 0); /* ours is sealed */
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA, 0x1000, ram, fd, 0, 3), 0);
	assert_int_equal(r->memory_given, 0);
	assert_int_equal(d.ops->dma_unmap(d.self, RAM_IOVA, 0x1000), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA, 0x1000, ram, fd, 0, 3), 0);
	assert_int_equal(r->memory_given, 1);
	hf_device_close(&d);
	relay_end(r);

	r->edit = give_a_file_that_can_shrink;
	relay_begin(r);
	assert_int_equal(open_keys(r, ",dma=messages", &d, &err), 0);
	assert_int_equal(d.ops->region_info(d.self, 4, &info), 0);
	assert_false(info.flags & (HF_REGION_MMAP | HF_REGION_MMAP_AREAS));
	assert_int_equal(info.mmap_fd, -1);
	assert_int_equal(d.ops->region_read(d.self, 4, 0, &word, 4), 0); /* by a message */
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA, 0x1000, ram, fd, 0, 3), 0);
	assert_int_equal(r->memory_given, 1);
	hf_device_close(&d);
	relay_end(r);
	relay_plan(r);
	relay_begin(r);
	assert_int_equal(open_keys(r, ",dma=share", &d, &err), 0);
	(void)close(fd);
	fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 0x1000), 0);
	assert_int_equal(d.ops->dma_map(d.self, RAM_IOVA, 0x1000, ram, fd, 0, 3), 0);
	assert_int_equal(r->memory_given, 2);
	hf_device_close(&d);
	relay_end(r);
	(void)close(fd);
	(void)munmap(ram, 0x1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_server_may_close_at_any_byte),
		TEST(a_word_that_is_spoilt_is_noticed_or_harmless),
		TEST(the_reason_names_message_and_field),
		TEST(a_server_that_does_not_answer_is_not_waited_for),
		TEST(a_server_that_can_less_is_used_as_far_as_it_goes),
		TEST(after_a_reply_that_is_late_the_device_is_gone),
		TEST(a_reply_that_comes_twice_ends_it),
		TEST(replies_may_overtake_each_other),
		TEST(what_a_server_could_shorten_is_not_mapped_and_not_given),
		TEST(a_server_gets_at_what_is_mapped_and_as_it_is_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
