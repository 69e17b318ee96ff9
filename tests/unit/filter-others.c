/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels, the ledger, memory and the machine behind filters. The wrapped ones only count. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <holdfast/backend.h>

struct counted {
	int calls, shutdowns, closes;
	uint32_t state; /* of the last swap */
};

/* ---- the wrapped --------------------------------------------------------------------------- */

static int c_sendv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	struct counted *c = self;

	(void)iov, (void)count, (void)deadline_ns;
	c->calls++;
	return c->shutdowns ? -EPIPE : 0;
}

static ssize_t c_recvv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	struct counted *c = self;

	(void)count, (void)deadline_ns;
	c->calls++;
	if (c->shutdowns)
		return 0;
	memset(iov[0].iov_base, 0, iov[0].iov_len);
	iov[0].iov_base = NULL; /* it may change them */
	return (ssize_t)iov[0].iov_len;
}

static int c_fd(void *self)
{
	(void)self;
	return 42;
}

static void c_shutdown(void *self)
{
	((struct counted *)self)->shutdowns++;
}

static void c_close(void *self)
{
	((struct counted *)self)->closes++;
}

static const struct hf_channel_ops channel_ops = {
	.size = sizeof(struct hf_channel_ops),
	.kind = "counted",
	.sendv = c_sendv,
	.recvv = c_recvv,
	.fd = c_fd,
	.shutdown = c_shutdown,
	.close = c_close,
};

static int c_read(void *self, const char *guest, struct hf_ledger_record *ret, struct hf_error *err)
{
	(void)guest, (void)ret, (void)err;
	((struct counted *)self)->calls++;
	return 0;
}

static int c_swap(void *self, const struct hf_ledger_record *record, struct hf_ledger_record *now,
		  struct hf_error *err)
{
	struct counted *c = self;

	(void)err;
	c->calls++;
	c->state = record->state;
	*now = *record;
	return HF_LEDGER_DONE;
}

static const struct hf_ledger_ops ledger_ops = {
	.size = sizeof(struct hf_ledger_ops),
	.kind = "counted",
	.read = c_read,
	.swap = c_swap,
	.close = c_close,
};

static int c_plain(void *self)
{
	((struct counted *)self)->calls++;
	return 0;
}

static int c_dirty_read(void *self, uint32_t region, uint64_t *bitmap)
{
	(void)region, (void)bitmap;
	((struct counted *)self)->calls++;
	return 0;
}

static const struct hf_memory_ops memory_ops = {
	.size = sizeof(struct hf_memory_ops),
	.kind = "counted",
	.dirty_start = c_plain,
	.dirty_sync = c_plain,
	.dirty_read = c_dirty_read,
	.dirty_stop = c_plain,
	.close = c_close,
};

static int c_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret, struct hf_error *err)
{
	(void)buf, (void)capacity, (void)err;
	((struct counted *)self)->calls++;
	*ret = 0;
	return 0;
}

static int c_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	(void)shape, (void)length, (void)err;
	((struct counted *)self)->calls++;
	return 0;
}

static int c_machine(void *self, struct hf_error *err)
{
	(void)err;
	((struct counted *)self)->calls++;
	return 0;
}

static int c_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	(void)percent;
	return c_machine(self, err);
}

static int c_state_save(void *self, uint32_t index, struct hf_state_section *ret, void *buf,
			uint32_t capacity, struct hf_error *err)
{
	(void)self, (void)index, (void)ret, (void)buf, (void)capacity, (void)err;
	return HF_STATE_END;
}

static int c_state_load(void *self, const struct hf_state_section *section, const void *buf,
			struct hf_error *err)
{
	(void)section, (void)buf;
	return c_machine(self, err);
}

static int c_device_save(void *self, uint32_t device, void *buf, uint32_t capacity, uint32_t *ret,
			 struct hf_error *err)
{
	(void)device;
	return c_describe(self, buf, capacity, ret, err);
}

static int c_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
			 struct hf_error *err)
{
	(void)device;
	return c_check(self, buf, length, err);
}

static const struct hf_machine_ops machine_ops = {
	.size = sizeof(struct hf_machine_ops),
	.describe = c_describe,
	.check = c_check,
	.stop = c_machine,
	.run = c_machine,
	.throttle = c_throttle,
	.state_save = c_state_save,
	.state_load = c_state_load,
	.state_check = c_machine,
	.device_save = c_device_save,
	.device_load = c_device_load,
};

