#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The checker guest in the reference VMM: with two simulated devices everything that it can check
# takes part, is clean, and the VMM ends with the guest's own status.
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"
requires_kvm

# run_checker STATUS APPEND
run_checker()
{
	status=0
	timeout 120 "$HOLDFAST" run --name checker --guest=kvm --kernel "$CHECKER" --memory 64M \
		--vcpus 2 --device sim --device sim --control "$tmp/control.sock" \
		--ledger "file:$tmp" --append "$2" --serial "file:$tmp/run.serial" \
		</dev/null >"$tmp/run.log" 2>&1 || status=$?
	equals "the status of: $2" "$status" "$1"
}

run_checker 0 'mem=32 zero=20 comp=20 stop_after=2 vcpus=2'
file_has "$tmp/run.serial" '^checker: start vcpus=2 mem_mib=32 pages=8192 devices=2 p2p=1 '
file_has "$tmp/run.serial" '^checker: done clean pass=[1-9].* dma=[1-9].* irqs=[1-9].* beats=[1-9]'
file_lacks "$tmp/run.serial" CORRUPT

# The interrupts of real MSI-X: one that is overlooked is missed.
run_checker 3 'mem=8 stop_after=60 selftest=irq'
file_has "$tmp/run.serial" '^checker: CORRUPT what=interrupt-lost where=device0 '
run_checker 3 'mem=8 stop_after=60 selftest=dma'
file_has "$tmp/run.serial" '^checker: CORRUPT what=dma-data where=device0:slot'
