/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the checking wrapper makes of the answers of devices, good, bad and absurd: which code,
 * which words, and where it says that the device stands. The device here is played by the test.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <holdfast/backend.h>

#include "backend/device.h"
#include "backend/device/ops.h"

/* One that answers as it is told. */
struct played {
	struct hf_device_info info;
	uint32_t state; /* where it stands */
	uint32_t next; /* where it goes at set_state() or reset() */
	int state_result; /* of get_state() */
	int result; /* of whatever else is asked */
	ssize_t data_result;
	ssize_t portion; /* write_data() takes at most this much, if > 0 */
	size_t taken;
};

static int p_info(void *self, struct hf_device_info *ret)
{
	struct played *p = self;

	*ret = p->info;
	return p->result;
}

static int p_get_state(void *self, uint32_t *ret)
{
	struct played *p = self;

	*ret = p->state;
	return p->state_result;
}

static int p_set_state(void *self, uint32_t state)
{
	struct played *p = self;

	(void)state;
	p->state = p->next;
	return p->result;
}

static ssize_t p_read_data(void *self, void *buf, size_t size)
{
	struct played *p = self;

	(void)buf, (void)size;
	return p->data_result;
}

static ssize_t p_write_data(void *self, const void *buf, size_t size)
{
	struct played *p = self;
	ssize_t n = p->portion > 0 && (size_t)p->portion < size ? p->portion : (ssize_t)size;

	(void)buf;
	if (p->portion <= 0)
		n = p->data_result;
	if (n > 0)
		p->taken += (size_t)n;
	return n;
}

static int p_two(void *self, uint64_t *ret_a, uint64_t *ret_b)
{
	*ret_a = 11;
	*ret_b = 22;
	return ((struct played *)self)->result;
}

static int p_one(void *self, uint64_t *ret)
{
	*ret = 33;
	return ((struct played *)self)->result;
}

static int p_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *r, uint32_t n)
{
	(void)page_size, (void)r, (void)n;
	return ((struct played *)self)->result;
}

static int p_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
			uint64_t *bitmap)
{
	(void)iova, (void)length, (void)page_size, (void)bitmap;
	return ((struct played *)self)->result;
}

static int p_plain(void *self)
{
	return ((struct played *)self)->result;
}

static int p_reset(void *self)
{
	struct played *p = self;

	p->state = p->next;
	return p->result;
}

/* Never called here: the wrapper is about migration. */
static int p_region_info(void *self, uint32_t index, struct hf_region_info *ret)
{
	(void)self, (void)index, (void)ret;
	return -EOPNOTSUPP;
}

static int p_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	(void)self, (void)index, (void)offset, (void)buf, (void)size;
	return -EOPNOTSUPP;
}

static int p_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size)
{
	(void)self, (void)index, (void)offset, (void)buf, (void)size;
	return -EOPNOTSUPP;
}

static int p_irq_count(void *self, uint32_t index, uint32_t *ret)
{
	(void)self, (void)index, (void)ret;
	return -EOPNOTSUPP;
}

static int p_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	(void)self, (void)index, (void)count, (void)eventfds;
	return -EOPNOTSUPP;
}

static int p_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		     uint64_t fd_offset, uint32_t flags)
{
	(void)self, (void)iova, (void)size, (void)vaddr, (void)fd, (void)fd_offset, (void)flags;
	return -EOPNOTSUPP;
}

static int p_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	(void)self, (void)iova, (void)size;
	return -EOPNOTSUPP;
}

static void p_close(void *self)
{
	(void)self;
}

static const struct hf_device_ops played_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "played",
	.info = p_info,
	.get_state = p_get_state,
	.set_state = p_set_state,
	.read_data = p_read_data,
	.write_data = p_write_data,
	.precopy_info = p_two,
	.data_size = p_one,
	.dirty_start = p_dirty_start,
	.dirty_read = p_dirty_read,
	.dirty_stop = p_plain,
	.reset = p_reset,
	.region_info = p_region_info,
	.region_read = p_region_read,
	.region_write = p_region_write,
	.irq_count = p_irq_count,
	.irqs_set = p_irqs_set,
	.dma_map = p_dma_map,
	.dma_unmap = p_dma_unmap,
	.close = p_close,
};

