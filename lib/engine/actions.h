/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the engine's files offer each other. Everything is called by the loop thread; what blocks is
 * in jobs that these functions submit.
 */
#ifndef ENGINE_ACTIONS_H
#define ENGINE_ACTIONS_H

#include "engine/session.h"

/* source.c, target.c: one step of the state machine, and its actions */
void source_apply(struct session *session, enum source_event event);
void target_apply(struct session *session, enum target_event event);
void target_maybe_ended(struct session *session);
void source_control_record(struct session *session);
void target_control_record(struct session *session);

/* control.c: the control connection */
void control_connect(struct session *session); /* source; then ATTACH when ACCEPT has come */
void control_attach(struct session *session);
void control_greet_back(struct session *session); /* target: our stream header */
void control_open(struct session *session, struct hf_channel channel);
int control_send_header(struct session *session, struct hf_error *err); /* on the link worker */
int control_send_raw(struct session *session, const void *bytes, size_t length,
		     struct hf_error *err); /* on the link worker */
void control_send(struct session *session, const void *record, int length);
void control_send_abort(struct session *session);
void control_send_end(struct session *session);
void control_send_state(struct session *session); /* the arena, within session->main */
void control_readable(struct session *session);
void control_breach(struct session *session, const struct hf_error *err);
void control_keepalive(struct session *session);
void control_cut(struct session *session); /* bulk connections; nothing hangs on them then */
void control_shutdown(struct session *session); /* after what is in the mailbox was sent */
bool control_lingers(const struct session *session); /* its last words may still be under way */
void control_drain(struct session *session); /* something came, or the end, while it lingers */
int control_capture(struct session *session, struct hf_channel *channel, const char *name,
		    struct hf_error *err);

/* accept.c: the target's listener */
void accept_listen(struct session *session);
void accept_ready(struct session *session);
void pending_ready(struct session *session, uint32_t index);
void pending_expire(struct session *session, uint64_t now_ns);
void pending_drop_all(struct session *session);

/* precopy.c: the source's rounds */
int precopy_init(struct session *session, struct hf_error *err);
void precopy_done(struct session *session);
void precopy_start(struct session *session);
void precopy_drain(struct session *session);
void precopy_untrack(struct session *session);
void precopy_primed(struct session *session);
void precopy_poll(struct session *session);
const char *precopy_waits_for(const struct session *session);

/* send.c: the source's bulk connections */
void send_round(struct session *session, struct phase *phase);
void send_channel_end(struct session *session, struct phase *phase);
int send_record(struct session *session, struct bulk *bulk, struct iovec *iov, uint32_t count,
		uint32_t covered, uint32_t padding, uint64_t bytes,
		struct hf_error *err); /* on a worker */
int send_attach(struct session *session, struct bulk *bulk, uint32_t index, struct hf_error *err);

/* device.c: arcs of all devices at once */
void devices_ask(struct session *session, enum device_goal goal, void (*then)(struct session *));
void devices_undo(struct session *session, enum device_goal goal, void (*then)(struct session *));
void devices_reset(struct session *session, void (*then)(struct session *));
void devices_halt(struct session *session, void (*then)(struct session *));

/* save.c: the devices' streams at the source */
void save_pass(struct session *session, uint32_t index);
void save_size(struct session *session, struct phase *phase);
void save_final(struct session *session, struct phase *phase);
void save_sync(struct session *session, struct phase *phase);
void save_track(struct session *session, struct phase *phase, bool on);

/* load.c: the devices' streams at the target */
int load_init(struct session *session, struct hf_error *err);
void load_done(struct session *session);
void load_start(struct session *session);
void load_close(struct session *session);
int load_push(struct session *session, uint32_t device, const struct device_chunk *chunk,
	      struct bulk *bulk, struct hf_error *err); /* on a bulk worker */

/* recv.c: the target's bulk connections */
int recv_init(struct session *session, struct hf_error *err);
void recv_done(struct session *session);
void recv_start(struct session *session, uint32_t index);
void recv_break(struct session *session);

/* machine.c: jobs of the machine's worker */
void machine_stop(struct session *session, void (*then)(struct session *));
void machine_run(struct session *session, void (*then)(struct session *));
void machine_check(struct session *session, struct phase *phase);
void machine_save(struct session *session, struct phase *phase);
void machine_load(struct session *session, void (*then)(struct session *));
void machine_throttle(struct session *session, uint32_t percent);

/* filters.c: filters in front of what the session uses; they never close the caller's */
int filters_init(struct session *session, struct hf_error *err);
void filters_done(struct session *session);

/* config.c */
int config_take(struct session *session, const struct hf_config *config, struct hf_error *err);

/* ledger.c: operations on the ledger */
void ledger_submit(struct session *session, enum ledger_op op);
/* The state that asked was left by another event: what the ledger still says answers nothing. */
void ledger_forget(struct session *session);
void ledger_submit_read(struct session *session);
void ledger_probe(struct session *session, struct phase *phase);
void ledger_explain(struct session *session);
void ledger_check_time(struct session *session, uint64_t now_ns);

/* keep.c: the stopped guest, kept for a later process of this host */
int keep_init(struct session *session, struct hf_error *err);
void keep_done(struct session *session);
int keep_control(struct session *session, const void *bytes, size_t length,
		 struct hf_error *err); /* on the link worker */
int keep_device(struct session *session, uint32_t device, const struct iovec *iov, uint32_t count,
		struct hf_error *err); /* on the device's worker */
int keep_complete(struct session *session, const void *end, size_t length,
		  struct hf_error *err); /* on the link worker */
bool keep_is_whole(struct session *session); /* does the folder hold the guest? Any thread */
void keep_drop_then(struct session *session, void (*then)(struct session *));
#define KEEP_BOOT "boot" /* the boot of the host in which it is kept */
#define KEEP_BOOT_BYTES 36u
int keep_boot_id(char ret_id[KEEP_BOOT_BYTES], struct hf_error *err);
int keep_drop(struct session *session, struct hf_error *err); /* on a worker */
void keep_end(struct session *session);

/* keep-load.c: what an earlier process has kept */
int keep_load_init(struct session *session, struct hf_error *err);
void keep_restore(struct session *session, void (*then)(struct session *));

/* state.c: records of machine state, collected in the arena */
int state_take(struct session *session, struct hf_error *err);

/* greet.c: HELLO and ACCEPT */
int greet_send(struct session *session, struct hf_error *err); /* on the link worker */
int greet_check(struct session *session, struct hf_error *err);
void greet_send_accept(struct session *session);

/* progress.c */
uint64_t progress_us(uint64_t begin_ns, uint64_t end_ns); /* 0: one of them has not come */
void progress_update(struct session *session);

#endif
