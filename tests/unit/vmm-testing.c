/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the KVM guest share, without the device: vmm-fake-device.c. */
#include "vmm-testing.h"

#include <elf.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTRY_GPA 0x100000u
#define WAIT_MS 30000

void require_kvm(void)
{
	struct hf_error err = { 0 };

	if (kvm_guest_possible(&err) != 0) {
		print_message("no KVM guest can run here: %s\n", err.text);
		skip();
	}
}

/* ---- kernels -------------------------------------------------------------------------------- */

struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segments[2];
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint32_t entry;
	} note;
};

static void append(int fd, const void *data, size_t size)
{
	assert_int_equal(write(fd, data, size), (int)size);
}

/* An ELF file in a memfd, to be opened by its name in /proc. */
int program_image(const struct program *program)
{
	uint64_t size = (uint64_t)(program->end - program->start);
	struct image image = {
		.header = { .e_ident = ELFMAG "\2\1\1",
			    .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_version = 1,
			    .e_phoff = offsetof(struct image, segments),
			    .e_ehsize = sizeof(Elf64_Ehdr),
			    .e_phentsize = sizeof(Elf64_Phdr),
			    .e_phnum = 2 },
		.segments = { { .p_type = PT_LOAD,
				.p_offset = sizeof(image),
				.p_paddr = ENTRY_GPA,
				.p_filesz = size,
				.p_memsz = size },
			      { .p_type = PT_NOTE,
				.p_offset = offsetof(struct image, note),
				.p_filesz = sizeof(image.note) } },
		.note = { .header = { 4, 4, 18 }, .name = "Xen", .entry = ENTRY_GPA },
	};
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_true(fd >= 0);
	append(fd, &image, sizeof(image));
	append(fd, program->start, size);
	return fd;
}

void program_image_close(int fd)
{
	(void)close(fd);
}

/* ---- guests --------------------------------------------------------------------------------- */

struct kvm_guest *guest_with(const struct program *program, struct guest_config config,
			     const struct hf_session_device *devices, uint32_t device_count)
{
	struct hf_error err = { 0 };
	struct guest *guest = NULL;
	char path[64];
	int fd = -1;

	if (program != NULL) {
		fd = program_image(program);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		config.kernel = path;
	}
	config.incoming = program == NULL;
	if (config.serial == NULL)
		config.serial = "none";
	if (config.memory_bytes == 0)
		config.memory_bytes = 8u << 20;
	if (kvm_guest_assemble(&config, devices, device_count, &guest, &err) != 0)
		fail_msg("%s", err.text);
	if (fd >= 0)
		program_image_close(fd);
	return (struct kvm_guest *)guest;
}

void guest_end(struct kvm_guest *guest)
{
	guest->guest.ops->free(&guest->guest);
}

void guest_run(struct kvm_guest *guest)
{
	struct hf_error err = { 0 };

	if (guest->guest.machine.ops->run(guest->guest.machine.self, &err) != 0)
		fail_msg("%s", err.text);
}

void guest_stop(struct kvm_guest *guest)
{
	struct hf_error err = { 0 };

	if (guest->guest.machine.ops->stop(guest->guest.machine.self, &err) != 0)
		fail_msg("%s", err.text);
}

volatile void *guest_at(struct kvm_guest *guest, uint64_t gpa)
{
	void *at = memory_at(&guest->memory, gpa, 8);

	assert_non_null(at);
	return at;
}

uint32_t wait_event(struct kvm_guest *guest)
{
	struct pollfd pollfd = { .fd = guest->guest.event_fd, .events = POLLIN };

	assert_int_equal(poll(&pollfd, 1, WAIT_MS), 1);
	return guest->guest.ops->events(&guest->guest);
}

uint32_t wait_word_change(volatile const uint32_t *word, uint32_t value)
{
	/* The guest cannot wake us when it writes memory, so this looks every millisecond. */
	for (uint32_t i = 0; i < WAIT_MS; i++) {
		const struct timespec pause = { .tv_nsec = 1000000 };

		if (*word != value)
			return *word;
		(void)nanosleep(&pause, NULL);
	}
	fail_msg("the guest did not get on: the word is still %u", value);
	return 0;
}

/* ---- moving --------------------------------------------------------------------------------- */

void check_shape(struct kvm_guest *source, struct kvm_guest *target)
{
	uint8_t *shape = malloc(HF_MACHINE_SHAPE_MAX);
	struct hf_error err = { 0 };
	uint32_t length;

	assert_non_null(shape);
	if (kvm_machine_ops.describe(source, shape, HF_MACHINE_SHAPE_MAX, &length, &err) != 0 ||
	    kvm_machine_ops.check(target, shape, length, &err) != 0)
		fail_msg("%s", err.text);
	free(shape);
}

void copy_memory(struct kvm_guest *source, struct kvm_guest *target)
{
	assert_int_equal(source->memory.count, target->memory.count);
	for (uint32_t i = 0; i < source->memory.count; i++)
		memcpy(target->memory.regions[i].host, source->memory.regions[i].host,
		       source->memory.regions[i].size);
}

void move_state(struct kvm_guest *source, struct kvm_guest *target)
{
	uint8_t *buf = malloc(HF_STATE_SECTION_MAX);
	struct hf_error err = { 0 };
	int r = 0;

	assert_non_null(buf);
	for (uint32_t i = 0; r == 0; i++) {
		struct hf_state_section section;

		r = kvm_machine_ops.state_save(source, i, &section, buf, HF_STATE_SECTION_MAX,
					       &err);
		if (r == 0 && kvm_machine_ops.state_load(target, &section, buf, &err) != 0)
			fail_msg("%s", err.text);
	}
	if (r != HF_STATE_END || kvm_machine_ops.state_check(target, &err) != 0)
		fail_msg("%s", err.text);
	free(buf);
}

void move_device(struct kvm_guest *source, struct kvm_guest *target, uint32_t device)
{
	uint8_t *buf = malloc(HF_DEVICE_CONFIG_MAX);
	struct hf_error err = { 0 };
	uint32_t length;

	assert_non_null(buf);
	if (kvm_machine_ops.device_save(source, device, buf, HF_DEVICE_CONFIG_MAX, &length, &err) !=
		    0 ||
	    kvm_machine_ops.device_load(target, device, buf, length, &err) != 0)
		fail_msg("%s", err.text);
	free(buf);
}