struct fixture {
	struct played p;
	struct device d;
	struct hf_error err;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.p.info.mig_flags = 7;
	f.p.info.flags = HF_DEVICE_HAS_DATA_SIZE | HF_DEVICE_HAS_DMA_LOGGING;
	f.p.state = f.p.next = HF_DEVICE_RUNNING;
	assert_int_equal(
		device_bind(&f.d, (struct hf_device){ &played_ops, &f.p }, 1, "nic0", &f.err), 0);
	*state = &f;
	return 0;
}

static void stand(struct fixture *f, uint32_t state)
{
	uint32_t seen = 99;

	f->p.state = f->p.next = state;
	assert_int_equal(device_state(&f->d, &seen, &f->err), 0);
	assert_int_equal(seen, state);
}

static void fails(struct fixture *f, int r, int code, int cause, const char *text)
{
	assert_int_equal(r, code);
	assert_int_equal(f->err.code, code);
	assert_int_equal(f->err.cause, cause);
	assert_string_equal(f->err.text, text);
	memset(&f->err, 0, sizeof(f->err));
}

static void an_arc_that_works_is_quiet(void **state)
{
	struct fixture *f = *state;

	f->p.next = HF_DEVICE_STOP;
	assert_int_equal(device_set_state(&f->d, HF_DEVICE_STOP, &f->err), 0);
	assert_int_equal(f->d.state, HF_DEVICE_STOP);
	assert_int_equal(f->err.code, 0);
	assert_int_equal(device_set_state(&f->d, HF_DEVICE_STOP, NULL), 0);
}

static void a_refused_arc_says_which_why_and_where_it_stands(void **state)
{
	struct fixture *f = *state;

	stand(f, HF_DEVICE_RUNNING_P2P);
	f->p.result = -EBUSY;
	fails(f, device_set_state(&f->d, HF_DEVICE_STOP, &f->err), HF_E_DEVICE_STATE, EBUSY,
	      "device 1 (nic0): RUNNING_P2P -> STOP: Device or resource busy (errno 16); stands in "
	      "RUNNING_P2P");
	f->p.next = HF_DEVICE_STOP; /* half-way */
	fails(f, device_set_state(&f->d, HF_DEVICE_STOP_COPY, &f->err), HF_E_DEVICE_STATE, EBUSY,
	      "device 1 (nic0): RUNNING_P2P -> STOP_COPY: Device or resource busy (errno 16); "
	      "stands in STOP");
	assert_int_equal(f->d.state, HF_DEVICE_STOP);
}

static void a_success_that_is_none_is_seen(void **state)
{
	struct fixture *f = *state;

	f->p.next = HF_DEVICE_RUNNING_P2P;
	fails(f, device_set_state(&f->d, HF_DEVICE_STOP, &f->err), HF_E_DEVICE_STATE, 0,
	      "device 1 (nic0): RUNNING -> STOP succeeded, but it is not there; stands in "
	      "RUNNING_P2P");
}

static void a_device_in_error_or_gone_is_lost(void **state)
{
	struct fixture *f = *state;

	f->p.result = -EIO;
	f->p.next = HF_DEVICE_ERROR;
	fails(f, device_set_state(&f->d, HF_DEVICE_STOP, &f->err), HF_E_DEVICE_LOST, EIO,
	      "device 1 (nic0): RUNNING -> STOP: Input/output error (errno 5); stands in ERROR");
	f->p.result = 0;
	stand(f, HF_DEVICE_RUNNING);
	f->p.state_result = -ENODEV;
	f->p.result = -ENODEV;
	fails(f, device_set_state(&f->d, HF_DEVICE_STOP, &f->err), HF_E_DEVICE_LOST, ENODEV,
	      "device 1 (nic0): RUNNING -> STOP: No such device (errno 19); stands in ERROR");
	f->p.result = 0;
	f->d.state = HF_DEVICE_RUNNING;
	assert_int_equal(device_set_state(&f->d, HF_DEVICE_STOP, &f->err), HF_E_DEVICE_LOST);
	assert_int_equal(f->err.cause, ENODEV);
	assert_non_null(strstr(f->err.text, "does not say where it stands now"));
}

