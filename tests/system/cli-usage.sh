#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A wrong command line gets one sentence that names what is wrong, and status 2.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

# wrong REGEX ARGS...: status 2, nothing on stdout, one line on stderr that matches.
wrong()
{
	regex=$1
	shift
	status=0
	"$HOLDFAST" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	equals "status of 'holdfast $*' ($(cat "$tmp/err"))" "$status" 2
	equals "lines on stdout of 'holdfast $*'" "$(wc -l <"$tmp/out" | tr -d ' ')" 0
	equals "lines on stderr of 'holdfast $*'" "$(wc -l <"$tmp/err" | tr -d ' ')" 1
	file_has "$tmp/err" "$regex"
}

# failed REGEX ARGS...: the line is right, but it cannot be done: status 1; the last line says why.
failed()
{
	regex=$1
	shift
	status=0
	"$HOLDFAST" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	equals "status of 'holdfast $*' ($(cat "$tmp/err"))" "$status" 1
	matches "the last line of 'holdfast $*'" "$(tail -n 1 "$tmp/err")" "$regex"
}

wrong 'a command is missing'
wrong "no command 'frobnicate'" frobnicate
wrong "no command 'frobnicate'" help frobnicate
wrong "'b' is too much" help run b
wrong "option --frob is unknown" run --frob
wrong "option -x is unknown" run -x
wrong 'option --vcpus wants a value' run --vcpus
wrong 'option --paused takes no value' run --paused=yes
wrong "option --memory is given twice" run --memory 1G --memory 2G
wrong "'stray' is too much" run --kernel k stray
wrong "--memory: 'lots' is not a size" run --memory lots
wrong "--memory: '1' is not from" run --memory 1
wrong "--memory: '99999999999999999999' is not a size" run --memory 99999999999999999999
wrong "--memory: '20000000T' is not a size" run --memory 20000000T
wrong "--memory: '3000001' is no multiple" run --memory 3000001
wrong "--vcpus: '0' is not a number from 1 to 256" run --vcpus 0
wrong "--vcpus: '-1' is not a number" run --vcpus -1
wrong "--vcpus: '2x' is not a number" run --vcpus 2x
wrong "--name: 'a/b' is no name" run --name a/b
wrong "--guest: 'xen' is none of auto, kvm, thread" run --guest xen
wrong "--serial: 'tty' is none of" run --serial tty
wrong "--on-device-lost: 'run' is none of" run --on-device-lost run
wrong 'option --kernel is missing' run --guest kvm
wrong 'option --filter: .*"nonsense"' run --kernel checker --filter fault:nonsense.op:1
wrong 'option --filter: .*"EFOO"' run --kernel checker --filter fault:device.set_state:3:EFOO
wrong 'option --paused' run --incoming defer --paused
wrong 'it takes GUEST URI' migrate
wrong 'it takes GUEST URI' migrate g
wrong "--channels: '17' is not a number from 1 to 16" migrate g tcp:h:1 --channels 17
wrong "--downtime: '' is not a number" migrate g tcp:h:1 --downtime ''
wrong "--bandwidth: 'fast' is not a size" migrate g tcp:h:1 --bandwidth fast
wrong 'exclude' migrate g tcp:h:1 --wait --no-wait
wrong "'a b' is no guest's name" status 'a b'
wrong 'it takes GUEST' stop
wrong "'NO_SUCH' is no code" explain NO_SUCH
wrong "'4100' is no code" explain 4100

failed 'guest .*/nobody is not reached: .*No such file' status "$tmp/nobody"
failed 'not reached' migrate "$tmp/nobody" tcp:h:1
: >"$tmp/file"
failed 'not reached' quit "$tmp/file"
failed "no-such-kernel" run --guest kvm --kernel "$tmp/no-such-kernel" --control "$tmp/c" \
	--ledger "file:$tmp" --serial none
failed 'ledger' run --guest thread --control "$tmp/c" --ledger carrier-pigeon: --serial none
failed 'the path is longer than' run --guest thread --memory 64M --ledger "file:$tmp" \
	--serial none --control "$tmp/$(printf '%0120d' 0)"
failed 'no-such-folder' run --guest thread --memory 64M --ledger "file:$tmp" --serial none \
	--control "$tmp/c" --trace "$tmp/no-such-folder/trace"
failed 'device' run --guest thread --memory 64M --ledger "file:$tmp" --serial none \
	--control "$tmp/c" --device floppy:a
failed 'carrier-pigeon' run --guest thread --memory 64M --ledger "file:$tmp" --serial none \
	--control "$tmp/c" --incoming carrier-pigeon:1

succeeds "$HOLDFAST" --version
file_has "$tmp/out" '^holdfast [0-9]+\.[0-9]+\.[0-9]+$'
succeeds "$HOLDFAST" explain
equals 'codes' "$(wc -l <"$tmp/out" | tr -d ' ')" \
	"$(grep -c '^	X([A-Z_]*, *4[0-9]*,' "$HF_TOP/include/holdfast/error.h")"
for code in DEVICE_STATE HF_E_DEVICE_STATE 4160 -4160; do
	succeeds "$HOLDFAST" explain -- "$code"
	file_has "$tmp/out" '^DEVICE_STATE +4160 +device +A device refused'
done
