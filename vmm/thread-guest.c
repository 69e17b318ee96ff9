/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest without KVM, and the shortest example of what embeds the library: its vCPUs are host
 * threads that run the checker's workload (guest/work.h) on a memfd, and its dirty pages are found
 * by userfaultfd. Here it is made and taken apart; thread-guest.h says where the rest is.
 */
#include "thread-guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "memory-file.h"

#define MEMORY_BYTES_DEFAULT (256ull << 20)

static void guest_free(struct guest *base)
{
	struct thread_guest *guest = (struct thread_guest *)base;
	struct hf_memory_region *region;

	if (guest == NULL)
		return;
	if (guest->lock_made)
		thread_vcpus_end(guest);
	thread_devices_close(guest);
	thread_console_close(guest);
	region = &guest->guest.regions[0];
	if (region->host != NULL)
		(void)munmap(region->host, region->size);
	if (guest->guest.region_count != 0 && region->fd >= 0) {
		(void)close(region->fd);
		memory_file_drop(region->name, guest->keep);
	}
	thread_host_close(guest);
	if (guest->lock_made) {
		(void)pthread_cond_destroy(&guest->changed);
		(void)pthread_mutex_destroy(&guest->lock);
	}
	free((void *)(uintptr_t)guest->work.env);
	free(guest);
}

static int guest_memory_open(struct guest *guest, struct hf_memory *ret_memory,
			     struct hf_error *err)
{
	return hf_memory_userfault(guest->regions, guest->region_count, ret_memory, err);
}

static const char *guest_describe(struct guest *base)
{
	return ((struct thread_guest *)base)->description;
}

static const struct guest_ops guest_ops = {
	.kind = "thread",
	.free = guest_free,
	.memory_open = guest_memory_open,
	.events = thread_guest_events,
	.describe = guest_describe,
};

/* ---- making one --------------------------------------------------------------------------------
 */

static int locks_new(struct thread_guest *guest, struct hf_error *err)
{
	pthread_condattr_t attr;
	int r = pthread_condattr_init(&attr);

	if (r == 0) {
		(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a valid clock */
		r = pthread_cond_init(&guest->changed, &attr);
		(void)pthread_condattr_destroy(&attr);
	}
	if (r != 0)
		return fail(err, HF_E_NO_MEMORY, r, "a condition variable");
	(void)pthread_mutex_init(&guest->lock, NULL); /* cannot fail without attributes */
	guest->lock_made = true;
	return 0;
}

static int memory_new(struct thread_guest *guest, bool kept, struct hf_error *err)
{
	struct hf_memory_region *region = &guest->guest.regions[0];
	uint64_t size = guest->memory_bytes;
	int r;

	*region = (struct hf_memory_region){ .gpa = 0, .size = size, .fd = -1, .name = "ram" };
	guest->guest.region_count = 1;
	r = memory_file_new(region->name, size, guest->keep, kept, &region->fd, err);
	if (r != 0)
		return r;
	region->host =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, region->fd, 0);
	if (region->host == MAP_FAILED) {
		region->host = NULL;
		return fail(err, HF_E_NO_MEMORY, errno, "mapping %ju bytes of guest memory",
			    (uintmax_t)size);
	}
	return 0;
}

/* What the workload needs from here on, whether it starts now or its state comes from a peer. */
static int work_new(struct thread_guest *guest, struct hf_error *err)
{
	struct work_env *env = malloc(sizeof(*env));

	if (env == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "the workload");
	*env = thread_world;
	env->ctx = guest;
	env->ram = guest->guest.regions[0].host;
	guest->work = (struct work){
		.env = env,
		.shared = &guest->shared,
		.vcpus = guest->vcpus,
		.devices = guest->work_devices,
	};
	return 0;
}