static void a_state_that_is_none_is_refused(void **state)
{
	struct fixture *f = *state;
	uint32_t seen = 99;

	f->p.state = 8;
	assert_int_equal(device_state(&f->d, &seen, &f->err), HF_E_DEVICE_STATE);
	assert_int_equal(seen, 99);
	assert_int_equal(f->d.state, HF_DEVICE_ERROR);
	memset(&f->err, 0, sizeof(f->err));
	f->p.state_result = -EIO;
	assert_int_equal(device_state(&f->d, &seen, &f->err), HF_E_DEVICE_LOST);
	assert_int_equal(f->err.cause, EIO);
}

static void error_is_an_answer_of_device_state(void **state)
{
	struct fixture *f = *state;

	stand(f, HF_DEVICE_ERROR);
	assert_int_equal(f->err.code, 0);
}

static void the_end_for_now_is_zero_in_pre_copy_only(void **state)
{
	struct fixture *f = *state;
	char buf[8];

	stand(f, HF_DEVICE_PRE_COPY);
	f->p.data_result = -ENOMSG;
	assert_int_equal(device_read(&f->d, buf, sizeof(buf), &f->err), 0);
	f->p.data_result = 0;
	assert_int_equal(device_read(&f->d, buf, sizeof(buf), &f->err), 0);
	f->p.data_result = 5;
	assert_int_equal(device_read(&f->d, buf, sizeof(buf), &f->err), 5);
	assert_int_equal(f->err.code, 0);
	stand(f, HF_DEVICE_STOP_COPY);
	f->p.data_result = -ENOMSG;
	assert_int_equal(device_read(&f->d, buf, sizeof(buf), &f->err), HF_E_DEVICE_DATA);
	assert_int_equal(f->err.cause, ENOMSG);
}

static void a_count_that_cannot_be_is_an_error_of_the_device(void **state)
{
	struct fixture *f = *state;
	char buf[8] = { 0 };

	stand(f, HF_DEVICE_STOP_COPY);
	f->p.data_result = 9;
	fails(f, (int)device_read(&f->d, buf, sizeof(buf), &f->err), HF_E_DEVICE_DATA, 0,
	      "device 1 (nic0): reading its state in STOP_COPY, behind 0 bytes: it gave 9 bytes "
	      "where "
	      "8 were asked for; stands in STOP_COPY");
	stand(f, HF_DEVICE_RESUMING);
	assert_int_equal(device_write(&f->d, buf, sizeof(buf), &f->err), HF_E_DEVICE_DATA);
	memset(&f->err, 0, sizeof(f->err));
	f->p.data_result = 0;
	fails(f, device_write(&f->d, buf, sizeof(buf), &f->err), HF_E_DEVICE_DATA, 0,
	      "device 1 (nic0): writing its state in RESUMING, behind 0 bytes: it took 0 of 8 "
	      "bytes; "
	      "stands in RESUMING");
	f->p.result = 1; /* of a call that gives 0 or a negative errno */
	assert_int_equal(device_data_size(&f->d, &(uint64_t){ 0 }, &f->err), HF_E_DEVICE_DATA);
}

static void short_writes_are_made_good(void **state)
{
	struct fixture *f = *state;
	char buf[100] = { 0 };

	stand(f, HF_DEVICE_RESUMING);
	f->p.portion = 7;
	assert_int_equal(device_write(&f->d, buf, sizeof(buf), &f->err), 0);
	assert_int_equal(f->p.taken, sizeof(buf));
}

