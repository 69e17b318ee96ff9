#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The checker guest can fail: with selftest= it damages its own memory after the first pass, and
# must then say CORRUPT, name what is wrong, and power off with status 3.
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"
requires qemu-system-x86_64

# finds SELFTEST WHAT
finds()
{
	serial=$tmp/$1.serial
	status=0
	timeout 60 qemu-system-x86_64 -accel tcg -M q35 -m 64 -smp 2 -kernel "$CHECKER" \
		-append "mem=8 stop_after=30 selftest=$1" -serial "file:$serial" -monitor none \
		-display none -no-reboot -device isa-debug-exit,iobase=0x501,iosize=1 \
		</dev/null >"$tmp/qemu.log" 2>&1 || status=$?
	file_has "$serial" "^checker: CORRUPT what=$2 where=vcpu0"
	file_has "$serial" '^checker: stopped CORRUPT errors=[1-9]'
	file_lacks "$serial" 'done clean|VERDICT'
	equals "QEMU's status" "$status" 7 # 2 * 3 + 1
}

finds corrupt page-damaged
finds stale page-stale
finds lost page-lost
finds table generation-table
