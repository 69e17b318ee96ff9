#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# device-check.sh CARD [--write] KERNEL...: `holdfast device check` on mtty, the kernel's sample
# driver, or on labdma, the lab's own, on these kernels of the lab (docs/lab.md), by group and by
# cdev, says what the document of the card explains (docs/device-check-mtty.md, and so on) and
# what stands in docs/device-check/, no more and no less. --write brings what is measured up to
# date; what does not pass has to be explained by hand.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
write='' card='' kernels=''
for word; do
	case $word in
	--write) write=--write ;;
	mtty | labdma) card=$word ;;
	iommufd | debian | next | next-iommufd) kernels="$kernels $word" ;;
	*) fail "no card and no kernel: '$word'" ;;
	esac
done
if [ -z "$card" ] || [ -z "$kernels" ]; then
	fail "usage: device-check.sh mtty|labdma [--write] iommufd|debian|next|next-iommufd..."
fi
for kernel in $kernels; do
	case $kernel in
	next | next-iommufd) requires_lab "$kernel" ;;
	*) requires_lab ;;
	esac
done

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
type=$1 kernel=$2
shift 2
card=$(mdev-new "$type") other=$(mdev-new "$type")
uname -r >"$kernel-release"
for way in group cdev; do
	status=0
	"$HOLDFAST" device check --json "vfio:$card,path=$way" --second "vfio:$other,path=$way" \
		"$@" >"$kernel-$way.json" 2>"$kernel-$way.err" || status=$?
	echo "$status" >"$kernel-$way.status"
	"$HOLDFAST" device check "vfio:$card,path=$way" --second "vfio:$other,path=$way" \
		"$@" >"$kernel-$way.txt" 2>>"$kernel-$way.err" || status=$?
	[ "$status" -eq "$(cat "$kernel-$way.status")" ]
done
mdev-rm "$card" "$other"
echo "the end"
INSIDE

# in_kernel KERNEL [OPTIONS OF device check...]
in_kernel()
{
	case $card in
	mtty) type=mtty-2 ;;
	labdma) type=labdma-1 ;;
	esac
	in_lab 0 --kernel "$1" -- env HOLDFAST="$HOLDFAST" sh ./inside.sh "$type" "$@"
	file_has "$tmp/lab.out" '^the end$'
}
# The arcs that lock up a kernel are for those that are known to refuse them.
for kernel in $kernels; do
	case $kernel in
	debian) in_kernel "$kernel" ;;
	*) in_kernel "$kernel" --dangerous ;;
	esac
done
# shellcheck disable=SC2086 # words
"$PYTHON" "$HF_TESTS_LAB/device-check.py" $write "$card" "$HF_TOP/docs" "$tmp" $kernels
