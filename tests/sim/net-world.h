/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The world around two sessions: a guest, its devices, a ledger, a network, an operator, and a
 * referee who knows the truth. A scenario says what goes wrong in it; everything else follows from
 * the seed.
 */
#ifndef TESTS_SIM_NET_WORLD_H
#define TESTS_SIM_NET_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/session.h>

#include "core/source.h"
#include "core/target.h"
#include "net-sched.h"
#include "net-seam.h"

enum { SOURCE, TARGET, ROAD, SIDES }; /* sides of the schedule; ROAD: what never dies */

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

#define PAGES_MAX 160u
#define DEVICES_MAX 3u
#define SECTIONS 2u
#define ROAD_FAULTS_MAX 4u

/* Known mistakes: each must be found, or the nets are blind. X(name, breaks, what is wrong) */
/* clang-format off */
#define SABOTAGE_LIST(X) \
	X(NONE,      "",    "nothing") \
	X(CLAIM,     "I5",  "the target does not ask the ledger, and starts") \
	X(STARTED,   "I5",  "the target runs the guest before its start is recorded") \
	X(LIAR,      "I5",  "the ledger answers DONE to a swap, and writes nothing") \
	X(TWICE,     "I10", "an event is delivered twice") \
	X(PAGE,      "I14", "a page that was written is not reported as dirty") \
	X(DEVICE,    "I14", "a device gives what it held at the beginning") \
	X(RESUME,    "I3",  "the source goes home when the connection is lost after GO") \
	X(FREE,      "I4",  "the source frees the guest when it has sent GO") \
	X(LATE,      "I3",  "a revoke of an offer that has not arrived writes nothing") \
	X(KEPT,      "I2",  "what is kept of the guest is still there when it runs again") \
	X(DEAF,      "P5",  "a wake-up of a worker is lost") \
	X(LEAK,      "L1",  "a side that ends leaves memory behind")
/* clang-format on */
#define SABOTAGE_ENUM_(name, breaks, text) SABOTAGE_##name,
enum sabotage { SABOTAGE_LIST(SABOTAGE_ENUM_) SABOTAGE_COUNT };
#undef SABOTAGE_ENUM_

enum road_kind {
	ROAD_NONE,
	ROAD_RESET, /* both ends see a reset */
	ROAD_CLOSE, /* both ends see an end, after what was sent */
	ROAD_HALF, /* the target hears no more; what it says is still heard */
	ROAD_SILENCE, /* nothing comes through any more */
	ROAD_STALL, /* nothing comes through for a while */
	ROAD_REFUSE, /* new connections are refused */
	ROAD_KINDS,
};

/* Not a time, but: when this side comes to this state, and a little later. */
struct moment {
	bool set;
	uint32_t side, state;
	uint64_t after_ns;
};

/* Something that happens to the network. */
struct road_fault {
	enum road_kind kind;
	uint64_t at_ns; /* after the beginning; 0: not by time */
	uint64_t at_byte; /* when so many bytes went over the link; 0: not by bytes */
	struct moment moment;
	uint64_t for_ns; /* STALL */
	uint32_t link; /* which connection, counted from 0: the control one; UINT32_MAX: all */
};

struct ledger_mood {
	uint64_t delay_ns_min, delay_ns_max;
	uint32_t fails_per_mille; /* an error, without any effect */
	uint32_t lost_per_mille; /* unknown, without any effect */
	uint32_t mute_per_mille; /* unknown, and it happened */
	uint32_t late_per_mille; /* unknown, and it happens later */
	uint32_t twice_per_mille; /* the request arrives again, later */
	uint32_t slow_per_mille; /* the answer takes long */
	uint64_t slow_ns;
	uint32_t whom; /* whose requests suffer: bits 1 << side */
	uint64_t out_from_ns, out_to_ns; /* nothing is answered in between */
	struct moment out; /* or from here on */
	uint64_t out_for_ns;
};

/* What the record says when the source begins. */
enum first_record {
	FIRST_NONE,
	FIRST_HOME, /* ours, with the reason of an earlier failure */
	FIRST_CAME, /* ours: it came here by an earlier handover */
	FIRST_OTHERS, /* somebody else's */
	FIRST_OFFERED, /* ours, and an earlier handover was never decided */
	FIRST_CLAIMED,
	FIRST_COUNT,
};

struct device_mood {
	uint32_t mig_flags, state_bytes, piece_bytes;
	uint64_t delay_ns_max;
	uint32_t slow_per_mille; /* an operation takes very long */
	uint64_t slow_ns;
	uint32_t whom; /* bits 1 << side */
	struct moment slow; /* not before that */
};