static struct hf_filters *filters_of(const char *spec)
{
	struct hf_filters *filters = NULL;
	struct hf_error err = { 0 };

	assert_int_equal(hf_filters_new(&filters, NULL), 0);
	if (hf_filters_add(filters, spec, &err) < 0)
		fail_msg("%s", err.text);
	return filters;
}

/* ---- channels ------------------------------------------------------------------------------ */

static struct hf_channel channel_with(struct hf_filters *filters, struct counted *c,
				      const char *kind, uint32_t index)
{
	struct hf_channel channel = { &channel_ops, c };

	assert_int_equal(hf_filters_channel(filters, &channel, kind, index, NULL), 0);
	return channel;
}

static void sending_fails_before_after_or_by_a_cut(void **state)
{
	static const struct {
		const char *spec;
		int result, calls, shutdowns;
	} cases[] = {
		{ "fault:channel.send:2:ECONNRESET", -ECONNRESET, 1, 0 },
		{ "fault:channel.send:2:ECONNRESET:after", -ECONNRESET, 2, 0 },
		{ "fault:channel.send:2:close", -EPIPE, 2, 1 },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct hf_filters *filters = filters_of(cases[i].spec);
		struct counted c = { 0 };
		struct hf_channel channel = channel_with(filters, &c, "control", 0);

		assert_int_equal(channel.ops->sendv(channel.self, NULL, 0, 0), 0);
		assert_int_equal(channel.ops->sendv(channel.self, NULL, 0, 0), cases[i].result);
		assert_int_equal(c.calls, cases[i].calls);
		assert_int_equal(c.shutdowns, cases[i].shutdowns);
		assert_int_equal(channel.ops->fd(channel.self), 42);
		channel.ops->close(channel.self);
		assert_int_equal(c.closes, 1);
		(void)hf_filters_free(filters);
	}
}

static void what_is_received_is_damaged_or_cut(void **state)
{
	struct counted c = { 0 };
	struct hf_filters *filters = filters_of("fault:channel.recv:1:flip");
	struct hf_channel channel;
	uint8_t data[64];
	struct iovec iov = { data, sizeof(data) };
	int bits = 0;

	(void)state;
	assert_int_equal(hf_filters_add(filters, "fault:channel.recv:2:close", NULL), 0);
	channel = channel_with(filters, &c, "bulk", 1);
	assert_int_equal(channel.ops->recvv(channel.self, &iov, 1, 0), sizeof(data));
	for (size_t i = 0; i < sizeof(data); i++)
		bits += __builtin_popcount(data[i]);
	assert_int_equal(bits, 1);
	iov = (struct iovec){ data, sizeof(data) };
	assert_int_equal(channel.ops->recvv(channel.self, &iov, 1, 0), 0);
	assert_int_equal(c.shutdowns, 1);
	channel.ops->close(channel.self);
	(void)hf_filters_free(filters);
}

