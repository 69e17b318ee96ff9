#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What `holdfast help COMMAND` lists and what its manual page describes are the same options with
# the same arguments; every command has a page; every public function is in a page.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

man=$HF_TOP/docs/man

"$HOLDFAST" help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p' | grep -vx help >"$tmp/commands"
[ -s "$tmp/commands" ] || fail "no commands in 'holdfast help'"

while read -r command; do
	page=$man/holdfast-$command.1.scd
	[ -f "$page" ] || fail "no manual page for '$command'"
	file_has "$man/holdfast.1.scd" "\*holdfast-$command\*\(1\)"
	"$HOLDFAST" help "$command" |
		sed -n 's/^  \(--[a-z-]*\( [A-Z][A-Z:]*\)\{0,1\}\)\( .*\)\{0,1\}$/\1/p' |
		sort >"$tmp/help"
	sed -n -e '/^\*--/s/_:_/:/' \
		-e 's/^\*\(--[a-z-]*\)\*\( _\([A-Z:]*\)_\)\{0,1\}$/\1 \3/p' "$page" |
		sed 's/ $//' | sort >"$tmp/page"
	diff -u "$tmp/help" "$tmp/page" >&2 ||
		fail "help (-) and manual (+) of '$command' have different options"
	"$HOLDFAST" help "$command" | head -n 1 | grep -q "^Usage: holdfast $command" ||
		fail "no usage line in the help of '$command'"
done <"$tmp/commands"

for page in "$man"/holdfast-*.1.scd; do
	command=$(basename "$page" .1.scd | sed 's/^holdfast-//')
	[ "$command" = stream ] || [ "$command" = guard ] ||
		grep -qx "$command" "$tmp/commands" || fail "$page: there is no such command"
done

cat "$HF_TOP"/include/holdfast/*.h | grep -o '\bhf_[a-z_0-9]*(' | sort -u | tr -d '(' |
	while read -r name; do
		grep -q "\b$name(\|\*$name\*()" "$man"/hf_*.3.scd ||
			fail "$name() is in no manual page"
	done
