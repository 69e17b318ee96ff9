/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The main loop of a VMM process (vmm/control.c) over its real socket, with the client of the
 * command line (tools/qmp-client.c), and a session that does what the test says.
 */
#include "qmp-vmm.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

static void stop_and_cont_pause_and_run_the_guest(void **state)
{
	(void)state;
	start();
	status_is("running");
	does("stop", NULL);
	event_is("STOP");
	status_is("paused");
	does("cont", NULL);
	event_is("RESUME");
	status_is("running");
	does("quit", NULL);
	event_is("SHUTDOWN");
	ended(0);
}

static void a_guest_that_went_away_is_freed_and_never_run_again(void **state)
{
	json_t *answer;

	(void)state;
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_state("PRECOPY");
	migration_is("active");
	fake_state("PROVING");
	migration_is("device");
	refuses("cont", NULL, "a migration is under way");
	fake_end(HF_OUTCOME_AWAY, 0, "");
	migration_is("completed");
	event_is("STOP");
	status_is("postmigrate");
	assert_int_equal(vmm.freed, 1);
	refuses("cont", NULL, "the guest is away: it was migrated to tcp:h:1");
	refuses("migrate", "{\"uri\":\"tcp:h:1\"}", "the guest is away");
	answer = call("query-migrate", NULL);
	assert_string_equal(query_text(answer, "status"), "completed");
	assert_string_equal(query_text(json_object_get(answer, "holdfast"), "outcome"), "away");
	assert_int_equal(json_integer_value(json_object_get(answer, "downtime")), 2);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(answer, "vfio"), "transferred")),
		77);
	json_decref(answer);
	does("quit", NULL);
	ended(0);
}

static void a_failed_migration_leaves_the_guest_and_the_reason_word_for_word(void **state)
{
	const char reason[] = "device 1 (sim1): RESUMING -> STOP: Input/output error (errno 5)";
	json_t *answer;

	(void)state;
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_end(HF_OUTCOME_HOME, HF_E_DEVICE_STATE, reason);
	migration_is("failed");
	status_is("running");
	answer = call("query-migrate", NULL);
	assert_string_equal(query_text(answer, "status"), "failed");
	assert_string_equal(query_text(answer, "error-desc"), reason);
	assert_string_equal(
		query_text(json_object_get(json_object_get(answer, "holdfast"), "error"), "name"),
		"DEVICE_STATE");
	json_decref(answer);
	does("migrate", "{\"uri\":\"tcp:h:1\"}"); /* and it may be tried again */
	migration_is("setup");
	fake_end(HF_OUTCOME_HOME, HF_E_CONNECT, "again");
	migration_is("failed");
	does("quit", NULL);
	ended(0);
}

static void in_doubt_the_guest_is_run_only_when_it_is_resolved(void **state)
{
	enum hf_resolve how;

	(void)state;
	start();
	refuses("resolve", NULL, "nothing is in doubt");
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_end(HF_OUTCOME_WAITING, HF_E_IN_DOUBT, "the target is silent");
	migration_is("device");
	event_is("STOP");
	status_is("paused");
	refuses("cont", NULL, "the target is silent");
	refuses("migrate", "{\"uri\":\"tcp:h:1\"}", "holdfast resolve");
	refuses("quit", NULL, "may be the only one");
	refuses("resolve", "{\"action\":\"guess\"}", "'guess' is none of");
	does("resolve", NULL);
	assert_int_equal(fake_resolved(&how), 1);
	assert_int_equal(how, HF_RESOLVE_ASK);
	migration_is("setup"); /* it goes on */
	refuses("cont", NULL, "under way");
	fake_end(HF_OUTCOME_WAITING, HF_E_IN_DOUBT, "silent still");
	migration_is("device");
	refuses("cont", NULL, "silent still");
	does("resolve", "{\"action\":\"take-back\"}");
	assert_int_equal(fake_resolved(&how), 2);
	assert_int_equal(how, HF_RESOLVE_TAKE_BACK);
	migration_is("setup");
	fake_end(HF_OUTCOME_HOME, HF_E_IN_DOUBT, "taken back");
	migration_is("failed");
	status_is("running");
	does("quit", NULL);
	ended(0);
}

static void a_guest_let_go_is_away(void **state)
{
	(void)state;
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_end(HF_OUTCOME_WAITING, HF_E_IN_DOUBT, "no ledger");
	migration_is("device");
	event_is("STOP");
	does("resolve", "{\"action\":\"let-go\"}");
	migration_is("setup");
	fake_end(HF_OUTCOME_AWAY, 0, "");
	migration_is("completed");
	status_is("postmigrate");
	refuses("resolve", NULL, "nothing is in doubt");
	does("quit", NULL);
	ended(0);
}

