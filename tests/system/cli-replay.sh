#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Recordings of shipped processes: a handover that fails is told by both sides as one story, a
# source that is killed in the middle has left its story up to there, and what is no recording is
# refused.
# With the thread guest, so that it needs no KVM.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

machine='--guest thread --memory 32M --vcpus 1 --device sim:state=64K'
mkdir "$tmp/records"

# recorded NAME ARGS...: a VM whose migrations are recorded.
recorded()
{
	# shellcheck disable=SC2086 # words
	start_vm "$@" $machine --name g --record "$tmp/records"
}

target()
{
	name=$1
	shift
	recorded "$name" --incoming "unix:$tmp/$name.sock" "$@"
	qmp_wait "$name" 20 .holdfast.listening '[Tt]rue' query-migrate >"$tmp/listening"
}

# The line of the last decision.
last_decision()
{
	grep -E ' -> ' "$1" | grep -Ev 'DEVICE_ARC|DEVICE_FAIL|FAILED' | tail -n 1
}

recorded source --append 'rate=500'
passes_after "$tmp/source.serial" 0 1 60

# ---- a target's device refuses: both sides' story
target refusing --filter 'fault:device[0].set_state=STOP:1:EIO'
refuses "$HOLDFAST" migrate "$tmp/source.qmp" "unix:$tmp/refusing.sock"
vm_wait refusing 20 || true # its status is another test's
source=$tmp/records/g-source-1.hfrec
target=$tmp/records/g-target-1.hfrec
succeeds "$HOLDFAST" replay "$source" --with "$target"
file_has "$tmp/out" '^source: replayed [1-9][0-9]* decisions: all as recorded$'
file_has "$tmp/out" '^target: replayed [1-9][0-9]* decisions: all as recorded$'
file_has "$tmp/out" 'target  VERIFYING: FAIL -> DISCARDING; SEND_ABORT'
file_has "$tmp/out" 'source    FAILED DEVICE_STATE: .*sim0.*RESUMING -> STOP.*Input/output error'
file_has "$tmp/out" 'source  EXPLAINING: LEDGER_DONE -> HOME; END'
succeeds "$HOLDFAST" replay "$source" --json
head -n 1 "$tmp/out" >"$tmp/first"
equals 'its guest' "$(json .guest "$tmp/first")" g
equals 'its role' "$(json .role "$tmp/first")" source
tail -n 1 "$tmp/out" >"$tmp/last"
equals 'the same decisions' "$(json .equal "$tmp/last")" true

# ---- the source is killed between its offer and the ledger's answer
qmp source migrate-set-parameters 'filters=["delay:ledger.swap=OFFERED:20000"]' >"$tmp/set"
target waiting
succeeds "$HOLDFAST" migrate "$tmp/source.qmp" "unix:$tmp/waiting.sock" --no-wait
qmp_wait source 60 .holdfast.state OFFERING query-migrate >"$tmp/offering"
vm_kill source
source=$tmp/records/g-source-2.hfrec
succeeds "$HOLDFAST" replay "$source"
matches 'the last decision' "$(last_decision "$tmp/out")" \
	'PROVING: LOADED -> OFFERING; LEDGER_OFFER$'
file_lacks "$tmp/out" 'OUTCOME|torn'
file_has "$tmp/out" '^source: replayed [1-9][0-9]* decisions: all as recorded$'
succeeds "$HOLDFAST" replay "$source" --with "$tmp/records/g-target-2.hfrec"
file_has "$tmp/out" 'target  SETTING: MACHINE_DONE -> LOADED; SEND_LOADED'

# ---- what is not to be had
refuses "$HOLDFAST" replay "$source" --with "$target"
file_has "$tmp/err" 'not of one migration'
refuses "$HOLDFAST" replay "$source" --with "$source"
file_has "$tmp/err" 'one of each side'
refuses "$HOLDFAST" replay "$tmp/nothing"
file_has "$tmp/err" 'nothing.*No such file'
refuses "$HOLDFAST" replay "$HF_TESTS_SYSTEM/functions.sh"
file_has "$tmp/err" 'offset 0, magic'
head -c 100000 "$source" >"$tmp/short"
refuses "$HOLDFAST" replay "$tmp/short"
file_has "$tmp/err" 'offset 100000: the file ends'
cp "$source" "$tmp/damaged"
printf 'x' | dd of="$tmp/damaged" bs=1 seek=4300 conv=notrunc 2>/dev/null
refuses "$HOLDFAST" replay "$tmp/damaged"
file_has "$tmp/err" 'offset 4600, checksum'

# ---- without the folder, nothing begins and the guest runs on
# shellcheck disable=SC2086 # words
start_vm unrecorded $machine --name h --record "$tmp/no-folder"
passes_after "$tmp/unrecorded.serial" 0 1 60
refuses "$HOLDFAST" migrate "$tmp/unrecorded.qmp" "unix:$tmp/waiting.sock"
file_has "$tmp/err" 'record: .*no-folder/h-source-1.hfrec: No such file'
equals 'the guest' "$(vm_status unrecorded)" running
