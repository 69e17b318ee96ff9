/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a kernel device is named and opened, what is said when something is missing for it, and what
 * it then says of its regions and interrupts. On the kernel of vfio-kernel.h, and on this host's.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/device/vfio/uri.h"
#include "device-fixture.h"
#include "vfio-kernel.h"

#define PCI "0000:17:00.1"
#define UUID "5317ca9b-dab7-4d0f-b5f4-4d685438e16d"

static int setup(void **state)
{
	kernel.devices[0] = (struct kernel_device){
		.address = PCI, .group = "12", .driver = "vfio-pci", .keys = "state=64K"
	};
	kernel.devices[1] = (struct kernel_device){
		.address = UUID, .group = "14", .driver = "mtty", .is_mdev = 1, .keys = "state=64K"
	};
	kernel_start();
	*state = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kernel_end();
	return 0;
}

/* Opening fails, with this code and these words. */
static void refused(const char *uri, int code, const char *words)
{
	struct hf_device none = { 0 };
	struct hf_error err = { 0 };
	int r = hf_device_open(uri, NULL, &none, &err);

	if (r != code || !strstr(err.text, words))
		fail_msg("%s: %s (%d), not \"%s\"", uri, err.text, r, words);
	assert_null(none.ops);
	assert_int_equal(kernel_open_fds(), 0);
}

static struct hf_device opened(const char *uri)
{
	struct hf_device device = { 0 };
	struct hf_error err = { 0 };

	if (hf_device_open(uri, NULL, &device, &err) < 0)
		fail_msg("%s: %s", uri, err.text);
	return device;
}

/* ---- names --------------------------------------------------------------------------------- */

static void an_address_is_a_function_or_a_uuid(void **state)
{
	static const char *const good[][2] = {
		{ "0000:17:00.1", "0000:17:00.1" },
		{ "17:00.1", "0000:17:00.1" },
		{ "ABCD:EF:1a.7", "abcd:ef:1a.7" },
		{ "10000:e1:00.0", "10000:e1:00.0" },
		{ "5317CA9B-dab7-4d0f-b5f4-4d685438e16d", UUID },
	};
	static const char *const bad[] = { "",		 "17:00",	  "0000:17:00.1x",
					   "../17:00.1", "0000:17:00.",	  "0000:17:00/1",
					   UUID "0",	 "g317ca9b-dab7", "000:17:00.1" };
	struct vfio_config c;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(vfio_uri_parse(good[i][0], NULL, &c, NULL), 0);
		assert_string_equal(c.address, good[i][1]);
		assert_string_equal(c.name, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vfio_uri_parse(bad[i], NULL, &c, NULL), HF_E_INVALID);
}

static void keys_are_taken_by_their_names(void **state)
{
	struct vfio_config c;

	(void)state;
	assert_int_equal(vfio_uri_parse(PCI ",path=cdev,dirty=iommu,vm=web-1,vf-token=" UUID, "nic",
					&c, NULL),
			 0);
	assert_string_equal(c.name, "nic");
	assert_string_equal(c.vm, "web-1");
	assert_string_equal(c.vf_token, UUID);
	assert_true(c.path == VFIO_PATH_CDEV && c.dirty == VFIO_DIRTY_IOMMU);
	refused("vfio", HF_E_INVALID, "neither a PCI address");
	refused("vfio:" PCI ",path", HF_E_INVALID, "\"path\" is not KEY=VALUE");
	refused("vfio:" PCI ",", HF_E_INVALID, "\"\" is not KEY=VALUE");
	refused("vfio:" PCI ",way=cdev", HF_E_INVALID, "no key \"way\"");
	refused("vfio:" PCI ",path=node", HF_E_INVALID, "path cannot be \"node\"");
	refused("vfio:" PCI ",vm=a/b", HF_E_INVALID, "vm cannot be \"a/b\"");
	refused("vfio:" PCI ",vm=", HF_E_INVALID, "vm cannot be \"\"");
	refused("vfio:" PCI ",vf-token=7", HF_E_INVALID, "vf-token cannot be \"7\"");
	refused("vfio:" UUID ",vf-token=" UUID, HF_E_INVALID, "takes no vf-token");
}