static void a_waiting_guest_is_given_up_only_by_force(void **state)
{
	(void)state;
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	fake_end(HF_OUTCOME_WAITING, HF_E_IN_DOUBT, "no answer");
	migration_is("setup");
	migration_is("device");
	refuses("quit", "{\"force\":false}", "no answer");
	does("quit", "{\"force\":true}");
	ended(0);
}

static void a_session_that_breaks_leaves_the_guest_unrun(void **state)
{
	pid_t child;
	int status = 0;

	(void)state;
	/* The process ends without freeing what the session may still use: so in a child. */
	child = fork();
	assert_int_not_equal(child, -1);
	if (child == 0) {
		start();
		does("migrate", "{\"uri\":\"tcp:h:1\"}");
		migration_is("setup");
		fake_break();
		migration_is("device");
		refuses("cont", NULL, "the session stopped working");
		does("quit", "{\"force\":true}");
		(void)pthread_join(vmm.thread, NULL);
		_exit(99); /* control_run() must not come back */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	vmm.config.guest->ops->free(vmm.config.guest);
	(void)unlink(vmm.path);
	assert_int_equal(rmdir(vmm.dir), 0);
}

static void cancel_takes_the_guest_back_or_says_that_it_is_too_late(void **state)
{
	(void)state;
	start();
	does("migrate_cancel", NULL); /* nothing to cancel is no failure, as in QEMU */
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_cancel_answer(HF_E_TOO_LATE);
	refuses("migrate_cancel", NULL, "Too late to cancel");
	migration_is("cancelling");
	fake_cancel_answer(0);
	does("migrate-cancel", NULL);
	migration_is("cancelled");
	status_is("running");
	does("quit", NULL);
	ended(0);
}

static void quit_waits_for_the_outcome_past_the_offer(void **state)
{
	(void)state;
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_cancel_answer(HF_E_TOO_LATE);
	does("quit", NULL);
	event_is("SHUTDOWN");
	migration_is("cancelling");
	status_is("running"); /* it is still there, and answers */
	refuses("migrate", "{\"uri\":\"tcp:h:1\"}", "a migration is under way");
	fake_end(HF_OUTCOME_AWAY, 0, "");
	ended(0);
	assert_non_null(strstr(vmm.said, "waiting for the outcome"));
}

static void an_awaited_guest_comes_and_runs(void **state)
{
	json_t *answer;

	(void)state;
	vmm.config.incoming = "tcp:127.0.0.1:0";
	start();
	status_is("inmigrate");
	refuses("cont", NULL, "not here yet");
	refuses("migrate-incoming", "{\"uri\":\"tcp:h:1\"}", "already listening");
	answer = call("query-migrate", NULL);
	assert_string_equal(query_text(json_object_get(answer, "holdfast"), "uri"),
			    "tcp:127.0.0.1:4444");
	json_decref(answer);
	fake_end(HF_OUTCOME_RUNNING, 0, "");
	migration_is("completed");
	event_is("RESUME");
	status_is("running");
	does("quit", NULL);
	ended(0);
}

static void a_failed_incoming_migration_ends_the_process_with_its_reason(void **state)
{
	(void)state;
	vmm.config.incoming = "tcp:127.0.0.1:0";
	start();
	fake_end(HF_OUTCOME_FAILED, HF_E_MISMATCH, "2 vCPUs here, 4 there");
	ended(1);
	assert_non_null(strstr(vmm.said, "2 vCPUs here, 4 there"));
}

static void a_guest_that_came_and_could_not_be_run_is_kept(void **state)
{
	(void)state;
	vmm.config.incoming = "tcp:127.0.0.1:0";
	start();
	fake_end(HF_OUTCOME_WAITING, HF_E_MACHINE_STATE, "KVM_RUN: no memory");
	migration_is("completed");
	status_is("paused");
	does("cont", NULL); /* it is ours, so it may be tried again */
	event_is("RESUME");
	status_is("running");
	does("quit", NULL);
	ended(0);
	assert_non_null(strstr(vmm.said, "KVM_RUN: no memory"));
}

static void incoming_can_be_deferred(void **state)
{
	struct fake_seen seen;

	(void)state;
	vmm.config.incoming = "defer";
	start();
	status_is("inmigrate");
	fake_new_fails(HF_E_INVALID, "uri: 'x:' is none");
	refuses("migrate-incoming", "{\"uri\":\"x:\"}", "uri: 'x:' is none");
	fake_new_fails(0, "");
	does("migrate-incoming",
	     "{\"uri\":\"unix:/p\",\"filters\":[\"fault:device.read_data:1\"]}");
	fake_seen(&seen);
	assert_int_equal(seen.config.role, HF_ROLE_TARGET);
	assert_string_equal(seen.uri, "unix:/p");
	assert_int_equal(seen.filter_count, 1);
	does("quit", NULL); /* takes the session down with it */
	ended(0);
}

static void parameters_reach_the_session_in_its_units(void **state)
{
	struct fake_seen seen;
	json_t *answer;

	(void)state;
	start();
	does("migrate-set-parameters",
	     "{\"downtime-limit\":40,\"max-bandwidth\":1000,\"deadline\":7,"
	     "\"on-device-lost\":\"resume\"}");
	does("migrate",
	     "{\"uri\":\"tcp:h:1\",\"channels\":4,\"max-cpu-throttle\":0,"
	     "\"filters\":[\"fault:a\",\"fault:b\"],\"peer-timeout\":9,\"detach\":true}");
	fake_seen(&seen);
	assert_int_equal(seen.config.role, HF_ROLE_SOURCE);
	assert_string_equal(seen.guest, "g1");
	assert_string_equal(seen.side, "host.1.x");
	assert_int_equal(seen.config.downtime_us_max, 40000);
	assert_int_equal(seen.config.bandwidth_bytes_max, 1000);
	assert_int_equal(seen.config.deadline_us, 7000000);
	assert_int_equal(seen.config.wait_us_max, 9000);
	assert_int_equal(seen.config.channels, 4);
	assert_int_equal(seen.config.throttle_max_percent, 100);
	assert_int_equal(seen.config.on_device_lost, HF_DEVICE_LOST_RESUME);
	assert_int_equal(seen.config.paused, 0);
	assert_int_equal(seen.filter_count, 2);
	answer = call("query-migrate-parameters", NULL); /* migrate's own were for once */
	assert_int_equal(json_integer_value(json_object_get(answer, "multifd-channels")), 2);
	assert_int_equal(json_integer_value(json_object_get(answer, "downtime-limit")), 40);
	assert_int_equal(json_array_size(json_object_get(answer, "filters")), 0);
	json_decref(answer);
	refuses("migrate-set-parameters", "{\"deadline\":8}", "parameters are fixed");
	does("quit", NULL);
	ended(0);
}

static void bad_parameters_are_refused_by_name_and_change_nothing(void **state)
{
	json_t *answer;

	(void)state;
	start();
	refuses("migrate-set-parameters", "{\"downtime-limit\":0}", "'downtime-limit' is 0");
	refuses("migrate-set-parameters", "{\"downtime-limit\":2000001}", "1 to 2000000");
	refuses("migrate-set-parameters", "{\"deadline\":5,\"multifd-channels\":17}",
		"'multifd-channels' is 17");
	refuses("migrate-set-parameters", "{\"on-device-lost\":\"run\"}", "'run'");
	refuses("migrate-set-parameters", "{\"throttle\":1}", "'throttle' is unexpected");
	refuses("migrate", "{\"channels\":2}", "'uri' is missing");
	refuses("migrate", "{\"uri\":\"tcp:h:1\",\"filters\":[\"delay\"]}", "filter delay");
	answer = call("query-migrate-parameters", NULL);
	assert_int_equal(json_integer_value(json_object_get(answer, "deadline")), 3600);
	json_decref(answer);
	answer = call("query-migrate", NULL);
	assert_string_equal(query_text(answer, "status"), "none");
	json_decref(answer);
	does("quit", NULL);
	ended(0);
}

static void traces_become_events_and_the_time_line(void **state)
{
	json_t *data, *answer, *entry;

	(void)state;
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_event(HF_TRACE_ROUND, "", 1, 256, 8, 3);
	fake_event(HF_TRACE_DEVICE_ARC, "sim0", 0, HF_DEVICE_RUNNING, HF_DEVICE_PRE_COPY_P2P, 9);
	fake_event(HF_TRACE_LEDGER, "offer", 0, HF_LEDGER_UNKNOWN, 3, 9);
	data = event_of(vmm.client, "VFIO_MIGRATION");
	assert_string_equal(query_text(data, "device-id"), "sim0");
	assert_string_equal(query_text(data, "device-state"), "pre-copy-p2p");
	json_decref(data);
	answer = call("query-timeline", NULL);
	assert_int_equal(json_array_size(answer), 3);
	entry = json_array_get(answer, 0);
	assert_string_equal(query_text(entry, "event"), "ROUND");
	assert_string_equal(
		query_text(entry, "text"),
		"round 1, of 3 dirty pages; sent in all: 256 pages (1.0 MiB) and 8 zero "
		"pages");
	json_decref(answer);
	answer = call("query-timeline", "{\"first\":3}");
	assert_int_equal(json_array_size(answer), 0);
	json_decref(answer);
	answer = call("query-migrate", NULL);
	entry = json_object_get(json_object_get(answer, "holdfast"), "ledger");
	assert_string_equal(query_text(entry, "operation"), "offer");
	assert_string_equal(query_text(entry, "answer"), "unknown");
	json_decref(answer);
	does("quit", NULL);
	ended(0);
}

static void the_guests_power_off_ends_the_process_with_its_status(void **state)
{
	(void)state;
	start();
	fake_guest_event(vmm.config.guest, GUEST_EVENT_SHUTDOWN);
	event_is("SHUTDOWN");
	ended(7);
}

static void a_crashed_guest_stays_to_be_looked_at(void **state)
{
	(void)state;
	(void)snprintf(vmm.config.guest->crash_text, HF_ERROR_TEXT_MAX, "triple fault");
	start();
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH);
	event_is("GUEST_PANICKED");
	event_is("STOP");
	status_is("guest-panicked");
	refuses("cont", NULL, "triple fault");
	refuses("migrate", "{\"uri\":\"tcp:h:1\"}", "triple fault");
	does("quit", NULL);
	ended(0);
}

