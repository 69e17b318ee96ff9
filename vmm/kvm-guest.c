/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A KVM guest: its parts put together and taken apart, how it ends, and what the rest of the VMM
 * asks of it (guest.h).
 */
#include "kvm-guest.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fail.h"
#include "pvh.h"

#define DEFAULT_MEMORY_BYTES (256ull << 20)
#define MEMORY_BYTES_MIN (1ull << 20)

/* ---- how it ends ---------------------------------------------------------------------------- */

void kvm_guest_tell(struct kvm_guest *guest, uint32_t events)
{
	const uint64_t one = 1;

	atomic_fetch_or(&guest->events, events);
	/* EAGAIN: the counter is full, so it is readable anyhow. */
	(void)!write(guest->wake_fd, &one, sizeof(one));
}

/* Mark the guest as ended. false: it has ended before. */
static bool end(struct kvm_guest *guest)
{
	bool first;

	(void)pthread_mutex_lock(&guest->end_lock); /* a plain mutex, not ours yet: cannot fail */
	first = !guest->ending;
	guest->ending = true;
	(void)pthread_mutex_unlock(&guest->end_lock);
	return first;
}

static void end_with(struct kvm_guest *guest, uint32_t event)
{
	atomic_store(&guest->ended, event); /* what it says was written before */
	cpus_stop_soon(&guest->cpus);
	kvm_guest_tell(guest, event);
}

void kvm_guest_shutdown(struct kvm_guest *guest, int exit_status)
{
	if (!end(guest))
		return;
	guest->guest.exit_status = exit_status;
	end_with(guest, GUEST_EVENT_SHUTDOWN);
}

void kvm_guest_crash(struct kvm_guest *guest, const char *format, ...)
{
	va_list args;

	if (!end(guest))
		return;
	va_start(args, format);
	(void)vsnprintf(guest->guest.crash_text, sizeof(guest->guest.crash_text), format, args);
	va_end(args);
	end_with(guest, GUEST_EVENT_CRASH);
}

static const char *first_name(const struct kvm_guest *guest, uint32_t devices)
{
	return pci_device_name(&guest->pci, (uint32_t)__builtin_ctz(devices));
}

void kvm_guest_crash_by(struct kvm_guest *guest, uint32_t devices)
{
	if (!end(guest))
		return;
	guest->guest.broken_by_device = true;
	(void)snprintf(guest->guest.crash_text, sizeof(guest->guest.crash_text), HOST_ERROR_TEXT,
		       first_name(guest, devices));
	end_with(guest, GUEST_EVENT_CRASH);
}

int kvm_guest_check_devices(struct kvm_guest *guest, struct hf_error *err)
{
	uint32_t broken = pci_host_events(&guest->pci, HOST_ERROR);

	if (broken == 0)
		return 0;
	return fail(err, HF_E_DEVICE_STATE, 0, HOST_ERROR_TEXT, first_name(guest, broken));
}

/* ---- guest_ops ------------------------------------------------------------------------------ */

static struct kvm_guest *kvm_guest_of(struct guest *guest)
{
	return (struct kvm_guest *)guest;
}

/*
 * A guest whose device has had an error must not go on with it. One that has not run yet is not
 * crashed by that, but refused (kvm_guest_check_devices()): it may be whole elsewhere.
 */
static void take_host_events(struct kvm_guest *guest)
{
	uint32_t broken = pci_host_events(&guest->pci, HOST_ERROR);
	uint32_t wanted = pci_host_events(&guest->pci, HOST_REQUEST);

	if (broken != 0 && atomic_load(&guest->has_run))
		kvm_guest_crash_by(guest, broken);
	if ((wanted & ~guest->guest.devices_wanted) != 0)
		atomic_fetch_or(&guest->events, GUEST_EVENT_DEVICE_WANTED);
	guest->guest.devices_wanted = wanted;
}

/* true: it is the first. */
static bool take_failure(struct guest_failure *kept, const struct pci_failure *failure)
{
	bool first = kept->count == 0 && failure->count != 0;

	*kept = (struct guest_failure){ failure->count, failure->index, failure->error };
	return first;
}

