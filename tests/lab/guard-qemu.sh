#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# guard-qemu.sh short|long|next: two unmodified QEMUs whose guest has devices of the kernel's, by
# themselves and with `holdfast guard` (guard-qemu.py): handovers, and targets whose device refuses.
# short has what the guard is for, long all of it, by group and by cdev; next is for Debian's newest
# kernel, which says itself which descriptor is which device.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
if [ "${1:-}" = next ]; then requires_lab next; else requires_lab; fi
if [ -z "${QEMU:-}" ]; then
	requires_lab qemu
	QEMU=$("$HF_TOP/lab/build" qemu 2>/dev/null)
fi
export QEMU

# in_kernel KERNEL WORDS...: each of them the words of guard-qemu.py for one kind of guest.
in_kernel()
{
	kernel=$1
	shift
	{
		echo "set -eu; export HOLDFAST='$HOLDFAST' CHECKER='$CHECKER' QEMU='$QEMU'"
		printf "'$PYTHON' -B '$HF_TESTS_LAB/guard-qemu.py' %s\\n" "$@"
		echo "echo 'the end'"
	} >"$tmp/inside.sh"
	echo "== $kernel, QEMU $("$QEMU" --version | sed -n '1s/.* version \([0-9.]*\).*/\1/p')"
	in_lab 0 --kernel "$kernel" --timeout 3000 -- sh ./inside.sh
	cat "$tmp/lab.out"
	file_has "$tmp/lab.out" '^the end$'
	file_lacks "$tmp/lab.out" '^not ok'
	planned=$(awk '/^1\.\.[0-9]+$/ { sum += substr($0, 4) } END { print sum }' "$tmp/lab.out")
	equals "results on $kernel" "$(grep -c '^ok ' "$tmp/lab.out")" "$planned"
}

two='there first second'
all='alone alone-proof alone-start cont there-and-back local proof start start-late breaks back'
all="$all unseen source-begins source-stops"
case ${1:-short} in
short) in_kernel iommufd "cdev 1 alone-proof proof there" ;;
long)
	in_kernel iommufd "cdev 1 $all" "group 1 $all" "cdev 2 $two" "group 2 $two"
	in_kernel debian "group 1 $all" "group 2 $two"
	;;
next) in_kernel next "group 1 alone-proof there-and-back proof start back" "group 2 $two" ;;
*) fail "usage: guard-qemu.sh short|long|next" ;;
esac