static void every_client_gets_events_and_a_bad_one_harms_nobody(void **state)
{
	struct qmp_client *other;

	(void)state;
	start();
	other = connect_client();
	assert_int_equal(write(qmp_client_fd(other), "}{]\n", 4), 4);
	does("stop", NULL);
	event_is("STOP");
	json_decref(event_of(other, "STOP")); /* the refusals before it are answers, not events */
	does("quit", NULL);
	ended(0);
	(void)qmp_client_close(other);
}

static void a_second_process_does_not_take_the_socket(void **state)
{
	struct control_config second;
	int freed;

	(void)state;
	start();
	second = vmm.config;
	second.guest = fake_guest(&freed);
	assert_int_equal(control_run(&second), 1);
	assert_int_equal(freed, 1);
	assert_non_null(strstr(vmm.said, "another process listens there"));
	does("query-status", NULL); /* the first is still reached */
	does("quit", NULL);
	ended(0);
}

static void a_guest_that_the_ledger_refuses_is_not_booted(void **state)
{
	(void)state;
	fake_register_fails(HF_E_LEDGER_REFUSED, "g1 was handed to host.9");
	assert_int_equal(pthread_create(&vmm.thread, NULL, run, NULL), 0);
	ended(1);
	assert_non_null(strstr(vmm.said, "g1 was handed to host.9"));
}

