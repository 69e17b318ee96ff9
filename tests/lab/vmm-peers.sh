#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# A KVM guest with two PCI functions behind an IOMMU, by vfio-pci (vmm-peers.c): by group they reach
# each other's BAR, and move data there and back; by cdev the kernel refuses it, and none is moved.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
VMM_PEERS=${VMM_PEERS:-$HF_TOP/build/tests/lab/vmm-peers}
requires_lab

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
functions='0000:00:10.0 0000:00:11.0'
for function in $functions; do
	echo vfio-pci >"/sys/bus/pci/devices/$function/driver_override"
	echo "$function" >/sys/bus/pci/drivers_probe
done
for way in group cdev; do
	echo "== $way"
	"$VMM_PEERS" "$way" $functions
done
echo "the end"
INSIDE

in_lab 0 --pci --timeout 250 -- env VMM_PEERS="$VMM_PEERS" CMOCKA_MESSAGE_OUTPUT=TAP sh ./inside.sh
cat "$tmp/lab.out"
file_has "$tmp/lab.out" '^the end$'
file_lacks "$tmp/lab.out" '^not ok'
equals "tests" "$(grep -c '^ok ' "$tmp/lab.out")" 6
