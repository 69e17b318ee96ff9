#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `holdfast demo` succeeds, by the guest's own word; and it fails when the guest says CORRUPT.
# With KIND=kvm in the environment, or else with the thread guest.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

kind=${KIND:-thread}
[ "$kind" != kvm ] || requires_kvm
requires_memory 1024

succeeds "$HOLDFAST" demo --guest "$kind" --memory 128M
equals 'confirmations' "$(grep -c 'clean, begun after the handover' "$tmp/out")" 4
file_has "$tmp/out" 'the source reports: .*sim1.*RESUMING -> STOP.*DEVICE_STATE.*errno 5'
file_has "$tmp/out" 'the source reports: .*sim1.*STOP -> RUNNING_P2P.*DEVICE_STATE.*errno 5'
file_has "$tmp/out" 'longest stand-still as the guest measured it: [0-9.]+ ms'

refuses "$HOLDFAST" demo --guest "$kind" --memory 128M --append 'rate=20000 selftest=word'
file_has "$tmp/err" 'the guest says: checker: CORRUPT'
kept=$(sed -n 's/^Consoles and logs are in \(\/tmp\/holdfast-demo\..*\)$/\1/p' "$tmp/out")
[ -f "$kept/a.serial" ] || fail "the consoles of a failed demo were not kept"
rm -rf "$kept"