static void a_signal_quits_but_not_in_doubt(void **state)
{
	sigset_t set;

	(void)state;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	vmm.config.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_end(HF_OUTCOME_WAITING, HF_E_IN_DOUBT, "no answer");
	migration_is("device");
	event_is("STOP");
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	refuses("cont", NULL, "no answer"); /* still here */
	does("quit", "{\"force\":true}");
	ended(0);
	(void)close(vmm.config.signal_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stop_and_cont_pause_and_run_the_guest),
		TEST(a_guest_that_went_away_is_freed_and_never_run_again),
		TEST(a_failed_migration_leaves_the_guest_and_the_reason_word_for_word),
		TEST(in_doubt_the_guest_is_run_only_when_it_is_resolved),
		TEST(a_guest_let_go_is_away),
		TEST(a_waiting_guest_is_given_up_only_by_force),
		TEST(a_session_that_breaks_leaves_the_guest_unrun),
		TEST(cancel_takes_the_guest_back_or_says_that_it_is_too_late),
		TEST(quit_waits_for_the_outcome_past_the_offer),
		TEST(an_awaited_guest_comes_and_runs),
		TEST(a_failed_incoming_migration_ends_the_process_with_its_reason),
		TEST(a_guest_that_came_and_could_not_be_run_is_kept),
		TEST(incoming_can_be_deferred),
		TEST(parameters_reach_the_session_in_its_units),
		TEST(bad_parameters_are_refused_by_name_and_change_nothing),
		TEST(traces_become_events_and_the_time_line),
		TEST(the_guests_power_off_ends_the_process_with_its_status),
		TEST(a_crashed_guest_stays_to_be_looked_at),
		TEST(every_client_gets_events_and_a_bad_one_harms_nobody),
		TEST(a_second_process_does_not_take_the_socket),
		TEST(a_guest_that_the_ledger_refuses_is_not_booted),
		TEST(a_signal_quits_but_not_in_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
