/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is the lab's VFIO real? vfio-move group|cdev SOURCE TARGET [OFFSET] takes the state of one
 * mediated device to another: RUNNING -> STOP_COPY, read, RESUMING, write, RESUMING -> STOP ->
 * RUNNING. Says what it sees; ends with 1 where it is stuck, and says in which state. The word at
 * OFFSET of BAR 0, if given, differs before the move and is the same after it. Not a test of
 * drivers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfio-raw.h"

#define STREAM_BYTES_MAX (4u << 20)

static void ask(const struct raw_device *device)
{
	struct raw_feature feature = { 0 };

	if (raw_ask(device, &feature, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION))
		raw_stuck(device->role, "it does not migrate");
	(void)printf("%s: migration flags %llu, in %s\n", device->role,
		     (unsigned long long)feature.u.migration.flags, raw_state(device));
}

static void move(const struct raw_device *source, const struct raw_device *target)
{
	static unsigned char stream[STREAM_BYTES_MAX];
	size_t filled = 0, written = 0;
	ssize_t count;
	int from, to;

	from = raw_go(source, VFIO_DEVICE_STATE_STOP_COPY);
	while ((count = read(from, stream + filled, sizeof(stream) - filled)) > 0)
		filled += (size_t)count;
	if (count < 0)
		raw_stuck(source->role, "read");
	(void)printf("%s: %zu bytes\n", source->role, filled);
	to = raw_go(target, VFIO_DEVICE_STATE_RESUMING);
	while (written < filled) {
		count = write(to, stream + written, filled - written);
		if (count <= 0)
			raw_stuck(target->role, "write");
		written += (size_t)count;
	}
	(void)raw_go(target, VFIO_DEVICE_STATE_STOP);
	(void)raw_go(target, VFIO_DEVICE_STATE_RUNNING);
	(void)raw_go(source, VFIO_DEVICE_STATE_STOP);
	(void)printf("moved: source in %s, target in %s\n", raw_state(source), raw_state(target));
}

static void move_with_word(const struct raw_device *source, const struct raw_device *target,
			   __u64 offset)
{
	__u32 before = raw_read(source, VFIO_PCI_BAR0_REGION_INDEX, offset);
	bool differed = raw_read(target, VFIO_PCI_BAR0_REGION_INDEX, offset) != before, moved;

	move(source, target);
	moved = differed && raw_read(target, VFIO_PCI_BAR0_REGION_INDEX, offset) == before;
	(void)printf("the word has %smoved\n", moved ? "" : "not ");
	if (!moved)
		exit(1);
}

int main(int argc, char **argv)
{
	struct raw_device source = { .role = "source" }, target = { .role = "target" };
	bool known = argc == 4 || argc == 5, group = known && strcmp(argv[1], "group") == 0;

	if (!known || (!group && strcmp(argv[1], "cdev") != 0)) {
		(void)fprintf(stderr, "usage: vfio-move group|cdev SOURCE TARGET [OFFSET]\n");
		return 2;
	}
	source.uuid = argv[2];
	target.uuid = argv[3];
	raw_open(&source, group);
	raw_open(&target, group);
	ask(&source);
	ask(&target);
	if (argc == 5)
		move_with_word(&source, &target, strtoull(argv[4], NULL, 0));
	else
		move(&source, &target);
	return 0;
}