struct scenario {
	uint64_t seed;
	struct sched_mood sched;
	uint32_t pages, devices, channels, paused;
	uint32_t writes_per_ms; /* pages */
	bool by_hand; /* the ledger is "none" */
	bool keeps; /* the source keeps the guest in a folder */
	uint32_t on_device_lost;
	uint64_t start_ns[2]; /* of the sessions */
	uint64_t calm_ns; /* from then on nothing fails any more */
	uint64_t hop_ns, jitter_ns, bandwidth; /* bytes per second */
	uint64_t window;
	struct road_fault road[ROAD_FAULTS_MAX];
	struct ledger_mood ledger;
	struct device_mood device;
	uint64_t machine_ns_max;
	uint64_t wait_us_max; /* config.wait_us_max */
	uint64_t cancel_ns[2]; /* 0: nobody cancels */
	struct moment cancel[2], crash[2];
	uint64_t resolve_ns; /* the operator looks so often at a guest in doubt; 0: there is none */
	uint32_t resolve_take_per_mille;
	uint64_t crash_step[2]; /* 0: does not die */
	uint64_t freeze_step, freeze_ns; /* the whole host stands still there, but its clock */
	uint64_t restart_ns; /* a source that died comes back so much later; 0: never */
	uint64_t fail_nth; /* this seam fails, counted from 1 */
	uint32_t fail_per_mille[SEAM_COUNT];
	uint32_t fail_whom; /* bits 1 << side */
	struct moment fail; /* not before that */
	bool by_step; /* the source's VMM has a loop of its own, and an operator in it */
	enum first_record first;
	enum sabotage sabotage;
};

/* One side of the handover, as the world sees it. */
struct side {
	uint32_t id;
	const char *name;
	struct hf_config config;
	struct hf_session *session; /* while it lives */
	enum hf_outcome outcome;
	struct hf_error error;
	bool begun, refused, ended, dead; /* refused: hf_session_new() failed */
	bool returned; /* it died, and another process came after it */
	uint32_t resolves;
	struct hf_memory_region region;
	struct hf_session_device devices[DEVICES_MAX];
	struct fake_device *fakes[DEVICES_MAX];
	/* the machine */
	bool running, was_run, stop_failed, run_failed;
	uint64_t exec; /* what the vCPUs have executed: their state */
	uint32_t sections_loaded, configs_loaded, throttle;
	uint32_t configs[DEVICES_MAX];
	/* dirty pages */
	bool tracking;
	uint8_t dirty[PAGES_MAX], synced[PAGES_MAX];
};

/* What the guest really is: whoever runs it must have exactly this. */
struct truth {
	uint64_t exec;
	uint32_t version[PAGES_MAX]; /* of each page */
	uint64_t device[DEVICES_MAX];
	uint32_t config[DEVICES_MAX];
};

struct world {
	const struct scenario *scenario;
	struct side sides[2];
	struct truth truth;
	uint64_t begin_ns;
	uint64_t quiet_step; /* precopy had ended */
	char dir[64], uri[2][96], keep[96];
	bool calm, violated, guest_died;
	char violation[512];
	uint64_t hash; /* of everything that was told */
	uint64_t out_from_ns, out_to_ns; /* the ledger */
	bool doubt_allowed; /* what fails may fail for longer than a doubt may last */
	bool failing, slowing; /* the moment of fail, or of device.slow, has come */
	bool not_ours; /* the guest was not the source's to give: nobody asks where it runs */
	bool target_has_it; /* its start was recorded, or would have been */
	uint32_t failed_seam; /* enum seam + 1 */
	char failed_op[64];
};

extern struct world world;

bool anything_slow(void); /* operations may take longer than they have */
uint64_t world_ns(void); /* since the beginning */
struct side *world_side(void); /* of the task that asks; NULL: nobody's */

/* net-guest.c */
void guest_begin(struct side *side);
void guest_done(struct side *side);
void guest_write(struct side *side, bool by_vcpu);
void *guest_live(void *side); /* the task that writes */
bool guest_memory_is_true(const struct side *side, char *text, uint32_t size);

/* net-device.c */
void device_begin(struct side *side, uint32_t index);
void device_wrote(struct side *side, uint32_t page); /* by DMA */
void device_live(struct side *side); /* what devices do by themselves, now and then */
bool device_is_true(const struct side *side, uint32_t index, char *text, uint32_t size);
void device_forget(struct side *side, uint32_t index); /* it is another one, and fresh */
bool device_was_reset(const struct side *side, uint32_t index);
uint32_t device_state_of(const struct side *side, uint32_t index);

/* net-ledger.c */
void sledger_begin(void);
void sledger_open(struct side *side);
const struct hf_ledger_record *sledger_truth(void);

/* net-road.c */
void road_happen(void *ctx, uint64_t index); /* a fault of the scenario */
void road_begin(void);
void road_done(void);
void *road_run(void *none); /* the network's task */

/* net-referee.c */
void referee_fail(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
void referee_step(void); /* after each step of the schedule */
void referee_run(struct side *side); /* its vCPUs are about to run */
void referee_loaded(void);
void referee_end(void);
void referee_side_ended(struct side *side);

/* net-cover.c: rows that were taken */
void cover_source(const struct source_row *row);
void cover_target(const struct target_row *row);

/* net-story.c */
void story_begin(bool keep_it);
void story(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));
void story_print(void);

/* net-run.c */
void run_came_to(uint32_t side, uint32_t state);

struct net_result {
	bool violated;
	char violation[512];
	enum hf_outcome outcome[2];
	uint64_t steps, quiet_step, seams, hash, virtual_ns;
	uint32_t failed_seam;
	char failed_op[64];
};

void net_leave(void); /* no run follows: the folder of the sockets goes */
struct net_result net_run(const struct scenario *scenario, bool tell);

/* net-scenario.c */
struct scenario scenario_plain(uint64_t seed);
struct scenario scenario_swarm(uint64_t seed);
const char *sabotage_name(enum sabotage sabotage);

#endif
