/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handover, as docs/architecture.md tells it. Written from that page and not from the tables in
 * lib/core: where the two disagree, one of them is wrong. Checked by models/check.sh with spin.
 *
 * Both sides, the ledger's record with its compare-and-swap, and a bad environment: the connection
 * is cut for good, a request to the ledger is lost, or done without an answer, or arrives after it
 * was given up, what a side does fails, a side waits too long, either side dies. A source that dies
 * with a guest that stood still comes back, once for each death, with what it kept, or does not.
 * An operator takes the guest back, rightly or wrongly, whenever the source waits. Failures are
 * counted (FAULTS), so that they cease and "settles" can be asked.
 *
 * With -DNAIVE the source, in doubt, reads the ledger and believes it, instead of revoking. With
 * -DOLD it does not throw away what it has kept before the guest runs again.
 */

#ifndef FAULTS
#define FAULTS 4
#endif

mtype = { HOME, OFFERED, CLAIMED, AWAY };             /* the record */
mtype = { HELLO, ACCEPT, END, LOADED, GO, STARTED, RETURNED, ABORT }; /* the stream */
mtype = { DONE, REFUSED, UNKNOWN };                   /* the ledger's answers */

mtype record = HOME;
byte revision = 0;      /* counts writes; the swaps compare it */

/* A request that is under way: one that was given up (late) may still arrive. */
typedef request { bool there; bool late; mtype to; byte revision; mtype answer; }
request source_request, target_request, source_late, target_late;

chan to_target = [3] of { mtype };
chan to_source = [3] of { mtype };
bool cut = false;       /* what is in the channels may still be read, or not */

byte faults = 0;
bool source_runs = true, target_runs = false, target_ran = false;
bool source_freed = false, source_waits = false, source_ended = false;
bool target_ended = false, target_dead = false;
bool source_dead = false, source_ran_on = false; /* it ran again after it stood still */
bool source_ran_old = false; /* what was kept was run, and the guest had run since */
bool kept = false;      /* a later process of the source finds the guest */

#define MAY_FAIL (faults < FAULTS)
#define FAULT faults++

#define SEND(channel, what) if :: !cut -> channel!what :: cut fi

/* ---- the ledger ------------------------------------------------------------------------------ */

inline swap(r)
{
	if
	:: r.revision == revision -> record = r.to; revision++; r.answer = DONE
	:: else -> r.answer = REFUSED
	fi
}

/* Serves what is under way, in any order. Late requests arrive, or do not: they are skipped. */
active proctype ledger()
{
end:	do
	:: atomic { source_request.there && source_request.answer == 0 -> swap(source_request) }
	:: atomic { target_request.there && target_request.answer == 0 -> swap(target_request) }
	:: atomic { source_late.there -> swap(source_late); source_late.there = false }
	:: atomic { target_late.there -> swap(target_late); target_late.there = false }
	:: atomic { source_late.there -> source_late.there = false }
	:: atomic { target_late.there -> target_late.there = false }
	od
}

/*
 * One swap to a new state of the record as it was read: r.revision is set. The answer may stay away
 * whether or not the request was, or will be, served.
 */
inline ask(r, l, state, ret_answer)
{
	atomic { r.to = state; r.answer = 0; r.there = true }
	if
	:: atomic { r.answer != 0 -> ret_answer = r.answer; r.there = false }
	:: atomic { MAY_FAIL -> FAULT; ret_answer = UNKNOWN; r.there = false;
		if
		:: r.answer == 0 -> l.revision = r.revision; l.to = r.to; l.there = true
		:: else
		fi }
	fi
}

/* ---- the source ------------------------------------------------------------------------------ */

/* Its request may have left, and arrives or not. */
inline source_dies()
{
	if
	:: source_request.there && source_request.answer == 0 ->
		source_late.revision = source_request.revision;
		source_late.to = source_request.to; source_late.there = true
	:: else
	fi;
	source_request.there = false;
	source_runs = false; cut = true
}

#define MAY_BE_KILLED :: atomic { MAY_FAIL -> FAULT; source_dies() }; goto killed

