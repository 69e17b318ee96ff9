/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which migration state to ask a device for next. Pure: a table and its accessor.
 *
 * The kernel walks combinations of arcs inside one SET. Some of them are forbidden, some lock older
 * kernels up, and some run the device on their way: a plan never asks for those, and where devices
 * have to wait for each other it asks for one step at a time. It knows one device only; that all
 * devices are quiet before any is stopped, and so on, is for whoever calls (goals are made so that
 * a barrier between two goals is enough):
 *
 *   saving   PRE_COPY ... QUIET | STOP_COPY
 *   undoing  RUNNING_P2P | RUNNING      from wherever the device stands
 *   loading  RESUMING ... STOP | RUNNING_P2P | RUNNING
 */
#ifndef CORE_DEVICE_PLAN_H
#define CORE_DEVICE_PLAN_H

#include <stdint.h>

#include <holdfast/types.h>

/* clang-format off */
enum device_goal {
	DEVICE_GOAL_PRE_COPY,    /* it saves while it runs; reached too if it has no PRE_COPY or stands
				  * in STOP (it would have to run for it) */
	DEVICE_GOAL_QUIET,       /* it starts no P2P DMA any more; reached too if it has no P2P states,
				  * and where it is stopped */
	DEVICE_GOAL_STOP_COPY,   /* it is stopped and its state can be read */
	DEVICE_GOAL_RESUMING,    /* its state can be written; not from a state that saves */
	DEVICE_GOAL_STOP,        /* stopped; from RESUMING this is the explicit arc that checks the load */
	DEVICE_GOAL_RUNNING_P2P, /* on its way up: no stopped device is left that has P2P states;
				  * reached too in STOP if it has none, and where it runs already */
	DEVICE_GOAL_RUNNING,     /* it runs and saves nothing */
};
/* clang-format on */
#define DEVICE_GOAL_COUNT 7

/*
 * What to ask for next: 0: the goal is reached; 1: ask for *ret_request, look where it stands, and
 * call again; HF_E_DEVICE_LOST: it stands in ERROR; HF_E_DEVICE_STATE: the goal is out of reach
 * other than by reset, or current is no state of a device with these flags.
 * mig_flags is 1, 3, 5 or 7. At most 4 requests lead to any goal. Which states a device has is
 * hf_device_has_state() (holdfast/device.h).
 */
int device_plan(uint32_t mig_flags, uint32_t current, enum device_goal goal, uint32_t *ret_request);

/* "STOP_COPY"; static text. */
const char *device_goal_name(enum device_goal goal);

#endif