static int work_begin(struct thread_guest *guest, const char *command_line, struct hf_error *err)
{
	struct work_shared *shared = &guest->shared;
	char bad[64] = "";

	if (strlen(command_line) >= sizeof(shared->command_line))
		return fail(err, HF_E_INVALID, 0, "the command line is longer than %zu bytes",
			    sizeof(shared->command_line) - 1);
	(void)snprintf(shared->command_line, sizeof(shared->command_line), "%s", command_line);
	if (work_knobs_parse(command_line, &shared->knobs, bad, sizeof(bad)) != 0)
		return fail(err, HF_E_INVALID, 0, "command line: knob %s", bad);
	if (shared->knobs.vcpus != 0 && shared->knobs.vcpus != guest->guest.vcpu_count)
		return fail(err, HF_E_INVALID, 0, "command line: vcpus=%u, and there are %u",
			    shared->knobs.vcpus, guest->guest.vcpu_count);
	shared->vcpu_count = guest->guest.vcpu_count;
	shared->device_count = guest->guest.device_count;
	shared->ticks_per_ms = THREAD_TICKS_PER_MS;
	shared->ranges[0].gpa = THREAD_RAM_GPA;
	if (guest->memory_bytes > THREAD_RAM_GPA)
		shared->ranges[0].size = guest->memory_bytes - THREAD_RAM_GPA;
	shared->range_count = 1;
	for (uint32_t i = 0; i < guest->guest.device_count; i++) {
		guest->work_devices[i].kind = guest->devices[i].kind;
		guest->work_devices[i].port_count = guest->devices[i].port_count;
		guest->work_devices[i].bar4_gpa = guest->devices[i].bar4_gpa;
	}
	if (work_layout(&guest->work) != 0)
		return fail(err, HF_E_INVALID, 0,
			    "%ju bytes of memory are too little for this command line",
			    (uintmax_t)guest->memory_bytes);
	work_start(&guest->work);
	return 0;
}

static int build(struct thread_guest *guest, const struct guest_config *config,
		 struct hf_error *err)
{
	int r = locks_new(guest, err);

	if (r == 0)
		r = thread_host_open(guest, err);
	if (r == 0)
		r = memory_new(guest, config->kept, err);
	if (r == 0)
		r = thread_devices_open(guest, config, err);
	if (r == 0)
		r = thread_console_open(guest, config->serial, err);
	if (r == 0)
		r = work_new(guest, err);
	if (r == 0 && !config->incoming)
		r = work_begin(guest, config->command_line ? config->command_line : "", err);
	return r == 0 ? thread_vcpus_start(guest, err) : r;
}

int thread_guest_new(const struct guest_config *config, struct guest **ret_guest,
		     struct hf_error *err)
{
	uint32_t vcpus = config->vcpu_count ? config->vcpu_count : 1;
	struct thread_guest *guest;
	int r;

	if (vcpus > WORK_VCPUS_MAX)
		return fail(err, HF_E_INVALID, 0, "vCPUs: %u are more than %u", vcpus,
			    WORK_VCPUS_MAX);
	if (config->memory_bytes % HF_PAGE_SIZE != 0)
		return fail(err, HF_E_INVALID, 0, "memory: %ju bytes are no whole pages",
			    (uintmax_t)config->memory_bytes);
	guest = calloc(1, sizeof(*guest));
	if (guest == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "the guest");
	guest->guest.ops = &guest_ops;
	guest->guest.machine = (struct hf_machine){ &thread_machine_ops, guest };
	guest->guest.event_fd = guest->wake_fd = guest->out_fd = guest->in_fd = -1;
	guest->guest.vcpu_count = vcpus;
	guest->keep = config->keep;
	guest->memory_bytes = config->memory_bytes ? config->memory_bytes : MEMORY_BYTES_DEFAULT;
	(void)snprintf(guest->guest.name, sizeof(guest->guest.name), "%s",
		       config->name ? config->name : "guest");
	(void)snprintf(guest->description, sizeof(guest->description),
		       "threads, %u vCPU%s, userfaultfd", vcpus, vcpus == 1 ? "" : "s");
	r = build(guest, config, err);
	if (r != 0) {
		guest_free(&guest->guest);
		return r;
	}
	*ret_guest = &guest->guest;
	return 0;
}
