/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When to switch over, when to throttle, when to give up. Pure: the engine measures, this decides.
 * The answer never is to switch over against the limit.
 */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* What was measured at the end of a round. */
struct policy_input {
	uint64_t dirty_bytes; /* pages to be sent again */
	uint64_t device_bytes; /* what the devices will give in STOP_COPY, estimated */
	uint64_t bytes_per_second; /* of the link, measured; 0: nothing was measured yet */
	uint64_t downtime_us_max;
	uint64_t elapsed_us; /* since precopy began */
	uint64_t deadline_us; /* of precopy */
	uint64_t round_sent_bytes; /* in the round that ended */
	uint32_t round; /* that ended; 1.. */
	uint32_t throttle_percent; /* as it is now */
	uint32_t throttle_max_percent;
	uint32_t slow_rounds; /* rounds in a row that did not shrink what is left */
	bool primed; /* every device's initial data is in at the target */
};

enum policy_verdict {
	POLICY_AGAIN = 1, /* another round; also when it would fit, and still shrinks well */
	POLICY_SWITCH = 2, /* quiesce */
	POLICY_WAIT = 3, /* it would fit, but devices are not primed: wait for them */
	POLICY_THROTTLE = 4, /* another round, with ret_throttle_percent */
	POLICY_GIVE_UP = 5, /* the deadline passed */
};

struct policy_output {
	enum policy_verdict verdict;
	uint64_t downtime_us; /* the estimate; UINT64_MAX if there is none */
	uint32_t throttle_percent; /* with POLICY_THROTTLE */
	uint32_t slow_rounds; /* to be given next time */
};

/* Throttling begins after so many slow rounds, at FIRST percent, and grows by STEP. */
#define POLICY_SLOW_ROUNDS 2
#define POLICY_THROTTLE_FIRST 20
#define POLICY_THROTTLE_STEP 10

/* Pages that take less time than this to send are sent in the stand-still. */
#define POLICY_SHORT_US 10000u

struct policy_output policy_decide(const struct policy_input *input);

#endif