/* ---- what is missing ----------------------------------------------------------------------- */

static void missing(const char *path, const char *uri, int code, const char *words)
{
	kernel.missing = path;
	refused(uri, code, words);
	kernel.missing = NULL;
}

static void what_is_missing_is_named(void **state)
{
	(void)state;
	refused("vfio:0000:17:00.7", HF_E_INVALID, "no PCI device 0000:17:00.7");
	missing("/dev/vfio/vfio", "vfio:" PCI ",path=group", HF_E_UNSUPPORTED,
		"/dev/vfio/vfio is not there");
	missing("/dev/vfio/12", "vfio:" PCI ",path=group", HF_E_UNSUPPORTED,
		"/dev/vfio/12 is not there: " PCI " is bound to vfio-pci");
	missing("/dev/vfio/devices/vfio0", "vfio:" PCI ",path=cdev", HF_E_UNSUPPORTED,
		"VFIO_DEVICE_CDEV");
	missing("/dev/iommu", "vfio:" PCI ",path=cdev", HF_E_UNSUPPORTED, "/dev/iommu");
	missing("/sys/bus/pci/devices/" PCI "/vfio-dev", "vfio:" PCI ",path=cdev", HF_E_UNSUPPORTED,
		"no VFIO driver");
	kernel.devices[0].driver = NULL;
	refused("vfio:" PCI, HF_E_UNSUPPORTED, PCI " is bound to no driver");
	kernel.devices[0].driver = "e1000e";
	kernel.devices[0].group = NULL;
	refused("vfio:" PCI ",path=group", HF_E_UNSUPPORTED, "in no IOMMU group");
	kernel.devices[0].group = "12";
	kernel.not_viable = "12";
	refused("vfio:" PCI ",path=group", HF_E_UNSUPPORTED, "group 12 is not viable");
	kernel.not_viable = NULL;
	kernel.api_version = 1;
	refused("vfio:" PCI ",path=group", HF_E_UNSUPPORTED, "API version 0");
	kernel.api_version = 0;
	kernel.no_type1 = 1;
	refused("vfio:" PCI ",path=group", HF_E_UNSUPPORTED, "type1v2");
	kernel.no_type1 = 0;
	kernel.devices[0].not_pci = 1;
	refused("vfio:" PCI ",path=group", HF_E_UNSUPPORTED, "is no PCI device");
	refused("vfio:" PCI ",path=cdev", HF_E_UNSUPPORTED, "is no PCI device");
}

static void auto_takes_the_node_where_there_is_one(void **state)
{
	struct hf_device d;

	(void)state;
	d = opened("vfio:" PCI);
	assert_int_equal(kernel.devices[0].bound, 1);
	hf_device_close(&d);
	kernel.missing = "/dev/iommu";
	d = opened("vfio=" PCI); /* the other way to write it */
	assert_int_equal(kernel.devices[0].bound, 0);
	hf_device_close(&d);
	assert_int_equal(kernel_open_fds(), 0);
}

static void this_hosts_kernel_is_asked_the_same(void **state)
{
	struct hf_device none = { 0 };
	struct hf_error err = { 0 };

	(void)state; /* no fake kernel: a device that no host has */
	assert_int_equal(hf_device_open("vfio:fffff:ff:1f.7", NULL, &none, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, "this host has no PCI device fffff:ff:1f.7"));
}

/* ---- what it is ---------------------------------------------------------------------------- */

static void it_says_what_it_is(void **state)
{
	struct hf_device d = opened("vfio:" PCI);
	struct hf_device_info info;

	(void)state;
	assert_int_equal(d.ops->info(d.self, &info), 0);
	assert_string_equal(info.kind, "vfio");
	assert_string_equal(info.name, PCI);
	assert_string_equal(info.compat, "vfio-pci/1234:4846/1234:0001/01");
	assert_int_equal(info.vendor_id, HF_SIM_VENDOR_ID);
	assert_int_equal(info.device_id, HF_SIM_DEVICE_ID);
	assert_int_equal(info.region_count, 9);
	assert_int_equal(info.irq_count, 5);
	assert_int_equal(info.mig_flags, 7);
	assert_int_equal(info.flags,
			 HF_DEVICE_HAS_RESET | HF_DEVICE_HAS_DATA_SIZE | HF_DEVICE_HAS_DMA_LOGGING);
	hf_device_close(&d);
	d = opened("vfio:" UUID);
	assert_int_equal(d.ops->info(d.self, &info), 0);
	assert_string_equal(info.compat, "fake-1/1234:4846/1234:0001/01");
	hf_device_close(&d);
}

