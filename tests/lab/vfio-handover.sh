#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# vfio-handover.sh short|long|next|next-iommufd: handovers of guests that have a real device of the
# kernel's, there and back, and with a target that refuses (vfio-handover.py): the thread guest and
# a nested KVM guest, by group and by cdev, on both kernels. short has each of these once, long all
# of each; next is for Debian's newest kernel, next-iommufd for that with iommufd, by cdev.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
case ${1:-} in
next | next-iommufd) requires_lab "$1" ;;
*) requires_lab ;;
esac

# in_kernel KERNEL WORDS...: each of them the words of vfio-handover.py for one guest.
in_kernel()
{
	kernel=$1
	shift
	{
		echo "set -eu; export HOLDFAST='$HOLDFAST'"
		printf "'$PYTHON' '$HF_TESTS_LAB/vfio-handover.py' %s\\n" "$@"
		echo "echo 'the end'"
	} >"$tmp/inside.sh"
	echo "== $kernel"
	in_lab 0 --kernel "$kernel" --timeout 3000 -- sh ./inside.sh
	cat "$tmp/lab.out"
	file_has "$tmp/lab.out" '^the end$'
	file_lacks "$tmp/lab.out" '^not ok'
	planned=$(awk '/^1\.\.[0-9]+$/ { sum += substr($0, 4) } END { print sum }' "$tmp/lab.out")
	equals "results on $kernel" "$(grep -c '^ok ' "$tmp/lab.out")" "$planned"
}

few='there-and-back proof start version found'
dma='labdma there-and-back proof start there'
# what the host says of a card
host='wanted error-there there error'
all='there-and-back proof start start-late breaks version source there found'
case ${1:-short} in
short)
	in_kernel iommufd "kvm cdev $few" "kvm cdev labdma there-and-back wanted"
	in_kernel debian "thread group $few"
	;;
long)
	in_kernel iommufd "thread cdev $all" "thread group $all" "kvm cdev $all" \
		"kvm group $all" "thread cdev sim there-and-back" \
		"kvm group sim there-and-back found" "thread cdev $dma" "thread group $dma" \
		"kvm cdev $dma $host" "kvm group $dma $host" "kvm cdev labdma irq-lost" \
		"kvm group labdma irq-again" "thread cdev labdma irq-again" \
		"thread group labdma irq-lost"
	in_kernel debian "thread group $all" "kvm group $all" "thread group $dma" \
		"kvm group $dma $host"
	;;
next)
	in_kernel next "kvm group $few" "kvm group $dma $host" "thread group $dma"
	;;
next-iommufd)
	in_kernel next-iommufd "kvm cdev $few" "kvm cdev $dma $host" "thread cdev $dma"
	;;
*) fail "usage: vfio-handover.sh short|long|next|next-iommufd" ;;
esac
