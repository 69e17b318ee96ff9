#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Shellcheck has nothing to say about our shell scripts, and Python can read its own.
set -u
cd "$(dirname "$0")/../.." || exit 1
PYTHON=/usr/bin/python3
[ -x "$PYTHON" ] || PYTHON=python3

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
git ls-files >"$tmp/all" 2>/dev/null
[ -s "$tmp/all" ] || find . -name 'build*' -prune -o -name .git -prune -o -type f -print >"$tmp/all"

while read -r file; do
	[ -f "$file" ] || continue
	case $file in
	*.py) echo "$file" >>"$tmp/python" ;;
	*.sh) echo "$file" >>"$tmp/shell" ;;
	*) head -n 1 "$file" | grep -aqE '^#!.*/(env )?sh$' && echo "$file" >>"$tmp/shell" ;;
	esac
done <"$tmp/all"

status=0
while read -r file; do
	"$PYTHON" -c 'import ast, sys; ast.parse(open(sys.argv[1], encoding="utf-8").read())' \
		"$file" || status=1
done <"$tmp/python"

if ! command -v shellcheck >/dev/null; then
	[ "$status" -eq 0 ] || exit 1
	echo "SKIP: no shellcheck here"
	exit 77
fi
# shellcheck disable=SC2016 # planted: an unquoted variable
printf '#!/bin/sh\nrm $1\n' >"$tmp/planted.sh"
if shellcheck -s sh "$tmp/planted.sh" >/dev/null; then
	echo "a planted violation was not found"
	exit 1
fi
xargs shellcheck -s sh -e SC1090,SC1091,SC2154 <"$tmp/shell" || status=1
echo "$(wc -l <"$tmp/shell") shell scripts, $(wc -l <"$tmp/python") of Python"
exit $status
