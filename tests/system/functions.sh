# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# What every system test begins with:
#
#	#!/bin/sh
#	. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"
#	requires_kvm
#	start_vm source --kernel "$CHECKER"
#
# A test is one POSIX sh script: it exits 0, fails with words (fail), or skips with 77 and the
# reason (skip, requires*). Files go to $tmp, which is gone afterwards (HF_KEEP=1 keeps it, and so
# does a failure under HF_KEEP=failed). Whatever cleanup_fn was told runs at the end, last one
# first, and every VM of start_vm is killed. There is no sleep here and none in tests: waiting is
# for an event with a deadline (wait.py: inotify, pidfd).
#
# Environment, set by meson: HOLDFAST (the command), CHECKER (the checker guest), HF_TESTS_SYSTEM
# (this folder).

set -eu
unset CDPATH
export LC_ALL=C

test_name=$(basename "$0" .sh)
HF_TESTS_SYSTEM=${HF_TESTS_SYSTEM:-$(cd "$(dirname "$0")" && pwd)}
HF_TOP=${HF_TOP:-$(cd "$HF_TESTS_SYSTEM/../.." && pwd)}
HOLDFAST=${HOLDFAST:-$HF_TOP/build/holdfast}
CHECKER=${CHECKER:-$HF_TOP/build/guest/checker.elf}
PYTHON=/usr/bin/python3
[ -x "$PYTHON" ] || PYTHON=python3
export HF_TESTS_SYSTEM HF_TOP HOLDFAST CHECKER PYTHON

# How long things may take, in seconds: a machine under load is slow, not broken.
start_deadline_s=${HF_START_DEADLINE:-30}
stop_deadline_s=${HF_STOP_DEADLINE:-20}
# shellcheck disable=SC2034 # for tests
migrate_deadline_s=${HF_MIGRATE_DEADLINE:-120}

# What the checker guest reports (docs/checker.md): extended regular expressions.
checker_pass='checker: pass=[0-9]+ clean'
checker_bad='CORRUPT'

# ---- the end of a test -----------------------------------------------------------------------

cleanup_list=
cleanup_count=0
vm_names=

# cleanup_fn COMMAND [ARGS...]: run it when the test ends, however it ends. Last one first.
cleanup_fn()
{
	cleanup_count=$((cleanup_count + 1))
	cleanup_command_=
	for word in "$@"; do
		cleanup_command_="$cleanup_command_ '$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'"
	done
	eval "cleanup_$cleanup_count=\$cleanup_command_"
	cleanup_list="$cleanup_count $cleanup_list"
}

at_exit()
{
	status=$?
	trap - EXIT INT TERM HUP
	set +e
	if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
		show_logs >&2
	fi
	command_=
	for number in $cleanup_list; do
		eval "command_=\$cleanup_$number"
		eval "$command_" || echo "cleanup failed:$command_" >&2
	done
	for name in $vm_names; do
		vm_reap "$name"
	done
	case ${HF_KEEP:-}:$status in
	1:*) echo "kept: $tmp" >&2 ;;
	failed:0 | failed:77) rm -rf "$tmp" ;;
	failed:*) echo "kept: $tmp" >&2 ;;
	*) rm -rf "$tmp" ;;
	esac
	exit "$status"
}

