#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The checker guest boots in QEMU (emulated, so on every host), finds nothing wrong with an
# undisturbed machine, gives its verdict when asked, and powers off with the status it documents.
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"
requires qemu-system-x86_64 mkfifo

serial=$tmp/qemu.serial
mkfifo "$tmp/keys"
exec 3<>"$tmp/keys"

# boot APPEND [ARGS...]: in the background, as $qemu. QEMU's isa-debug-exit ends it with 2 * status
# + 1.
boot()
{
	append_=$1
	shift
	: >"$serial"
	qemu-system-x86_64 -accel tcg -cpu max -M q35 -kernel "$CHECKER" -append "$append_" \
		-serial stdio -monitor none -display none -no-reboot \
		-device isa-debug-exit,iobase=0x501,iosize=1 "$@" \
		<"$tmp/keys" >"$serial" 2>"$tmp/qemu.log" &
	qemu=$!
	cleanup_fn kill_if_alive "$qemu"
}

kill_if_alive()
{
	kill -KILL "$1" 2>/dev/null || true
}

# ends STATUS: QEMU ends by itself, and the checker's status was this.
ends()
{
	status=0
	wait_exit "$qemu" 60 || status=$?
	equals "QEMU's status" "$status" $((2 * $1 + 1))
}

boot 'mem=16 zero=20 comp=20 report=100' -m 256 -smp 2
wait_serial "$serial" '^checker: start vcpus=2 mem_mib=16 pages=4096 devices=0 ' 60 >/dev/null
wait_serial "$serial" '^checker: pass=([2-9]|[0-9]{2,}) clean pages=[0-9]+ ' 60 >/dev/null
printf v >&3
wait_serial "$serial" '^checker: VERDICT clean pass=([4-9]|[0-9]{2,}) ' 60 >/dev/null
file_lacks "$serial" CORRUPT
kill_if_alive "$qemu"
wait "$qemu" 2>/dev/null || true

# One vCPU, memory above 4 GiB, and an end by itself.
# (q35 puts one of three GiB there, and the workload begins at the top.)
boot 'mem=16 touch=header order=linear stop_after=1 vcpus=1' -m 3G -smp 1
ends 0
file_has "$serial" '^checker: start vcpus=1 mem_mib=16 '
file_has "$serial" '^checker: done clean pass=[1-9]'
file_lacks "$serial" CORRUPT

boot 'memory=1' -m 128
ends 2
file_has "$serial" '^checker: cannot start: knob memory=1'

boot 'vcpus=3' -m 128 -smp 2
ends 2
file_has "$serial" '^checker: cannot start: not as many vCPUs'
