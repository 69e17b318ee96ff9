#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# All C is as clang-format 14 wants it. Other versions want other things: then it is skipped.
set -u
cd "$(dirname "$0")/../.." || exit 1

format=
for word in clang-format-14 clang-format; do
	command -v "$word" >/dev/null || continue
	"$word" --version | grep -q 'version 14\.' && format=$word && break
done
if [ -z "$format" ]; then
	echo "SKIP: no clang-format 14 here"
	exit 77
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cp .clang-format "$tmp/"
printf 'int  x ;\n' >"$tmp/planted.c"
if "$format" --dry-run -Werror "$tmp/planted.c" 2>/dev/null; then
	echo "a planted violation was not found"
	exit 1
fi

git ls-files '*.c' '*.h' >"$tmp/files" 2>/dev/null
[ -s "$tmp/files" ] || find . -name 'build*' -prune -o -name '*.[ch]' -print >"$tmp/files"
if ! xargs "$format" --dry-run -Werror <"$tmp/files" 2>"$tmp/err"; then
	grep 'error:' "$tmp/err" || cat "$tmp/err"
	exit 1
fi
echo "$(wc -l <"$tmp/files") files"
