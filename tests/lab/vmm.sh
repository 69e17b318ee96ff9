#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The KVM guest on a KVM that is the kernel's own, whatever this host has: its tests of interrupts,
# and one with a device of the kernel's passed through (vmm-mtty.c), by group and by cdev.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
UNIT=${UNIT:-$HF_TOP/build/tests/unit}
VMM_MTTY=${VMM_MTTY:-$HF_TOP/build/tests/lab/vmm-mtty}
requires_lab

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
for test in vmm-intx vmm-interrupts vmm-host; do
	echo "== $test"
	"$UNIT/unit-$test"
done
source=$(mdev-new mtty-1) target=$(mdev-new mtty-1)
for way in group cdev; do
	echo "== $way"
	"$VMM_MTTY" "$way" "$source" "$target"
done
mdev-rm "$source" "$target"
echo "the end"
INSIDE

in_lab 0 --kernel iommufd --timeout 250 -- env UNIT="$UNIT" VMM_MTTY="$VMM_MTTY" \
	CMOCKA_MESSAGE_OUTPUT=TAP sh ./inside.sh
cat "$tmp/lab.out"
file_has "$tmp/lab.out" '^the end$'
file_lacks "$tmp/lab.out" '^not ok'
file_lacks "$tmp/lab.out" '# SKIP' # what a host's KVM lacks, this one has
