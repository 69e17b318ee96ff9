#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# device-check-mtty.sh [--write] [next]: `holdfast device check` on the kernel's sample driver mtty,
# on both kernels, or on Debian's newest, says what docs/device-check-mtty.md explains, no more and
# no less. --write brings what is measured there up to date; what does not pass has to be explained
# by hand.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
write='' kernels='iommufd debian'
for word; do
	case $word in
	--write) write=--write ;;
	next) kernels=next ;;
	*) fail "usage: device-check-mtty.sh [--write] [next]" ;;
	esac
done
if [ "$kernels" = next ]; then requires_lab next; else requires_lab; fi
document=$HF_TOP/docs/device-check-mtty.md

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
kernel=$1
shift
card=$(mdev-new mtty-2) other=$(mdev-new mtty-2)
uname -r >"$kernel-release"
for way in group cdev; do
	status=0
	"$HOLDFAST" device check --json "vfio:$card,path=$way" --second "vfio:$other,path=$way" \
		"$@" >"$kernel-$way.json" 2>"$kernel-$way.err" || status=$?
	echo "$status" >"$kernel-$way.status"
done
if [ "$kernel" = iommufd ]; then
	"$HOLDFAST" device check "vfio:$card,path=group" --second "vfio:$other,path=group" "$@" \
		>report.txt || true
fi
mdev-rm "$card" "$other"
echo "the end"
INSIDE

# in_kernel KERNEL [OPTIONS OF device check...]
in_kernel()
{
	in_lab 0 --kernel "$1" -- env HOLDFAST="$HOLDFAST" sh ./inside.sh "$@"
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
"$PYTHON" "$HF_TESTS_LAB/device-check-mtty.py" $write "$document" "$tmp" $kernels
