/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The migration states' arcs as the kernel walks them (Linux uAPI, linux/vfio.h, "enum
 * vfio_device_mig_state"): a driver implements the base arcs of its flags, and one SET walks the
 * shortest chain of them. Pure.
 */
#ifndef DEVICE_SIM_ARCS_H
#define DEVICE_SIM_ARCS_H

#include <stdint.h>

#include <holdfast/types.h>

/*
 * The next state on the way from one to another, with one base arc; to itself if they are equal.
 * -EINVAL if there is no such way: forbidden, or a state that a device with these flags lacks.
 */
int sim_arc_next(uint32_t mig_flags, uint32_t from, uint32_t to, uint32_t *ret_next);

/* The device runs: its DMA, interrupts and registers are alive. */
int sim_state_runs(uint32_t state);

/* It starts no DMA into other devices. */
int sim_state_p2p_quiet(uint32_t state);

/* A save session is open. */
int sim_state_saves(uint32_t state);

#endif
