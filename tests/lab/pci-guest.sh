#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# A guest of `holdfast run` with a PCI function by vfio-pci, behind an IOMMU (pci-guest.py), by
# group and by cdev.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
requires_lab

cat >"$tmp/inside.sh" <<INSIDE
set -eu
export HOLDFAST='$HOLDFAST'
functions='0000:00:10.0 0000:00:11.0'
for function in \$functions; do
	echo vfio-pci >"/sys/bus/pci/devices/\$function/driver_override"
	echo "\$function" >/sys/bus/pci/drivers_probe
done
for way in group cdev; do
	'$PYTHON' '$HF_TESTS_LAB/pci-guest.py' "\$way" \$functions
done
echo "the end"
INSIDE

in_lab 0 --pci --timeout 600 -- sh ./inside.sh
cat "$tmp/lab.out"
file_has "$tmp/lab.out" '^the end$'
file_lacks "$tmp/lab.out" '^not ok'
equals "results" "$(grep -c '^ok ' "$tmp/lab.out")" 6
