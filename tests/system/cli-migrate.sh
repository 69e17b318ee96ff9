#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The commands on a running guest: status, stop, cont, migrate with its outcomes and exit statuses,
# cancel, quit. With the thread guest, so that it needs no KVM.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

machine='--guest thread --name g --memory 64M --vcpus 2 --device sim:state=1M --device sim:state=1M'

# target NAME ARGS...: one that awaits the guest; its URI is in $uri.
target()
{
	name=$1
	shift
	# shellcheck disable=SC2086 # words
	start_vm_nowait "$name" $machine --incoming tcp:127.0.0.1:0 "$@"
	# Said by itself: nobody has asked this process anything yet.
	uri=$("$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line "$tmp/$name.log" 'listening at tcp:' 30 |
		sed 's/.*listening at //')
	[ -n "$uri" ] || fail "$name does not say where it listens"
}

# shellcheck disable=SC2086 # words
start_vm source $machine --append 'rate=2000'
source=$tmp/source.qmp
passes_after "$tmp/source.serial" 0 1 60

# ---- a running guest
succeeds "$HOLDFAST" status "$source"
file_has "$tmp/out" '^guest +g$'
file_has "$tmp/out" '^status +running$'
file_has "$tmp/out" '^device 1 +sim1,'
file_has "$tmp/out" '^ledger +file:.*: home,'
succeeds "$HOLDFAST" stop "$source"
equals 'status after stop' "$(vm_status source)" paused
succeeds "$HOLDFAST" cont "$source"
equals 'status after cont' "$(vm_status source)" running
succeeds "$HOLDFAST" cancel "$source"

# ---- nobody listens
status=0
"$HOLDFAST" migrate "$source" "unix:$tmp/nobody" >"$tmp/out" 2>"$tmp/err" || status=$?
equals 'status of a migration to nobody' "$status" 1
file_has "$tmp/err" 'nobody'
file_has "$tmp/err" 'The guest is here, as it was before'
equals 'status after it' "$(vm_status source)" running

# ---- the target's device refuses
target refusing --filter 'fault:device[1].set_state=STOP:1:EIO'
status=0
"$HOLDFAST" migrate "$source" "$uri" --json >"$tmp/out" 2>"$tmp/err" || status=$?
equals 'status of a refused migration' "$status" 1
tail -n 1 "$tmp/out" >"$tmp/last"
equals outcome "$(json .outcome "$tmp/last")" home
equals 'the error' "$(json .error.name "$tmp/last")" DEVICE_STATE
equals 'its class' "$(json .error.class "$tmp/last")" device
equals 'its cause' "$(json .error.cause "$tmp/last")" 5
matches 'its text' "$(json .error.text "$tmp/last")" 'sim1.*RESUMING -> STOP.*Input/output error'
status=0
vm_wait refusing 20 || status=$?
equals "the target's status" "$status" 1
file_has "$tmp/refusing.log" 'incoming migration failed: .*sim1'
succeeds "$HOLDFAST" status --json "$source"
equals 'running again' "$(json .status.status "$tmp/out")" running
matches 'the reason word for word' "$(json .migration.error-desc "$tmp/out")" 'RESUMING -> STOP'

# ---- a target that is not alike
# shellcheck disable=SC2086 # words
start_vm unlike $machine --device sim --incoming "unix:$tmp/unlike.sock"
qmp_wait unlike 20 .holdfast.listening '[Tt]rue' query-migrate >"$tmp/listening"
status=0
"$HOLDFAST" migrate "$source" "unix:$tmp/unlike.sock" >"$tmp/out" 2>"$tmp/err" || status=$?
equals 'status of a migration to an unlike machine' "$status" 1
file_has "$tmp/err" 'device'
file_has "$tmp/err" 'MISMATCH|REFUSED|PEER_FAILED'

# ---- away, and what is left of it at the source
lines=$(lines_now "$tmp/source.serial")
passes_after "$tmp/source.serial" "$lines" 2 60
target away
succeeds "$HOLDFAST" migrate "$source" "$uri" --channels 3 --downtime 500
file_has "$tmp/out" 'The guest is away: it runs at tcp:127.0.0.1:'
equals 'the source' "$(vm_status source)" postmigrate
refuses "$HOLDFAST" cont "$source"
file_has "$tmp/err" 'the guest is away'
succeeds "$HOLDFAST" status "$source"
file_has "$tmp/out" '^status +postmigrate$'
passes_after "$tmp/away.serial" 0 2 60
verdict_clean "$tmp/away.serial"

# ---- a paused guest arrives paused
succeeds "$HOLDFAST" stop "$tmp/away.qmp"
target paused
succeeds "$HOLDFAST" migrate "$tmp/away.qmp" "$uri" --json
equals outcome "$(tail -n 1 "$tmp/out" | json .outcome)" away
qmp_wait paused 20 .status paused query-status >"$tmp/arrived"
succeeds "$HOLDFAST" cont "$tmp/paused.qmp"
lines=$(lines_now "$tmp/paused.serial")
passes_after "$tmp/paused.serial" "$lines" 2 60
verdict_clean "$tmp/paused.serial"

succeeds "$HOLDFAST" quit "$source"
vm_wait source 20 || fail "the source's status: $?"
succeeds "$HOLDFAST" quit "$tmp/paused.qmp"
vm_wait paused 20 || fail "the last target's status: $?"