/* Where in its stream it refuses tells a header from what comes behind it. */
static void a_refusal_of_data_says_where(void **state)
{
	struct fixture *f = *state;
	char buf[100] = { 0 };

	stand(f, HF_DEVICE_RESUMING);
	f->p.portion = 7;
	assert_int_equal(device_write(&f->d, buf, 100, &f->err), 0);
	f->p.portion = 0;
	f->p.data_result = -EFAULT;
	f->p.state = HF_DEVICE_ERROR;
	fails(f, device_write(&f->d, buf, 8, &f->err), HF_E_DEVICE_LOST, EFAULT,
	      "device 1 (nic0): writing its state in RESUMING, behind 100 bytes: Bad address "
	      "(errno "
	      "14); stands in ERROR");
	/* A stream that is read goes on in the next state, and ends when that is left. */
	stand(f, HF_DEVICE_PRE_COPY);
	f->p.data_result = 40;
	assert_int_equal(device_read(&f->d, buf, 50, &f->err), 40);
	f->p.next = HF_DEVICE_STOP_COPY;
	assert_int_equal(device_set_state(&f->d, HF_DEVICE_STOP_COPY, &f->err), 0);
	assert_int_equal(device_read(&f->d, buf, 50, &f->err), 40);
	f->p.data_result = -EIO;
	fails(f, (int)device_read(&f->d, buf, 50, &f->err), HF_E_DEVICE_DATA, EIO,
	      "device 1 (nic0): reading its state in STOP_COPY, behind 80 bytes: Input/output "
	      "error "
	      "(errno 5); stands in STOP_COPY");
	f->p.next = HF_DEVICE_STOP;
	assert_int_equal(device_set_state(&f->d, HF_DEVICE_STOP, &f->err), 0);
	f->p.next = HF_DEVICE_RESUMING;
	assert_int_equal(device_set_state(&f->d, HF_DEVICE_RESUMING, &f->err), 0);
	f->p.data_result = -EFAULT;
	fails(f, device_write(&f->d, buf, 8, &f->err), HF_E_DEVICE_DATA, EFAULT,
	      "device 1 (nic0): writing its state in RESUMING, behind 0 bytes: Bad address (errno "
	      "14); stands in RESUMING");
}

static void a_reset_under_our_feet_is_told_with_the_failure(void **state)
{
	struct fixture *f = *state;
	char buf[8] = { 0 };

	stand(f, HF_DEVICE_RESUMING);
	f->p.state = HF_DEVICE_RUNNING;
	f->p.data_result = -ENODEV;
	fails(f, device_write(&f->d, buf, sizeof(buf), &f->err), HF_E_DEVICE_DATA, ENODEV,
	      "device 1 (nic0): writing its state in RESUMING, behind 0 bytes: No such device "
	      "(errno "
	      "19); stands in RUNNING");
	assert_int_equal(f->d.state, HF_DEVICE_RUNNING);
}

static void amounts_are_passed_on_and_failures_judged(void **state)
{
	struct fixture *f = *state;
	uint64_t a = 0, b = 0;

	stand(f, HF_DEVICE_PRE_COPY_P2P);
	assert_int_equal(device_precopy_info(&f->d, &a, &b, &f->err), 0);
	assert_int_equal(a, 11);
	assert_int_equal(b, 22);
	assert_int_equal(device_data_size(&f->d, &a, &f->err), 0);
	assert_int_equal(a, 33);
	f->p.result = -EINVAL;
	assert_int_equal(device_precopy_info(&f->d, &a, &b, &f->err), HF_E_DEVICE_DATA);
	assert_int_equal(a, 33); /* outputs on success only */
}

static void failures_of_tracking_are_told_as_such(void **state)
{
	const struct hf_dma_range r = { 0, 4096 };
	struct fixture *f = *state;
	uint64_t bitmap = 0;

	assert_int_equal(device_dirty_start(&f->d, 4096, &r, 1, &f->err), 0);
	assert_int_equal(device_dirty_read(&f->d, 0, 4096, 4096, &bitmap, &f->err), 0);
	assert_int_equal(device_dirty_stop(&f->d, &f->err), 0);
	f->p.result = -EOPNOTSUPP;
	assert_int_equal(device_dirty_start(&f->d, 4096, &r, 1, NULL), HF_E_DEVICE_TRACKING);
	assert_int_equal(device_dirty_read(&f->d, 0, 4096, 4096, &bitmap, NULL),
			 HF_E_DEVICE_TRACKING);
	assert_int_equal(device_dirty_stop(&f->d, &f->err), HF_E_DEVICE_TRACKING);
	assert_int_equal(f->err.cause, EOPNOTSUPP);
}

static void a_reset_has_to_end_in_running(void **state)
{
	struct fixture *f = *state;

	stand(f, HF_DEVICE_ERROR);
	f->p.next = HF_DEVICE_RUNNING;
	assert_int_equal(device_reset(&f->d, &f->err), 0);
	f->p.next = HF_DEVICE_STOP;
	fails(f, device_reset(&f->d, &f->err), HF_E_DEVICE_STATE, 0,
	      "device 1 (nic0): reset in RUNNING succeeded, but it does not run; stands in STOP");
	f->p.next = HF_DEVICE_ERROR;
	f->p.result = -EIO;
	fails(f, device_reset(&f->d, &f->err), HF_E_DEVICE_LOST, EIO,
	      "device 1 (nic0): reset in STOP: Input/output error (errno 5); stands in ERROR");
}

