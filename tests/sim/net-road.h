/* SPDX-License-Identifier: BSD-3-Clause */
/* What others may do to the network besides what the scenario says. */
#ifndef TESTS_SIM_NET_ROAD_H
#define TESTS_SIM_NET_ROAD_H

/* A host that dies says nothing: what it was connected by is silent from now on. */
void road_silence(void);

#endif