static void the_token_goes_with_it(void **state)
{
	struct hf_device d = opened("vfio:" PCI ",path=group,vf-token=" UUID);

	(void)state;
	assert_string_equal(kernel.devices[0].token, " vf_token=" UUID);
	hf_device_close(&d);
	d = opened("vfio:" PCI ",path=cdev,vf-token=" UUID);
	assert_string_equal(kernel.devices[0].token, "5317..6d");
	hf_device_close(&d);
}

static void regions_say_what_can_be_mapped(void **state)
{
	struct hf_device d = opened("vfio:" PCI);
	struct hf_region_info info;
	uint8_t bytes[256];

	(void)state;
	assert_int_equal(d.ops->region_info(d.self, 4, &info), 0);
	assert_int_equal(info.flags, HF_REGION_READ | HF_REGION_WRITE | HF_REGION_MMAP);
	assert_true(info.mmap_fd >= 0 && info.mmap_offset == 4ull << 40);
	assert_int_equal(d.ops->region_info(d.self, 8, &info), 0); /* VGA: not implemented */
	assert_true(info.size == 0 && info.flags == 0 && info.mmap_fd == -1);
	assert_int_equal(d.ops->region_info(d.self, 9, &info), -EINVAL);
	/* All of the configuration space at once, though the driver gives it by fours. */
	assert_int_equal(d.ops->region_read(d.self, 7, 0, bytes, 256), 0);
	assert_int_equal(bytes[0] | bytes[1] << 8, HF_SIM_VENDOR_ID);
	assert_int_equal(d.ops->region_read(d.self, 7, 1, bytes, 256), -EINVAL);
	assert_int_equal(d.ops->region_read(d.self, 0, 0, bytes, 3), -EINVAL);
	assert_int_equal(d.ops->region_write(d.self, 8, 0, bytes, 4), -EINVAL);
	assert_int_equal(d.ops->region_write(d.self, 77, 0, bytes, 4), -EINVAL);
	hf_device_close(&d);

	kernel.devices[0].sparse = 1;
	d = opened("vfio:" PCI);
	assert_int_equal(d.ops->region_info(d.self, 4, &info), 0);
	assert_int_equal(info.flags, HF_REGION_READ | HF_REGION_WRITE | HF_REGION_MMAP_AREAS);
	assert_int_equal(info.area_count, 2);
	assert_true(info.areas[0].offset == 0 && info.areas[0].size == 0x1000);
	assert_true(info.areas[1].offset == 0x8000 && info.areas[1].size == 0x2000);
	hf_device_close(&d);

	/* More than can be asked for: which parts is unknown, and so none is. */
	kernel.devices[0].sparse = 1000;
	d = opened("vfio:" PCI);
	assert_int_equal(d.ops->region_info(d.self, 4, &info), 0);
	assert_int_equal(info.flags, HF_REGION_READ | HF_REGION_WRITE);
	assert_int_equal(info.area_count, 0);
	hf_device_close(&d);
}

/* mtty has 255 bytes of it; a PCI function has 256. */
static void a_short_configuration_space_is_made_whole(void **state)
{
	const uint8_t ones[4] = { 0xff, 0xff, 0xff, 0xff };
	struct hf_region_info info;
	uint8_t bytes[256];
	struct hf_device d;

	(void)state;
	kernel.devices[0].config_bytes = 255;
	d = opened("vfio:" PCI);
	assert_int_equal(d.ops->region_info(d.self, 7, &info), 0);
	assert_int_equal(info.size, 256);
	memset(bytes, 0xee, sizeof(bytes));
	assert_int_equal(d.ops->region_read(d.self, 7, 0, bytes, 256), 0);
	assert_int_equal(bytes[0] | bytes[1] << 8, HF_SIM_VENDOR_ID);
	assert_int_equal(bytes[255], 0);
	assert_int_equal(d.ops->region_write(d.self, 7, 252, ones, 4), 0);
	assert_int_equal(d.ops->region_read(d.self, 7, 255, bytes, 1), 0);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(d.ops->region_write(d.self, 7, 255, ones, 1), 0);
	assert_int_equal(d.ops->region_read(d.self, 7, 0, bytes, 257), -EINVAL);
	assert_int_equal(d.ops->region_read(d.self, 7, 256, bytes, 1), -EINVAL);
	hf_device_close(&d);
}

