# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# What every test in the lab begins with (docs/lab.md): the functions of the system tests, and
#
#	requires_lab
#	in_lab 0 --kernel debian -- sh "$HF_TESTS_LAB/inside.sh"
#
# The machine sees $tmp as it is: what a test leaves there is here afterwards. Everything else that
# it writes is gone.
HF_TESTS_LAB=${HF_TESTS_LAB:-$(cd "$(dirname "$0")" && pwd)}
HF_TESTS_SYSTEM=${HF_TESTS_SYSTEM:-$HF_TESTS_LAB/../system}
export HF_TESTS_LAB
. "$HF_TESTS_SYSTEM/functions.sh"

# requires_lab [next|next-iommufd]: skip where the lab, or its newest kernel, or that one with
# iommufd, cannot be had, or not in a few minutes (`make lab` takes what it needs).
requires_lab()
{
	status_=0
	timeout -k 5 "${HF_LAB_BUILD_DEADLINE:-240}" "$HF_TOP/lab/build" "$@" >"$tmp/lab.log" \
		2>&1 || status_=$?
	case $status_ in
	0) ;;
	77) skip "$(tail -n 1 "$tmp/lab.log")" ;;
	124 | 137) skip "the lab was not built within a few minutes; lab/build $* may take more" ;;
	*) fail "the lab could not be built (status $status_)" ;;
	esac
}

# in_lab STATUS [OPTIONS OF lab/run...] -- COMMAND...: its output is in $tmp/lab.out, its errors
# and the lab's own in $tmp/lab.err.log, and its status is STATUS.
in_lab()
{
	wanted_=$1
	shift
	status_=0
	(cd "$tmp" && "$HF_TOP/lab/run" --console "$tmp/console.log" "$@") >"$tmp/lab.out" \
		2>"$tmp/lab.err.log" || status_=$?
	if [ "$status_" -ne "$wanted_" ]; then
		cat "$tmp/lab.out" >&2
	fi
	equals "the status of lab/run $*" "$status_" "$wanted_"
}
