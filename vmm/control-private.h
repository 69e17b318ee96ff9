/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What vmm/control.c (the loop and what happens by itself) and vmm/control-commands.c (what is
 * asked for over the socket) share. Nobody else includes it. The main loop's thread owns all of it.
 */
#ifndef VMM_CONTROL_PRIVATE_H
#define VMM_CONTROL_PRIVATE_H

#include <pthread.h>
#include <stddef.h>

#include "vmm/control-loop.h"
#include "vmm/control.h"
#include "vmm/qmp-server.h"

/* The control that one of its sources is part of. */
#define FROM_SOURCE(source, member)                                                                \
	((struct control *)(void *)((char *)(source)-offsetof(struct control, member)))

/* The end of the devices' work after a crash, on a thread of its own. */
struct control_reset {
	bool begun,
		under_way; /* the main loop's; while it is under way, the rest is the thread's */
	pthread_t thread;
	struct loop_source done; /* an eventfd, which the thread writes at its end */
	const struct guest *guest;
	struct hf_error stop; /* why vCPUs do not stop */
	int results[HF_DEVICES_MAX]; /* 0 or -errno */
};

struct control {
	const struct control_config *config;
	struct guest *guest; /* NULL when it is away */
	struct migrate_machine machine;
	struct migrate_parameters parameters;
	struct migration *migration; /* the last or present one, or NULL */
	bool awaits_guest; /* it comes from a peer, and its migration has not ended */
	bool migrates_paused; /* the guest was paused when the migration began */
	uint32_t guest_events; /* GUEST_EVENT_* that have happened */
	struct control_reset reset;
	uint32_t devices_irqs_failed, devices_bars_failed; /* bit i: it was said of device i */
	uint32_t devices_wanted; /* of the guest's, as far as it was told */

	bool restarts; /* a kept guest is being taken up */
	bool quitting; /* as soon as no session goes on */
	bool quit_forced; /* also if that gives up the only guest there is */
	int exit_status;

	int epoll_fd;
	struct loop_source signals, guest_source, session_source;
	struct qmp_server server;
	bool announced_running; /* by STOP and RESUME */
	const char *announced_status; /* by MIGRATION */
	bool announced_listening;
};

/* QEMU's name of what the guest is doing: "running", "paused", "inmigrate", ... */
const char *control_run_state(const struct control *control);

/*
 * It is to come from a peer, and does not run here yet. It runs here before its migration has
 * ended: that waits until the peer has heard of it.
 */
bool control_awaits_guest(const struct control *control);

/* Why the guest may not be run or paused by hand now; NULL if it may. buf is for the words. */
const char *control_not_now(const struct control *control, char *buf, size_t size);

/* Begin a migration with the parameters and what else was asked for. */
int control_migrate(struct control *control, uint32_t role, const char *uri,
		    const struct migrate_parameters *parameters, struct hf_error *err);

/* 0, or HF_E_IN_DOUBT: whose the guest is must be resolved before anything is done with it. */
int control_check_doubt(const struct control *control, struct hf_error *err);

/* Resolve it; what it comes to is told like the end of a migration. */
int control_resolve(struct control *control, enum hf_resolve how, struct hf_error *err);

/* End the process when no session goes on; one that does is cancelled if it still can be. */
void control_quit(struct control *control, int exit_status);

/* ---- control-devices.c ---- */
/* The host has asked for some of them. */
void control_devices_wanted(struct control *control);
/* Some of them have not done with their interrupts what they were told to. */
void control_devices_irqs_failed(struct control *control);
/* BARs of some of them are not where the guest wants them. */
void control_devices_bars_failed(struct control *control);
/* One cannot reach another one's BAR by DMA. */
void control_devices_p2p_refused(struct control *control);
const char *control_irqs_name(uint32_t index); /* VFIO's number of a kind of interrupt */
/*
 * After a crash, once, as soon as no session has the devices: nothing that the guest has told them
 * to do goes on, no DMA into memory that is to be looked at, and no interrupts. Begun here; the
 * loop goes on meanwhile, and does not end before that has.
 */
void control_devices_reset(struct control *control);

void control_say(const struct control *control, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The commands; ctx is a struct control. */
extern const struct qmp_command control_commands[];
extern const char *const control_events[];

#endif
