#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# vfio-device.sh [next|next-iommufd]: the backend for kernel devices on real kernels: by group and
# by cdev on the one with iommufd, and by group on Debian's own; or on Debian's newest, by group as
# it comes, and by both with iommufd. Devices of the kernel's sample driver (vfio-device.c), ones
# that do DMA (vfio-device-dma.c), and a PCI function behind an IOMMU (vfio-device-pci.c).
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
VFIO_DEVICE=${VFIO_DEVICE:-$HF_TOP/build/tests/lab/vfio-device}
VFIO_DEVICE_DMA=${VFIO_DEVICE_DMA:-$HF_TOP/build/tests/lab/vfio-device-dma}
VFIO_DEVICE_PCI=${VFIO_DEVICE_PCI:-$HF_TOP/build/tests/lab/vfio-device-pci}
case ${1:-} in
'' | next | next-iommufd) ;;
*) fail "usage: vfio-device.sh [next|next-iommufd]" ;;
esac
# shellcheck disable=SC2086 # none, or a word
requires_lab ${1:-}

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
function=0000:00:10.0
echo vfio-pci >"/sys/bus/pci/devices/$function/driver_override"
echo "$function" >/sys/bus/pci/drivers_probe
source=$(mdev-new mtty-2) target=$(mdev-new mtty-2)
dma_source=$(mdev-new labdma-1) dma_target=$(mdev-new labdma-1)
for way; do
	echo "== $way"
	"$VFIO_DEVICE" "$way" "$source" "$target"
	"$VFIO_DEVICE_DMA" "$way" "$dma_source" "$dma_target"
	"$VFIO_DEVICE_PCI" "$way" "$function"
done
mdev-rm "$source" "$target" "$dma_source" "$dma_target"
echo "the end"
INSIDE

# in_kernel KERNEL WAY...
in_kernel()
{
	kernel=$1
	shift
	in_lab 0 --pci --kernel "$kernel" --timeout 200 -- env VFIO_DEVICE="$VFIO_DEVICE" \
		VFIO_DEVICE_DMA="$VFIO_DEVICE_DMA" VFIO_DEVICE_PCI="$VFIO_DEVICE_PCI" \
		CMOCKA_MESSAGE_OUTPUT=TAP sh ./inside.sh "$@"
	file_has "$tmp/lab.out" '^the end$'
	file_lacks "$tmp/lab.out" '^not ok'
	equals "tests on $kernel" "$(grep -c '^ok ' "$tmp/lab.out")" $((21 * $#))
}
case ${1:-} in
next) in_kernel next group ;;
next-iommufd) in_kernel next-iommufd group cdev ;;
*)
	in_kernel iommufd group cdev
	in_kernel debian group
	;;
esac
