#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Checks models/handover.pml with spin: every property must hold, and the naive variants must not.
#   check.sh [naive|old]    SPIN, CC: the programs; FAULTS: how many failures a run may have
set -eu

here=$(cd "$(dirname "$0")" && pwd)
variant=${1:-shipping}
spin=${SPIN:-spin}
cc=${CC:-cc}
faults=${FAULTS:-4}
properties="one_runner no_old_run commit_before_free owner_runs settles"

if ! command -v "$spin" >/dev/null 2>&1; then
	echo "skipped: $spin is not installed"
	exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
cd "$work"

flags="-DFAULTS=$faults"
case $variant in
naive)
	flags="$flags -DNAIVE"
	properties=one_runner
	;;
old)
	flags="$flags -DOLD"
	properties=no_old_run
	;;
esac

# shellcheck disable=SC2086
"$spin" $flags -a "$here/handover.pml" >spin.txt 2>&1 || { cat spin.txt; exit 1; }
# shellcheck disable=SC2086
$cc -O2 -w -DMEMLIM=1024 -DVECTORSZ=2048 -o pan pan.c

# The states of one run; empty when it did not end by itself.
states() { sed -n 's/^ *\([0-9][0-9.e+]*\) states, stored.*/\1/p' "$1" | head -n 1; }

status=0
for property in $properties; do
	fair=
	[ "$property" = settles ] && fair=-f
	./pan -a $fair -m200000 -N "$property" >"$property.txt" 2>&1 || true
	errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$property.txt")
	if grep -q "max search depth too small\|out of memory\|aborted" "$property.txt" ||
		[ -z "$errors" ]; then
		echo "$property: not decided"
		cat "$property.txt"
		status=1
	elif [ "$variant" != shipping ]; then
		if [ "$errors" -gt 0 ]; then
			echo "$property: broken, as it must be; $(states "$property.txt") states"
		else
			echo "$property: holds, but the variant \"$variant\" must break it"
			status=1
		fi
	elif [ "$errors" -gt 0 ]; then
		echo "$property: broken; the story:"
		# shellcheck disable=SC2086
		"$spin" $flags -t -p "$here/handover.pml" 2>&1 | tail -n 120 || true
		status=1
	else
		echo "$property: holds; $(states "$property.txt") states"
	fi
done
exit $status
