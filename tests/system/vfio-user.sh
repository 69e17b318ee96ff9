#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Devices of other processes: a guest with a served device moves there and back, each time to
# another server's device; one whose target's server is killed before the claim stays where it is,
# and says why; so does one whose own server is gone. With the thread guest, and where there is KVM
# with the checker guest as well.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

# serve NAME ARGS...: a server of one device, at $tmp/NAME.dev. Its process is in $server_NAME.
serve()
{
	name_=$1
	shift
	"$HOLDFAST" device serve --socket "$tmp/$name_.dev" "$@" >/dev/null 2>"$tmp/$name_.log" &
	eval "server_$name_=$!"
	cleanup_fn end_server "$!"
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line "$tmp/$name_.log" 'serving' 30 >/dev/null ||
		fail "server $name_ does not serve"
}

# end_server PID: if it is there still.
end_server()
{
	kill -KILL "$1" 2>/dev/null || true
}

# begin SERVER ARGS...: the source, with the device of that server.
begin()
{
	name_=$1
	shift
	# shellcheck disable=SC2086 # words
	start_vm source $machine --device "vfio-user=$tmp/$name_.dev" "$@"
	passes_after "$tmp/source.serial" 0 1 60
}

# target NAME SERVER: one that awaits the guest, with the device of that server; its URI is in $uri.
target()
{
	# shellcheck disable=SC2086 # words
	start_vm_nowait "$1" $machine --device "vfio-user=$tmp/$2.dev" --incoming "unix:$tmp/$1.in"
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line "$tmp/$1.log" 'listening at' 30 >/dev/null ||
		fail "$1 does not listen"
	uri=unix:$tmp/$1.in
}

# there_and_back SERVER OTHER: from source to there and back, with clean passes at each side.
there_and_back()
{
	begin "$1"
	target there "$2"
	succeeds "$HOLDFAST" migrate "$tmp/source.qmp" "$uri" --downtime 1000
	file_has "$tmp/out" 'The guest is away'
	passes_after "$tmp/there.serial" 0 2 60
	succeeds "$HOLDFAST" quit "$tmp/source.qmp"
	vm_wait source 20 || fail "the source's status: $?"

	target back "$1"
	succeeds "$HOLDFAST" migrate "$tmp/there.qmp" "$uri" --downtime 1000
	passes_after "$tmp/back.serial" 0 2 60
	verdict_clean "$tmp/there.serial"
	verdict_clean "$tmp/back.serial"
	succeeds "$HOLDFAST" quit "$tmp/there.qmp"
	vm_wait there 20 || fail "the status of there: $?"
	succeeds "$HOLDFAST" quit "$tmp/back.qmp"
	vm_wait back 20 || fail "the status of back: $?"
}

# ---- serving: usage, several devices, the end

x="--socket $tmp/x"
for words in 'serve' 'serve sim' "serve $x sim sim" "serve $x --socket $tmp/y sim" \
	"serve $x --filter nonsense sim" "serve --json $x sim"; do
	status=0
	# shellcheck disable=SC2086 # words
	timeout 20 "$HOLDFAST" device $words >"$tmp/out" 2>"$tmp/err" || status=$?
	equals "status of 'device $words'" "$status" 2
done
status=0
"$HOLDFAST" device serve --socket "$tmp/x" sim:state=3 >"$tmp/out" 2>"$tmp/err" || status=$?
equals 'status with a device that is none' "$status" 4
file_has "$tmp/err" 'state cannot be "3"'
"$HOLDFAST" device serve --socket "$tmp/x" sim:state=1M --socket "$tmp/y" sim:flags=1,logging=off \
	>/dev/null 2>"$tmp/two.log" &
two=$!
cleanup_fn end_server "$two"
"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line "$tmp/two.log" "serving sim:flags.* at $tmp/y" 30 \
	>/dev/null
succeeds "$HOLDFAST" device info "vfio-user=$tmp/x"
file_has "$tmp/out" '^model +sim-1/basic/1048576$'
file_has "$tmp/out" '^has +DMA logging$'
succeeds "$HOLDFAST" device info "vfio-user:$tmp/y,timeout=20"
file_has "$tmp/out" '^lacks +P2P'
file_has "$tmp/out" '^lacks +PRE_COPY'
file_has "$tmp/out" '^lacks +DMA logging: all that it may write'
succeeds "$HOLDFAST" device info --json "vfio-user:$tmp/y"
matches 'dirty-all' "$(json .dirty-all "$tmp/out")" '[Tt]rue'
refuses "$HOLDFAST" device serve --socket "$tmp/y" sim
file_has "$tmp/err" 'is there, and in use'
succeeds "$HOLDFAST" device save "vfio-user:$tmp/x" "$tmp/state"
succeeds "$HOLDFAST" device load sim:state=1M "$tmp/state" # the same model, in this process
kill -TERM "$two"
status=0
wait_exit "$two" 20 || status=$?
equals 'status of a server that was stopped' "$status" 0
for file in "$tmp/x" "$tmp/y"; do
	[ ! -e "$file" ] || fail "$file is left behind"
done

# ---- guests

serve a sim:state=1M
serve b sim:state=1M
machine='--guest thread --name threads --memory 64M --vcpus 2'
there_and_back a b

# ---- nobody, and somebody else, at the socket

refuses "$HOLDFAST" device info "vfio-user:$tmp/nobody"
file_has "$tmp/err" 'nobody: connecting: No such file'
machine='--guest thread --name doomed --memory 64M --vcpus 2'
begin a --append 'rate=2000'
refuses "$HOLDFAST" device info "vfio-user:$tmp/a.dev"
file_has "$tmp/err" 'serves another client'
"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line "$tmp/a.log" 'a second client was refused' 20 >/dev/null

# ---- the target's server is killed while it proves the load: the guest stays at home

serve c --filter 'delay:device.set_state=STOP:60000' sim:state=1M
target doomed c
status=0
"$HOLDFAST" migrate "$tmp/source.qmp" "$uri" --json --downtime 1000 >"$tmp/out" 2>"$tmp/err" &
migrate=$!
qmp_wait doomed 60 .holdfast.state VERIFYING query-migrate >/dev/null
# shellcheck disable=SC2154 # of serve
kill -KILL "$server_c"
wait_exit "$migrate" 60 || status=$?
equals 'status of the migration' "$status" 1
tail -n 1 "$tmp/out" >"$tmp/last"
equals outcome "$(json .outcome "$tmp/last")" home
matches 'its text' "$(json .error.text "$tmp/last")" 'RESUMING -> STOP.*the server closed the conn'
equals 'the source' "$(vm_status source)" running
lines=$(lines_now "$tmp/source.serial")
passes_after "$tmp/source.serial" "$lines" 2 60

# ---- its own server is killed: the device is gone, and the source says so

succeeds "$HOLDFAST" stop "$tmp/source.qmp" # or it would see that first, and end as corrupt
# shellcheck disable=SC2154 # of serve
kill -KILL "$server_a"
target late b
refuses "$HOLDFAST" migrate "$tmp/source.qmp" "$uri"
file_has "$tmp/err" 'vfio-user0.*the server closed the connection'
equals 'the source' "$(vm_status source)" paused
vm_kill source
vm_kill late

# ---- the checker guest, which drives its device by KVM

[ -w /dev/kvm ] || {
	echo '# no /dev/kvm: the checker guest is left out'
	exit 0
}
serve d sim:state=1M
machine="--guest kvm --name checker --kernel $CHECKER --memory 64M --vcpus 2"
rm "$tmp"/*.serial
there_and_back d b