active proctype source()
{
	mtype answer, seen;

	/* HELLO to DRAINING: nobody else can own the guest; whatever fails leads home. */
	SEND(to_target, HELLO);
	if
	:: to_source?ACCEPT
	:: to_source?ABORT -> goto home
	:: cut -> goto home
	:: atomic { MAY_FAIL -> FAULT }; goto abort
	fi;
	source_runs = false; /* quiesce */
	if
	:: true
	:: atomic { MAY_FAIL -> FAULT }; goto abort
	:: cut -> goto home
	fi;
	kept = true;
	SEND(to_target, END);
	if
	:: to_source?LOADED
	:: to_source?ABORT -> goto home
	:: cut -> goto home
	:: atomic { MAY_FAIL -> FAULT }; goto abort
	MAY_BE_KILLED
	fi;

	/* The offer. Unknown: it is revoked, since it may yet arrive. */
	source_request.revision = revision;
	ask(source_request, source_late, OFFERED, answer);
	if
	:: answer == DONE
	:: else -> goto revoke
	MAY_BE_KILLED
	fi;
	SEND(to_target, GO);

committing:
	if
	:: to_source?STARTED -> goto away
	:: to_source?RETURNED -> goto home
	:: to_source?ABORT -> goto revoke
	:: cut -> goto revoke
	:: atomic { MAY_FAIL -> FAULT }; goto revoke
	MAY_BE_KILLED
	fi;

	/* In doubt the ledger is asked: revoke and claim are swaps on the same record. */
revoke:
	atomic { seen = record; source_request.revision = revision }
#ifdef NAIVE
	if
	:: seen == HOME || seen == OFFERED -> goto home
	:: seen == AWAY -> goto away
	:: seen == CLAIMED -> goto claimed
	fi;
#endif
	if
	:: seen == AWAY -> goto away
	:: seen == CLAIMED -> goto claimed
	:: seen == OFFERED || seen == HOME -> /* HOME too: so that a late offer fails */
		ask(source_request, source_late, HOME, answer);
		if
		:: answer == DONE -> goto home
		:: answer == REFUSED -> goto revoke
		:: answer == UNKNOWN -> goto revoke
		:: atomic { answer == UNKNOWN && MAY_FAIL -> FAULT }; goto wait
		MAY_BE_KILLED
		fi
	fi;

claimed:
	if
	:: to_source?STARTED -> goto away
	:: to_source?RETURNED -> goto home
	:: record == AWAY -> goto away
	:: record == HOME -> goto home
	:: target_dead || target_ended -> goto wait
	:: atomic { MAY_FAIL -> FAULT }; goto wait
	MAY_BE_KILLED
	fi;

	/* The honest case: an operator decides, by a swap that a late started then loses. */
wait:	source_waits = true;
operator:
	atomic { seen = record; source_request.revision = revision }
	if
	:: seen == AWAY -> goto done
	:: else ->
		ask(source_request, source_late, HOME, answer);
		if
		:: answer == DONE -> goto home
		:: else -> goto operator
		MAY_BE_KILLED
		fi
	fi;

	/* Another process finds what was kept, or there is none: the guest died with the source. */
killed:	if
	:: kept -> goto revoke
	:: atomic { !kept || MAY_FAIL -> source_dead = true }; goto done
	fi;

abort:	SEND(to_target, ABORT);
home:	if
	:: true
	MAY_BE_KILLED /* before what is kept is thrown away: it is found again */
	fi;
#ifndef OLD
	kept = false;
#endif
	if
	:: true
	MAY_BE_KILLED
	fi;
	atomic {
		source_runs = true;
		source_ran_old = source_ran_on;
		source_ran_on = kept
	}
	if
	:: true
	MAY_BE_KILLED
	fi;
	goto done;
away:	source_freed = true;
done:	cut = true;
	source_ended = true
}

/* ---- the target ------------------------------------------------------------------------------ */

#define MAY_DIE :: atomic { MAY_FAIL -> FAULT; target_dead = true }; goto done

active proctype target()
{
	mtype answer, seen;

	if
	:: to_target?HELLO
	:: cut -> goto failed
	:: MAY_FAIL -> FAULT; goto abort
	fi;
	SEND(to_source, ACCEPT);
	if
	:: to_target?END
	:: to_target?ABORT -> goto failed
	:: cut -> goto failed
	:: atomic { MAY_FAIL -> FAULT }; goto abort
	MAY_DIE
	fi;
	/* VERIFYING: the proof. */
	if
	:: SEND(to_source, LOADED)
	:: atomic { MAY_FAIL -> FAULT }; goto abort
	fi;
	if
	:: to_target?GO
	:: to_target?ABORT -> goto failed
	:: cut -> goto failed
	:: atomic { MAY_FAIL -> FAULT }; goto abort
	MAY_DIE
	fi;

claim:	atomic { seen = record; target_request.revision = revision }
	if
	:: seen == HOME -> goto failed
	:: seen == CLAIMED /* an earlier attempt's */
	:: seen == OFFERED ->
		ask(target_request, target_late, CLAIMED, answer);
		if
		:: answer == DONE
		:: else -> goto claim
		fi
	fi;

	/* STARTING: devices run; no vCPU has. */
	if
	:: true
	:: atomic { MAY_FAIL -> FAULT }; goto giving
	MAY_DIE
	fi;

started:
	atomic { seen = record; target_request.revision = revision }
	if
	:: seen == HOME -> goto failed /* an operator took it back */
	:: seen == AWAY /* an earlier attempt's */
	:: seen == CLAIMED ->
		ask(target_request, target_late, AWAY, answer);
		if
		:: answer == DONE
		:: else -> goto started
		fi
	fi;
	atomic { target_runs = true; target_ran = true }
	SEND(to_source, STARTED);
	goto done;

giving:	atomic { seen = record; target_request.revision = revision }
	if
	:: seen == HOME
	:: else ->
		ask(target_request, target_late, HOME, answer);
		if
		:: answer == DONE
		:: else -> goto giving
		fi
	fi;
	SEND(to_source, RETURNED);
	goto failed;

abort:	SEND(to_source, ABORT);
failed:	skip;
done:	cut = true;
	target_ended = true
}

active proctype environment()
{
end:	if
	:: atomic { MAY_FAIL -> FAULT; cut = true }
	fi
}

/* P1: not twice at the same time, and not again from an old state. */
ltl one_runner { [] !(source_runs && target_runs) }
ltl no_old_run { [] !(source_runs && (target_ran || source_ran_old)) }
/* The source frees nothing of a guest that was not started elsewhere. */
ltl commit_before_free { [] (source_freed -> record == AWAY) }
/* The target runs nothing that the ledger does not say is its own. */
ltl owner_runs { [] (target_runs -> record == AWAY) }
/* When failures cease, exactly one side runs; or the guest's owner died with it. */
ltl settles { <> [] (source_ended && target_ended &&
		     ((source_runs && !target_runs) || (!source_runs && target_runs) ||
		      (target_dead && record == AWAY) || source_dead)) }
