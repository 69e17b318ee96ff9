#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Each public header compiles alone, as C99 and as C++, without a warning; and twice is once.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
CC=${CC:-cc}
CXX=
for word in g++ clang++; do
	command -v "$word" >/dev/null && CXX=$word && break
done
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

count=0 failures=0
# result NAME STATUS: one line of TAP, with the compiler's words
result()
{
	count=$((count + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $count - $1"
	else
		failures=$((failures + 1))
		echo "not ok $count - $1"
		sed 's/^/# /' "$tmp/err"
	fi
}

flags="-fsyntax-only -Wall -Wextra -pedantic -Werror -I$top/include"
for header in "$top"/include/holdfast/*.h; do
	name=$(basename "$header")
	for word in c cc; do
		{
			echo "#include <holdfast/$name>"
			echo "#include <holdfast/$name>"
			echo "int main(void) { return 0; }"
		} >"$tmp/alone.$word"
	done
	# shellcheck disable=SC2086 # flags are words
	$CC -std=c99 -D_POSIX_C_SOURCE=200809L $flags "$tmp/alone.c" 2>"$tmp/err"
	result "$name alone as C99" $?
	if [ -n "$CXX" ]; then
		# shellcheck disable=SC2086
		$CXX -std=c++11 $flags "$tmp/alone.cc" 2>"$tmp/err"
		result "$name alone as C++" $?
	else
		count=$((count + 1))
		echo "ok $count - $name alone as C++ # SKIP no C++ compiler here"
	fi
done

# The test itself sees what it is for.
printf '#include <no-such-header.h>\n' >"$tmp/planted.c"
# shellcheck disable=SC2086
! $CC -std=c99 $flags "$tmp/planted.c" 2>"$tmp/err"
result "a planted failure is found" $?
echo "1..$count"
[ "$failures" -eq 0 ] && [ "$count" -gt 6 ]