/* What devices refuse: their interrupts, or to reach each other; and where BARs could not go. */
static void take_refusals(struct kvm_guest *guest)
{
	struct pci_p2p_refusal p2p;
	uint32_t events = 0;
	uint64_t count;

	if (read(guest->pci.news_fd, &count, sizeof(count)) < 0)
		return; /* EAGAIN: there is nothing new */
	for (uint32_t i = 0; i < guest->pci.device_count; i++) {
		struct pci_failure irqs = pci_failure(&guest->pci, i, FAILURE_OF_IRQS);
		struct pci_failure bars = pci_failure(&guest->pci, i, FAILURE_OF_BARS);

		if (take_failure(&guest->guest.irqs_failures[i], &irqs))
			events |= GUEST_EVENT_IRQS_FAILED;
		if (take_failure(&guest->guest.bars_failures[i], &bars))
			events |= GUEST_EVENT_BARS_FAILED;
	}
	p2p = pci_p2p_refusal(&guest->pci);
	if (p2p.count != 0 && guest->guest.p2p_refused.count == 0)
		events |= GUEST_EVENT_P2P_REFUSED;
	guest->guest.p2p_refused.count = p2p.count;
	guest->guest.p2p_refused.device = p2p.device;
	guest->guest.p2p_refused.peer = p2p.peer;
	guest->guest.p2p_refused.error = p2p.error;
	atomic_fetch_or(&guest->events, events);
}

static uint32_t guest_events(struct guest *base)
{
	struct kvm_guest *guest = kvm_guest_of(base);
	uint64_t count;

	(void)!read(guest->wake_fd, &count, sizeof(count)); /* EAGAIN: there is nothing new */
	if (guest->pci.device_count != 0) {
		take_host_events(guest);
		take_refusals(guest);
	}
	return atomic_exchange(&guest->events, 0);
}

static int guest_memory_open(struct guest *base, struct hf_memory *ret_memory, struct hf_error *err)
{
	return tracker_open(kvm_guest_of(base), ret_memory, err);
}