static int set(struct hf_device d, uint32_t index, uint32_t count, const int *fds)
{
	return d.ops->irqs_set(d.self, index, count, fds);
}

static void vectors_grow_and_shrink(uint32_t no_resize)
{
	const int fds[4] = { 90, 91, 92, 93 };
	struct kernel_device *k = &kernel.devices[0];
	struct hf_device d;

	k->no_resize = no_resize;
	k->msix_enables = 0;
	d = opened("vfio:" PCI);
	assert_int_equal(set(d, 2, 2, fds), 0);
	assert_int_equal(k->msix_enables, 1);
	/* Fewer: the rest gives no signal, and nothing is switched off for it. */
	assert_int_equal(set(d, 2, 1, fds + 1), 0);
	assert_true(k->msix_fds[0] == 91 && k->msix_fds[1] == -1);
	assert_int_equal(k->msix_enables, 1);
	assert_int_equal(set(d, 2, 4, fds), 0);
	assert_true(k->msix_fds[0] == 90 && k->msix_fds[3] == 93);
	assert_int_equal(k->msix_enables, no_resize ? 2 : 1);
	assert_int_equal(set(d, 2, 5, fds), -EINVAL);
	assert_int_equal(set(d, 2, 0, NULL), 0);
	assert_int_equal(k->msix_count, 0);
	hf_device_close(&d);
}

static void vectors_are_what_was_set_last(void **state)
{
	(void)state;
	vectors_grow_and_shrink(0);
	vectors_grow_and_shrink(1);
}

/* The kernel's answer is a count then, and no error; but nothing is enabled. */
static void vectors_that_the_host_does_not_have_are_refused(void **state)
{
	const int fds[4] = { 90, 91, 92, 93 };
	struct hf_device d = opened("vfio:" PCI);

	(void)state;
	kernel.devices[0].msix_most = 2;
	assert_int_equal(set(d, 2, 4, fds), -ENOSPC);
	assert_int_equal(kernel.devices[0].msix_count, 0);
	assert_int_equal(set(d, 2, 0, NULL), 0); /* as if it had never been asked */
	assert_int_equal(set(d, 2, 2, fds), 0);
	assert_int_equal(set(d, 2, 4, fds), -ENOSPC);
	assert_int_equal(set(d, 2, 0, NULL), 0);
	kernel.devices[0].msix_most = 0;
	hf_device_close(&d);
}

