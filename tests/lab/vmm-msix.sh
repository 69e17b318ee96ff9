#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# A KVM guest with a PCI function that has MSI-X, by vfio-pci (vmm-msix.c), by group and by cdev.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
VMM_MSIX=${VMM_MSIX:-$HF_TOP/build/tests/lab/vmm-msix}
requires_lab

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
function=0000:00:12.0
echo vfio-pci >"/sys/bus/pci/devices/$function/driver_override"
echo "$function" >/sys/bus/pci/drivers_probe
for way in group cdev; do
	echo "== $way"
	"$VMM_MSIX" "$way" "$function"
done
echo "the end"
INSIDE

in_lab 0 --pci --timeout 250 -- env VMM_MSIX="$VMM_MSIX" CMOCKA_MESSAGE_OUTPUT=TAP sh ./inside.sh
cat "$tmp/lab.out"
file_has "$tmp/lab.out" '^the end$'
file_lacks "$tmp/lab.out" '^not ok'
equals "tests" "$(grep -c '^ok ' "$tmp/lab.out")" 10