static void channels_are_chosen_by_kind_and_index(void **state)
{
	static const struct {
		const char *spec;
		int control, bulk1, bulk2;
	} cases[] = {
		{ "fault:channel.send:1", 1, 1, 1 },
		{ "fault:channel[control].send:1", 1, 0, 0 },
		{ "fault:channel[bulk].send:1", 0, 1, 1 },
		{ "fault:channel[2].send:1", 0, 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		const int wrapped[] = { cases[i].control, cases[i].bulk1, cases[i].bulk2 };

		for (uint32_t k = 0; k < 3; k++) {
			struct hf_filters *filters = filters_of(cases[i].spec);
			struct counted c = { 0 };
			struct hf_channel channel =
				channel_with(filters, &c, k ? "bulk" : "control", k);

			assert_int_equal(channel.ops != &channel_ops, wrapped[k]);
			channel.ops->close(channel.self);
			(void)hf_filters_free(filters);
		}
	}
}

/* ---- the ledger, memory, the machine ------------------------------------------------------- */

static void the_ledgers_answer_gets_lost(void **state)
{
	struct hf_filters *filters = filters_of("fault:ledger.swap=CLAIMED:1:ETIMEDOUT:after");
	struct hf_ledger ledger = { &ledger_ops, NULL, "file:/x" };
	struct hf_ledger_record record = { .state = HF_LEDGER_OFFERED }, now = { 0 };
	struct hf_error err = { 0 };
	struct counted c = { 0 };

	(void)state;
	assert_int_equal(hf_filters_add(filters, "fault:ledger.read:1", NULL), 0);
	ledger.self = &c;
	assert_int_equal(hf_filters_ledger(filters, &ledger, NULL), 0);
	assert_string_equal(ledger.uri, "file:/x");
	assert_int_equal(ledger.ops->swap(ledger.self, &record, &now, &err), HF_LEDGER_DONE);
	now.state = 0;
	record.state = HF_LEDGER_CLAIMED;
	assert_int_equal(ledger.ops->swap(ledger.self, &record, &now, &err), HF_E_LEDGER_UNKNOWN);
	assert_int_equal(err.cause, ETIMEDOUT);
	assert_int_equal(c.state, HF_LEDGER_CLAIMED); /* it happened, */
	assert_int_equal(now.state, 0); /* and was not told */
	assert_int_equal(ledger.ops->read(ledger.self, "g", &now, NULL), HF_E_LEDGER_UNKNOWN);
	assert_int_equal(ledger.ops->read(ledger.self, "g", &now, NULL), 0);
	ledger.ops->close(ledger.self);
	assert_int_equal(c.closes, 1);
	(void)hf_filters_free(filters);
}

static void tracking_of_memory_fails(void **state)
{
	struct hf_filters *filters = filters_of("fault:memory.dirty_sync:2:ENOMEM");
	struct counted c = { 0 };
	struct hf_memory memory = { &memory_ops, &c }, none = { 0 };

	(void)state;
	assert_int_equal(hf_filters_memory(filters, &none, NULL), 0);
	assert_null(none.ops);
	assert_int_equal(hf_filters_memory(filters, &memory, NULL), 0);
	assert_int_equal(memory.ops->dirty_start(memory.self), 0);
	assert_int_equal(memory.ops->dirty_sync(memory.self), 0);
	assert_int_equal(memory.ops->dirty_sync(memory.self), -ENOMEM);
	assert_int_equal(memory.ops->dirty_sync(memory.self), 0);
	assert_int_equal(memory.ops->dirty_read(memory.self, 0, NULL), 0);
	assert_int_equal(memory.ops->dirty_stop(memory.self), 0);
	assert_int_equal(c.calls, 5);
	memory.ops->close(memory.self);
	(void)hf_filters_free(filters);
}

static void the_machine_fails_in_words(void **state)
{
	struct hf_filters *filters = filters_of("fault:machine.run:1:ENOMEM");
	struct hf_error err = { 0 };
	struct counted c = { 0 };
	struct hf_machine machine = { &machine_ops, &c };
	struct hf_state_section section;
	uint32_t length;

	(void)state;
	assert_int_equal(hf_filters_add(filters, "fault:machine.stop:1:after", NULL), 0);
	assert_int_equal(hf_filters_add(filters, "fault:machine.device_load:1", NULL), 0);
	assert_int_equal(hf_filters_machine(filters, &machine, NULL), 0);
	assert_int_equal(machine.ops->run(machine.self, &err), HF_E_MACHINE_STATE);
	assert_int_equal(err.cause, ENOMEM);
	assert_non_null(strstr(err.text, "machine.run"));
	assert_int_equal(c.calls, 0); /* none has run */
	assert_int_equal(machine.ops->run(machine.self, NULL), 0);
	assert_int_equal(machine.ops->stop(machine.self, NULL), HF_E_MACHINE_STATE);
	assert_int_equal(c.calls, 2);
	assert_int_equal(machine.ops->device_load(machine.self, 0, NULL, 0, NULL),
			 HF_E_MACHINE_STATE);
	assert_int_equal(machine.ops->device_load(machine.self, 0, NULL, 0, NULL), 0);
	assert_int_equal(machine.ops->state_save(machine.self, 0, &section, NULL, 0, NULL),
			 HF_STATE_END);
	assert_int_equal(machine.ops->describe(machine.self, NULL, 0, &length, NULL), 0);
	(void)hf_filters_free(filters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sending_fails_before_after_or_by_a_cut),
		cmocka_unit_test(what_is_received_is_damaged_or_cut),
		cmocka_unit_test(channels_are_chosen_by_kind_and_index),
		cmocka_unit_test(the_ledgers_answer_gets_lost),
		cmocka_unit_test(tracking_of_memory_fails),
		cmocka_unit_test(the_machine_fails_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