# The end of every log and console: what one wants to see first after a failure.
show_logs()
{
	for log_ in "$tmp"/*.log "$tmp"/*.serial; do
		[ -s "$log_" ] || continue
		echo "--- the end of $(basename "$log_")"
		tail -n 25 "$log_"
	done
}

tmp=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-$test_name.XXXXXX") || exit 1
mkdir "$tmp/runtime" "$tmp/ledger"
chmod 700 "$tmp/runtime"
export tmp XDG_RUNTIME_DIR="$tmp/runtime" # nothing of the tester's own guests is met
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# fail WORDS: the test has failed, and why.
fail()
{
	echo "$test_name: FAILED: $*" >&2
	exit 1
}

# skip WORDS: it cannot run here, and why.
skip()
{
	echo "SKIP: $*"
	exit 77
}

# ---- what a test needs -----------------------------------------------------------------------

# requires COMMAND...: skip if one of them is missing.
requires()
{
	for word in "$@"; do
		command -v "$word" >/dev/null 2>&1 || skip "no command '$word' here"
	done
}

requires_kvm()
{
	[ -e /dev/kvm ] || skip "no /dev/kvm on this host"
	if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
		skip "no permission for /dev/kvm"
	fi
	# Opening may still be refused (containers): ask for the version as a VMM would.
	"$PYTHON" -c 'import fcntl, os
if fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE00, 0) != 12: raise SystemExit(1)
' 2>/dev/null || skip "/dev/kvm does not answer"
}

requires_root()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}

# requires_python MODULE...
requires_python()
{
	for word in "$@"; do
		"$PYTHON" -c "import $word" 2>/dev/null || skip "no Python module '$word' here"
	done
}

# requires_memory MEBIBYTES: that much is available.
requires_memory()
{
	have_=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	[ "$have_" -ge "$1" ] || skip "needs $1 MiB of memory, $have_ MiB are available"
}

# ---- comparing -------------------------------------------------------------------------------

# equals WHAT GOT WANTED
equals()
{
	[ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

# matches WHAT GOT REGEX (extended, anywhere in it)
matches()
{
	printf '%s\n' "$2" | grep -Eq -- "$3" || fail "$1: '$2' does not match '$3'"
}

# file_has FILE REGEX / file_lacks FILE REGEX
file_has()
{
	grep -Eq -- "$2" "$1" || fail "$(basename "$1") has no line that matches '$2'"
}

file_lacks()
{
	! grep -En -- "$2" "$1" >&2 || fail "$(basename "$1") has lines that match '$2'"
}

# succeeds COMMAND... / refuses COMMAND...: with its output in $tmp/out, its errors in $tmp/err.
succeeds()
{
	"$@" >"$tmp/out" 2>"$tmp/err" || {
		status_=$?
		cat "$tmp/out" "$tmp/err" >&2
		fail "status $status_ from: $*"
	}
}

refuses()
{
	if "$@" >"$tmp/out" 2>"$tmp/err"; then
		cat "$tmp/out" >&2
		fail "succeeded, and should not have: $*"
	fi
}

# json PATH [FILE]: a value out of JSON (stdin or FILE), as in jq: json .status, json '.ram.total'.
# A missing member is "null"; strings come without quotes.
json()
{
	"$PYTHON" "$HF_TESTS_SYSTEM/json-get.py" "$@"
}

# ---- waiting ---------------------------------------------------------------------------------

# wait_file FILE SECONDS: until it exists.
wait_file()
{
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" exists "$1" "$2" ||
		fail "no $(basename "$1") within $2 s"
}

# wait_serial FILE REGEX SECONDS: until a line of it matches (from its beginning). The line is
# printed. Ends at once, and fails, when the checker guest has said CORRUPT and that was not what we
# wait for.
wait_serial()
{
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line --bad "$checker_bad" "$1" "$2" "$3" ||
		fail "'$2' did not appear in $(basename "$1") within $3 s"
}

# lines_now FILE: how many lines it has: a place to continue from.
lines_now()
{
	if [ -f "$1" ]; then wc -l <"$1" | tr -d ' '; else echo 0; fi
}

# passes_after FILE LINES COUNT SECONDS: until the checker guest has reported COUNT whole passes
# behind the first LINES lines (lines_now) of its console.
passes_after()
{
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line --bad "$checker_bad" --skip "$2" --count "$3" \
		"$1" "$checker_pass" "$4" >/dev/null ||
		fail "the guest of $(basename "$1") did not finish $3 passes within $4 s"
}

# verdict_clean FILE: the checker guest has finished at least one pass and has found nothing lost,
# repeated or stale.
verdict_clean()
{
	file_lacks "$1" "$checker_bad"
	file_has "$1" "$checker_pass"
}

# wait_exit PID SECONDS: a child of this shell ends; its status is the function's.
wait_exit()
{
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" exit "$1" "$2" || fail "process $1 lives after $2 s"
	wait "$1"
}

# ---- VMs -------------------------------------------------------------------------------------

vm_qmp() { echo "$tmp/$1.qmp"; }
vm_serial() { echo "$tmp/$1.serial"; }
vm_log() { echo "$tmp/$1.log"; }
vm_pid() { eval "echo \"\${vm_pid_$1:-}\""; }

# start_vm NAME ARGS...: `holdfast run` in the background, with its control socket, console and log
# in $tmp, and the ledger file:$tmp/ledger if ARGS name no other; returns when the control socket
# answers. NAME is a word of [A-Za-z0-9_].
start_vm()
{
	start_vm_nowait "$@"
	"$PYTHON" "$HF_TESTS_SYSTEM/qmp.py" --connect-pid "$(vm_pid "$1")" \
		--deadline "$start_deadline_s" "$(vm_qmp "$1")" query-status >/dev/null || {
		cat "$(vm_log "$1")" >&2
		fail "VM $1 did not start"
	}
}

# The same without waiting: for VMs that are meant to fail.
start_vm_nowait()
{
	name_=$1
	shift
	case " $* " in
	*" --ledger"*) ;;
	*) set -- --ledger "file:$tmp/ledger" "$@" ;;
	esac
	"$HOLDFAST" run --control "$tmp/$name_.qmp" --serial "file:$tmp/$name_.serial" "$@" \
		</dev/null >"$tmp/$name_.log" 2>&1 &
	eval "vm_pid_$name_=$!"
	case " $vm_names " in
	*" $name_ "*) ;;
	*) vm_names="$vm_names $name_" ;;
	esac
}

# vm_kill NAME: as by a crash of the host process: SIGKILL, and gone afterwards.
vm_kill()
{
	kill -KILL "$(vm_pid "$1")" 2>/dev/null || true
	vm_reap "$1"
}

# vm_stop NAME: by `quit`; it must end by itself. Its exit status is the function's.
vm_stop()
{
	qmp "$1" quit >/dev/null || fail "VM $1 does not answer to quit"
	vm_wait "$1" "$stop_deadline_s"
}

# vm_wait NAME SECONDS: until it has ended by itself; its exit status is the function's.
vm_wait()
{
	pid_=$(vm_pid "$1")
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" exit "$pid_" "$2" || fail "VM $1 lives after $2 s"
	eval "vm_pid_$1="
	wait "$pid_"
}

vm_reap()
{
	pid_=$(vm_pid "$1")
	[ -n "$pid_" ] || return 0
	kill -KILL "$pid_" 2>/dev/null || true
	wait "$pid_" 2>/dev/null || true
	eval "vm_pid_$1="
	return 0
}

vm_lives()
{
	[ -n "$(vm_pid "$1")" ] && kill -0 "$(vm_pid "$1")" 2>/dev/null
}

# qmp NAME COMMAND [KEY=VALUE...] or qmp NAME '{"execute": ...}': the answer's "return" as JSON on
# stdout; an error answer as JSON on stderr, and status 1. NAME is a VM or a socket's path. Values
# are JSON where they parse as such, else strings.
qmp()
{
	case $1 in
	*/*) socket_=$1 ;;
	*) socket_=$(vm_qmp "$1") ;;
	esac
	shift
	"$PYTHON" "$HF_TESTS_SYSTEM/qmp.py" "$socket_" "$@"
}

# qmp_wait NAME SECONDS PATH REGEX COMMAND [KEY=VALUE...]: ask until the value at PATH (as for json)
# of the answer matches; asks again at every event. The last answer is printed.
qmp_wait()
{
	name_=$1 seconds_=$2 path_=$3 regex_=$4
	shift 4
	case $name_ in
	*/*) socket_=$name_ ;;
	*) socket_=$(vm_qmp "$name_") ;;
	esac
	"$PYTHON" "$HF_TESTS_SYSTEM/qmp.py" --deadline "$seconds_" --until "$path_" "$regex_" \
		"$socket_" "$@" ||
		fail "$name_: $path_ of $1 did not become '$regex_' within $seconds_ s"
}

# vm_status NAME: "running", "paused", ...
vm_status()
{
	qmp "$1" query-status | json .status
}
