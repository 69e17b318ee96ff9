/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the main loop has to do with a guest's devices: tell the operator what the host makes of
 * them, and end their work when the guest has crashed.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/control-private.h"

/* Each is told once: the kernel repeats itself for as long as it waits, query-guest has it. */
void control_devices_wanted(struct control *control)
{
	const struct guest *guest = control->guest;
	uint32_t news = guest->devices_wanted & ~control->devices_wanted;

	control->devices_wanted = guest->devices_wanted;
	for (uint32_t i = 0; i < guest->device_count; i++) {
		if (!(news >> i & 1))
			continue;
		control_say(control,
			    "the host wants device %s back, and waits for it: migrate the guest, "
			    "or end it",
			    guest->devices[i].name);
		qmp_server_event(&control->server, "DEVICE_WANTED",
				 json_pack("{s:o}", "device", qmp_text(guest->devices[i].name)));
	}
}

const char *control_irqs_name(uint32_t index)
{
	static const char *const names[] = { "INTx", "MSI", "MSI-X", "ERR", "REQ" };

	return index < sizeof(names) / sizeof(names[0]) ? names[index] : "?";
}

/* Each device once: a guest that is not told tries again, and again. Those that are to be told. */
static uint32_t first_failures(const struct guest *guest, const struct guest_failure *failures,
			       uint32_t *told)
{
	uint32_t news = 0;

	for (uint32_t i = 0; i < guest->device_count; i++)
		if (failures[i].count != 0)
			news |= 1u << i;
	news &= ~*told;
	*told |= news;
	return news;
}

void control_devices_irqs_failed(struct control *control)
{
	const struct guest *guest = control->guest;
	uint32_t news = first_failures(guest, guest->irqs_failures, &control->devices_irqs_failed);

	for (; news != 0; news &= news - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(news);
		const struct guest_failure *failure = &guest->irqs_failures[i];

		control_say(control,
			    "device %s: its interrupts (%s) could not be set as the guest wants "
			    "them: %s (errno %d); the guest cannot be told, and may miss them",
			    guest->devices[i].name, control_irqs_name(failure->index),
			    strerror(failure->error), failure->error);
	}
}

void control_devices_bars_failed(struct control *control)
{
	const struct guest *guest = control->guest;
	uint32_t news = first_failures(guest, guest->bars_failures, &control->devices_bars_failed);

	for (; news != 0; news &= news - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(news);
		const struct guest_failure *failure = &guest->bars_failures[i];

		control_say(control,
			    "device %s: its BAR %u could not be mapped, or taken away, as the "
			    "guest wants it: %s (errno %d); what is not mapped works, slowly",
			    guest->devices[i].name, failure->index, strerror(failure->error),
			    failure->error);
	}
}

void control_devices_p2p_refused(struct control *control)
{
	const struct guest *guest = control->guest;

	control_say(
		control,
		"device %s cannot reach device %s's memory by DMA (P2P), and others perhaps not "
		"either: %s (errno %d); the guest cannot be told",
		guest->devices[guest->p2p_refused.device].name,
		guest->devices[guest->p2p_refused.peer].name, strerror(guest->p2p_refused.error),
		guest->p2p_refused.error);
}

/* ---- after a crash -------------------------------------------------------------------------- */

/* Waits for vCPUs and devices, each of which may take its time: never in the main loop. */
static void *reset_thread(void *arg)
{
	struct control_reset *reset = arg;
	const struct guest *guest = reset->guest;
	const uint64_t one = 1;

	/* A vCPU that is still on its way out could set a device to work again. */
	(void)guest->machine.ops->stop(guest->machine.self, &reset->stop);
	for (uint32_t i = 0; i < guest->device_count; i++) {
		const struct hf_device *device = &guest->devices[i].device;

		reset->results[i] = device->ops->reset(device->self);
	}
	(void)!write(reset->done.fd, &one, sizeof(one)); /* it cannot be full */
	return NULL;
}

static void reset_done(struct loop_source *source, uint32_t events)
{
	struct control *control = FROM_SOURCE(source, reset.done);
	struct control_reset *reset = &control->reset;

	(void)events;
	(void)pthread_join(reset->thread, NULL); /* it has said that it is done */
	reset->under_way = false;
	loop_forget(control->epoll_fd, source);
	(void)close(source->fd);
	source->fd = -1;
	if (reset->stop.code)
		control_say(control, "its vCPUs do not stop: %s", reset->stop.text);
	for (uint32_t i = 0; i < reset->guest->device_count; i++)
		if (reset->results[i] < 0)
			control_say(control,
				    "device %s cannot be reset, and may still be at work: %s",
				    reset->guest->devices[i].name, strerror(-reset->results[i]));
}

static int reset_begin(struct control *control, struct hf_error *err)
{
	struct control_reset *reset = &control->reset;
	int r;

	reset->guest = control->guest;
	reset->done = (struct loop_source){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), reset_done };
	if (reset->done.fd < 0)
		return control_error(err, HF_E_SYSTEM, errno, "an eventfd");
	r = loop_watch(control->epoll_fd, &reset->done, EPOLLIN, err);
	if (r < 0)
		return r;
	r = pthread_create(&reset->thread, NULL, reset_thread, reset);
	reset->under_way = r == 0;
	return r ? control_error(err, HF_E_SYSTEM, r, "a thread") : 0;
}

void control_devices_reset(struct control *control)
{
	struct control_reset *reset = &control->reset;
	struct hf_error err = { 0 };

	if (!control->guest || !(control->guest_events & GUEST_EVENT_CRASH) || reset->begun ||
	    migration_active(control->migration) || migration_in_doubt(control->migration))
		return;
	reset->begun = true;
	if (reset_begin(control, &err) == 0)
		return;
	if (reset->done.fd >= 0) {
		loop_forget(control->epoll_fd, &reset->done);
		(void)close(reset->done.fd);
	}
	control_say(control, "its devices are not reset, and may still be at work: %s", err.text);
}
