#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# check.sh BUILD JOBS [plain|asan|tsan...]: build and run the tests; by default everything in the
# plain build, then the suites without processes of their own (unit, sim, fuzz) under ASan+UBSan and
# under TSan. The suite lab keeps one processor busy for minutes, and measures nothing: it runs
# beside the sanitizers, and is told behind them. Ends with a summary from Meson's own records
# (tests/summary.py). Fails if a test failed, or if none ran.
set -u
build=$1 jobs=$2
shift 2
[ $# -gt 0 ] || set -- plain asan tsan
cd "$(dirname "$0")/.." || exit 1

export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=1:strict_string_checks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:abort_on_error=1:print_stacktrace=1}"
tsan="halt_on_error=1:abort_on_error=1:second_deadlock_stack=1"
export TSAN_OPTIONS="${TSAN_OPTIONS:-$tsan:suppressions=$PWD/tests/tsan-suppressions}"

folder_of()
{
	if [ "$1" = plain ]; then echo "$build"; else echo "$build-$1"; fi
}

# setup KIND FOLDER: configure once.
setup()
{
	[ -f "$2/build.ninja" ] && return 0
	case $1 in
	plain) meson setup "$2" ;;
	asan) meson setup "$2" -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 ;;
	tsan) meson setup "$2" -Db_sanitize=thread -Db_lundef=false -Doptimization=1 ;;
	*)
		echo "check: no such kind: $1" >&2
		return 1
		;;
	esac
}

# run KIND FOLDER
run()
{
	suites='--no-suite long --no-suite lab' # make check-all runs these; begin_lab()
	[ "$1" = plain ] || suites="--suite unit --suite sim --suite fuzz"
	# shellcheck disable=SC2086 # a list
	# Time limits are for a quiet machine; a busy one, or a sanitizer, needs several times that.
	meson test -C "$2" --no-rebuild --num-processes "$jobs" --timeout-multiplier 5 \
		--print-errorlogs $suites </dev/null
}

# Beside everything else, so an interrupt has to be passed on to it.
lab=
trap '[ -z "$lab" ] || kill "$lab"; exit 130' INT TERM
begin_lab()
{
	rm -f "$build/meson-logs/lablog.json"
	meson test -C "$build" --no-rebuild --num-processes 1 --timeout-multiplier 5 \
		--print-errorlogs --logbase lablog --suite lab --no-suite long </dev/null \
		>"$build/meson-logs/lab.out" 2>&1 &
	lab=$!
	logs="$logs lab=$build/meson-logs/lablog.json"
}

end_lab()
{
	[ "$lab" ] || return 0
	wait "$lab" || status=1
	echo "== lab"
	cat "$build/meson-logs/lab.out"
}

status=0
logs=
for kind in "$@"; do
	rm -f "$(folder_of "$kind")/meson-logs/testlog.json"
done
for kind in "$@"; do
	folder=$(folder_of "$kind")
	echo "== $kind"
	if setup "$kind" "$folder" && ninja -C "$folder" -j "$jobs"; then
		run "$kind" "$folder" || status=1
		[ "$kind" != plain ] || begin_lab
	else
		echo "check: the $kind build failed" >&2
		status=1
	fi
	logs="$logs $kind=$folder/meson-logs/testlog.json"
done
end_lab
# shellcheck disable=SC2086 # a list
python3 tests/summary.py $logs || status=1
exit $status