static void intx_has_an_eventfd_that_unmasks_it(void **state)
{
	const int fds[3] = { 90, 91, 92 };
	struct hf_device d = opened("vfio:" PCI);
	uint32_t count = 0;

	(void)state;
	assert_int_equal(d.ops->irq_count(d.self, 0, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(d.ops->irq_count(d.self, 1, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(d.ops->irq_count(d.self, 5, &count), -EINVAL);
	assert_int_equal(set(d, 0, 2, fds), 0);
	assert_int_equal(kernel.devices[0].intx_fd, 90);
	assert_int_equal(kernel.devices[0].intx_unmask_fd, 91);
	assert_int_equal(set(d, 0, 3, fds), -EINVAL);
	assert_int_equal(set(d, 1, 1, fds), -EINVAL);
	assert_int_equal(set(d, 0, 0, NULL), 0);
	assert_int_equal(kernel.devices[0].intx_fd, -1);
	hf_device_close(&d);
}

/* As mtty: the driver says ENOTTY, and the caller notices nothing of it. */
static void intx_is_unmasked_for_a_driver_that_cannot(void **state)
{
	struct kernel_device *k = &kernel.devices[0];
	struct hf_device d = opened("vfio:" PCI);
	int fds[2] = { 90, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	eventfd_t count;

	(void)state;
	k->no_unmask_fd = 1;
	k->intx_unmasked_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(fds[1] >= 0 && k->intx_unmasked_fd >= 0);
	assert_int_equal(set(d, 0, 2, fds), 0);
	assert_true(k->intx_fd == 90 && k->intx_unmask_fd == -1);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(eventfd_write(fds[1], 1), 0);
		assert_int_equal(eventfd_read(k->intx_unmasked_fd, &count), 0); /* waits */
	}
	/* Armed anew, by other eventfds; then no more. */
	assert_int_equal(set(d, 0, 2, fds), 0);
	assert_int_equal(eventfd_write(fds[1], 1), 0);
	assert_int_equal(eventfd_read(k->intx_unmasked_fd, &count), 0);
	assert_int_equal(set(d, 0, 0, NULL), 0);
	assert_int_equal(eventfd_write(fds[1], 1), 0);
	assert_int_equal(eventfd_read(fds[1], &count), 0); /* nobody else has taken it */
	assert_int_equal(set(d, 0, 2, fds), 0);
	hf_device_close(&d); /* with it armed */
	(void)close(fds[1]);
	(void)close(k->intx_unmasked_fd);
}

struct file_seen {
	uint32_t count;
	int fd, answer;
};

static int see_file(void *ctx, int fd, struct hf_error *err)
{
	struct file_seen *seen = ctx;

	/* The file is there, and the device in it is not: no driver has been asked to open one. */
	assert_true(kernel_open_fds() > 0);
	assert_int_equal(kernel.devices[0].used, 0);
	seen->count++;
	seen->fd = fd;
	if (seen->answer < 0 && err) {
		err->code = seen->answer;
		(void)snprintf(err->text, sizeof(err->text), "not with me");
	}
	return seen->answer;
}

static void file_is_handed_over(const char *uri)
{
	struct file_seen seen = { .fd = -1 };
	struct hf_device_host host = { .size = sizeof(host), .ctx = &seen, .file = see_file };
	struct hf_device d = { 0 };
	struct hf_error err = { 0 };

	assert_int_equal(hf_device_open_for(&host, uri, NULL, &d, &err), 0);
	assert_true(seen.count == 1 && seen.fd >= 0);
	assert_int_equal(kernel.devices[0].used, 1);
	hf_device_close(&d);
	seen.answer = HF_E_SYSTEM;
	assert_int_equal(hf_device_open_for(&host, uri, NULL, &d, &err), HF_E_SYSTEM);
	assert_non_null(strstr(err.text, PCI ": not with me"));
	assert_int_equal(hf_device_open_for(&host, uri, NULL, &d, NULL), HF_E_SYSTEM);
	assert_null(d.ops);
	assert_int_equal(kernel_open_fds(), 0);
	host.file = NULL;
	err.code = 0;
	assert_int_equal(hf_device_open_for(&host, uri, NULL, &d, &err), HF_E_INVALID);
}

static void its_file_is_handed_over_before_it_is_opened(void **state)
{
	(void)state;
	file_is_handed_over("vfio:" PCI ",path=group");
	file_is_handed_over("vfio:" PCI ",path=cdev");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_a_function_or_a_uuid),
		TEST(keys_are_taken_by_their_names),
		TEST(what_is_missing_is_named),
		TEST(auto_takes_the_node_where_there_is_one),
		cmocka_unit_test(this_hosts_kernel_is_asked_the_same),
		TEST(it_says_what_it_is),
		TEST(the_token_goes_with_it),
		TEST(regions_say_what_can_be_mapped),
		TEST(a_short_configuration_space_is_made_whole),
		TEST(vectors_are_what_was_set_last),
		TEST(vectors_that_the_host_does_not_have_are_refused),
		TEST(intx_has_an_eventfd_that_unmasks_it),
		TEST(its_file_is_handed_over_before_it_is_opened),
		TEST(intx_is_unmasked_for_a_driver_that_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