static void p_why(void *self, char *ret_text, size_t size)
{
	(void)self;
	(void)snprintf(ret_text, size, "the server closed the connection");
}

static void a_device_may_say_why_it_is_gone(void **state)
{
	struct fixture *f = *state;
	struct hf_device_ops saying = played_ops;
	struct device d;

	saying.why = p_why;
	assert_int_equal(device_bind(&d, (struct hf_device){ &saying, &f->p }, 0, "x", NULL), 0);
	f->p.result = f->p.state_result = -ENOTCONN;
	fails(f, device_reset(&d, &f->err), HF_E_DEVICE_LOST, ENOTCONN,
	      "device 0 (x): reset in RUNNING: Transport endpoint is not connected (errno 107); "
	      "stands in ERROR; the server closed the connection");
}

static void what_cannot_be_used_is_not_bound(void **state)
{
	struct fixture *f = *state;
	struct hf_device_ops lacking = played_ops;
	struct device d;

	lacking.dirty_stop = NULL;
	assert_int_equal(device_bind(&d, (struct hf_device){ &lacking, &f->p }, 0, "x", &f->err),
			 HF_E_INVALID);
	memset(&f->err, 0, sizeof(f->err));
	lacking = played_ops;
	lacking.size = DEVICE_OPS_SIZE_MIN - 8;
	assert_int_equal(device_bind(&d, (struct hf_device){ &lacking, &f->p }, 0, "x", NULL),
			 HF_E_INVALID);
	lacking.size = DEVICE_OPS_SIZE_MIN; /* the members behind it came later */
	assert_int_equal(device_bind(&d, (struct hf_device){ &lacking, &f->p }, 0, "x", NULL), 0);
	assert_int_equal(device_bind(&d, (struct hf_device){ 0 }, 0, "x", NULL), HF_E_INVALID);
	f->p.info.mig_flags = 0;
	fails(f, device_bind(&d, f->d.raw, 0, "x", &f->err), HF_E_UNSUPPORTED, 0,
	      "device 0 (x) cannot be migrated");
	for (uint32_t flags = 2; flags < 16; flags++) {
		if (flags < 8 && (flags & 1))
			continue;
		f->p.info.mig_flags = flags;
		assert_int_equal(device_bind(&d, f->d.raw, 0, "x", NULL), HF_E_UNSUPPORTED);
	}
	f->p.info.mig_flags = 7;
	memset(f->p.info.name, 'n', sizeof(f->p.info.name)); /* no NUL */
	assert_int_equal(device_bind(&d, f->d.raw, 0, "x", NULL), 0);
	assert_int_equal(strlen(d.info.name), HF_NAME_MAX - 1);
	f->p.state = HF_DEVICE_STOP_COPY; /* some stand where they were left */
	assert_int_equal(device_bind(&d, f->d.raw, 0, "x", NULL), 0);
	assert_int_equal(d.state, HF_DEVICE_STOP_COPY);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_arc_that_works_is_quiet),
		TEST(a_refused_arc_says_which_why_and_where_it_stands),
		TEST(a_success_that_is_none_is_seen),
		TEST(a_device_in_error_or_gone_is_lost),
		TEST(a_state_that_is_none_is_refused),
		TEST(error_is_an_answer_of_device_state),
		TEST(the_end_for_now_is_zero_in_pre_copy_only),
		TEST(a_count_that_cannot_be_is_an_error_of_the_device),
		TEST(short_writes_are_made_good),
		TEST(a_refusal_of_data_says_where),
		TEST(a_reset_under_our_feet_is_told_with_the_failure),
		TEST(amounts_are_passed_on_and_failures_judged),
		TEST(failures_of_tracking_are_told_as_such),
		TEST(a_reset_has_to_end_in_running),
		TEST(a_device_may_say_why_it_is_gone),
		TEST(what_cannot_be_used_is_not_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