static void describe_more(struct kvm_guest *guest, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* What does not fit is cut. */
static void describe_more(struct kvm_guest *guest, const char *format, ...)
{
	size_t used = strlen(guest->description);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(guest->description + used, sizeof(guest->description) - used, format, args);
	va_end(args);
}

static const char *guest_describe(struct guest *base)
{
	struct kvm_guest *guest = kvm_guest_of(base);
	uint64_t failed = pci_failed_accesses(&guest->pci);
	uint64_t lost = serial_lost_bytes(&guest->serial);

	guest->description[0] = '\0';
	describe_more(guest, "KVM, %u vCPU%s, dirty %s", guest->cpus.count,
		      guest->cpus.count == 1 ? "" : "s",
		      guest->vm.ring_bytes != 0 ? "ring" : "log");
	if (failed != 0)
		describe_more(guest, ", %ju failed device accesses", (uintmax_t)failed);
	if (lost != 0)
		describe_more(guest, ", %ju bytes of the console lost", (uintmax_t)lost);
	if (guest->vfio.refused != 0)
		describe_more(guest, ", KVM has not taken the files of %u of its devices",
			      guest->vfio.refused);
	return guest->description;
}

static void guest_free(struct guest *base)
{
	struct kvm_guest *guest = kvm_guest_of(base);

	if (base == NULL)
		return;
	assert(guest->tracker == NULL); /* its user closes it first */
	cpus_free(&guest->cpus);
	pci_close(&guest->pci);
	/* First: a cdev that KVM still holds would not be closed, and its device would go on. */
	kvm_vfio_close(&guest->vfio);
	for (uint32_t i = 0; i < base->device_count; i++)
		hf_device_close(&base->devices[i].device);
	serial_close(&guest->serial);
	irq_close(&guest->irq);
	vm_close(&guest->vm);
	memory_done(&guest->memory);
	if (base->event_fd >= 0)
		(void)close(base->event_fd);
	if (guest->wake_fd >= 0)
		(void)close(guest->wake_fd);
	if (guest->locks_made) {
		(void)pthread_mutex_destroy(&guest->tracker_lock);
		(void)pthread_mutex_destroy(&guest->end_lock);
	}
	free(guest);
}

static const struct guest_ops ops = {
	.kind = "kvm",
	.free = guest_free,
	.memory_open = guest_memory_open,
	.events = guest_events,
	.describe = guest_describe,
};

/* ---- putting it together -------------------------------------------------------------------- */

static int check_config(const struct guest_config *config, struct hf_error *err)
{
	if (config->memory_bytes % HF_PAGE_SIZE != 0 ||
	    (config->memory_bytes != 0 && config->memory_bytes < MEMORY_BYTES_MIN))
		return fail(err, HF_E_INVALID, 0,
			    "memory: %ju bytes are not at least 1 MiB in whole pages",
			    (uintmax_t)config->memory_bytes);
	if (config->vcpu_count > HF_VCPUS_MAX)
		return fail(err, HF_E_INVALID, 0, "vcpus: %u are more than %u", config->vcpu_count,
			    HF_VCPUS_MAX);
	if (config->kernel == NULL && !config->incoming)
		return fail(err, HF_E_INVALID, 0, "kernel: none is given");
	if (config->name != NULL && strlen(config->name) >= HF_NAME_MAX)
		return fail(err, HF_E_INVALID, 0, "name: '%s' is too long", config->name);
	return 0;
}

static struct kvm_guest *new_guest(const struct guest_config *config)
{
	struct kvm_guest *guest = calloc(1, sizeof(*guest));
	int r;

	if (guest == NULL)
		return NULL;
	guest->guest.ops = &ops;
	guest->guest.event_fd = -1;
	guest->wake_fd = -1;
	guest->guest.machine = (struct hf_machine){ .ops = &kvm_machine_ops, .self = guest };
	guest->vm = (struct vm){ .kvm_fd = -1, .vm_fd = -1 };
	kvm_vfio_init(&guest->vfio);
	guest->serial.fd = -1;
	(void)snprintf(guest->guest.name, sizeof(guest->guest.name), "%s",
		       config->name != NULL ? config->name : "guest");
	r = pthread_mutex_init(&guest->tracker_lock, NULL);
	if (r == 0 && pthread_mutex_init(&guest->end_lock, NULL) == 0) {
		guest->locks_made = true;
		return guest;
	}
	if (r == 0)
		(void)pthread_mutex_destroy(&guest->tracker_lock);
	free(guest);
	return NULL;
}

/* Memory, interrupts, console: all that is there before vCPUs and devices. */
static int build_board(struct kvm_guest *guest, const struct guest_config *config,
		       struct hf_error *err)
{
	uint64_t bytes = config->memory_bytes != 0 ? config->memory_bytes : DEFAULT_MEMORY_BYTES;
	int r = memory_new(&guest->memory, bytes, config->keep, config->kept, err);

	if (r == 0)
		r = memory_attach(&guest->memory, &guest->vm, err);
	if (r == 0)
		r = irq_open(&guest->irq, &guest->vm, err);
	if (r == 0)
		r = serial_open(&guest->serial, &guest->irq,
				config->serial != NULL ? config->serial : "stdio", err);
	if (r != 0)
		return r;
	for (uint32_t i = 0; i < guest->memory.count; i++)
		guest->guest.regions[i] = guest->memory.regions[i];
	guest->guest.region_count = guest->memory.count;
	return 0;
}

static int build_cpus(struct kvm_guest *guest, const struct guest_config *config,
		      struct hf_error *err)
{
	uint32_t count = config->vcpu_count != 0 ? config->vcpu_count : 1;
	int r = cpus_new(&guest->cpus, guest, count, err);

	if (r == 0)
		r = cpuid_make(&guest->cpuid, &guest->vm, count, err);
	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = cpuid_set(&guest->cpuid, guest->cpus.cpus[i].fd, i, err);
	if (r != 0)
		return r;
	guest->guest.vcpu_count = count;
	r = ioctl(guest->cpus.cpus[0].fd, KVM_GET_TSC_KHZ, 0ul);
	if (r <= 0)
		return fail(err, HF_E_UNSUPPORTED, r < 0 ? errno : 0, "KVM_GET_TSC_KHZ");
	guest->tsc.khz = (uint32_t)r;
	return 0;
}

static int build_devices(struct kvm_guest *guest, const struct hf_session_device *devices,
			 uint32_t count, struct hf_error *err)
{
	int r = pci_open(&guest->pci, &guest->vm, &guest->irq, &guest->memory,
			 cpuid_phys_bits(&guest->cpuid), err);

	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = pci_add(&guest->pci, &devices[i], err);
	return r != 0 ? r : pci_host_watch(&guest->pci, guest->guest.event_fd, err);
}

static int boot(struct kvm_guest *guest, const struct guest_config *config, struct hf_error *err)
{
	struct pvh_entry entry;
	int r;

	if (config->incoming)
		return pci_expect(&guest->pci, err);
	r = pvh_load(&guest->memory, config->kernel, config->initrd, config->command_line, &entry,
		     err);
	return r != 0 ? r : pvh_enter(guest->cpus.cpus[0].fd, &entry, err);
}

static int build(struct kvm_guest *guest, const struct guest_config *config,
		 const struct hf_session_device *devices, uint32_t device_count,
		 struct hf_error *err)
{
	int r = build_board(guest, config, err);

	if (r == 0)
		r = build_cpus(guest, config, err);
	if (r == 0)
		r = build_devices(guest, devices, device_count, err);
	if (r == 0)
		r = boot(guest, config, err);
	return r != 0 ? r : cpus_start(&guest->cpus, err);
}

/* One descriptor for the main loop: what vCPUs tell, and later what the devices' host does. */
static int open_events(struct kvm_guest *guest, struct hf_error *err)
{
	struct epoll_event event = { .events = EPOLLIN };

	guest->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	guest->guest.event_fd = epoll_create1(EPOLL_CLOEXEC);
	if (guest->wake_fd < 0 || guest->guest.event_fd < 0 ||
	    epoll_ctl(guest->guest.event_fd, EPOLL_CTL_ADD, guest->wake_fd, &event) < 0)
		return fail(err, HF_E_SYSTEM, errno, "descriptors for the guest's events");
	return 0;
}

int kvm_guest_begin(const struct guest_config *config, struct kvm_guest **ret_guest,
		    struct hf_error *err)
{
	struct kvm_guest *guest;
	int r = check_config(config, err);

	if (r != 0)
		return r;
	guest = new_guest(config);
	if (guest == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "a guest");
	r = open_events(guest, err);
	if (r == 0)
		r = vm_open(&guest->vm, !config->no_dirty_ring, err);
	if (r != 0) {
		guest_free(&guest->guest);
		return r;
	}
	*ret_guest = guest;
	return 0;
}

static int file_of_device(void *ctx, int fd, struct hf_error *err)
{
	struct kvm_guest *guest = ctx;

	return kvm_vfio_add(&guest->vfio, &guest->vm, fd, err);
}

struct hf_device_host kvm_guest_host(struct kvm_guest *guest)
{
	return (struct hf_device_host){
		.size = sizeof(struct hf_device_host),
		.ctx = guest,
		.file = file_of_device,
	};
}

int kvm_guest_finish(struct kvm_guest *guest, const struct guest_config *config,
		     const struct hf_session_device *devices, uint32_t device_count,
		     struct hf_error *err)
{
	int r = build(guest, config, devices, device_count, err);

	if (r != 0) {
		guest_free(&guest->guest); /* without devices: they are still the caller's */
		return r;
	}
	for (uint32_t i = 0; i < device_count; i++)
		guest->guest.devices[i] = devices[i];
	guest->guest.device_count = device_count;
	return 0;
}

int kvm_guest_assemble(const struct guest_config *config, const struct hf_session_device *devices,
		       uint32_t device_count, struct guest **ret_guest, struct hf_error *err)
{
	struct kvm_guest *guest;
	int r = kvm_guest_begin(config, &guest, err);

	if (r == 0)
		r = kvm_guest_finish(guest, config, devices, device_count, err);
	if (r == 0)
		*ret_guest = &guest->guest;
	return r;
}
