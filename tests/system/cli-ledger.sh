#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# holdfast ledger: what it shows is what a guest has written, also when the guest is gone; what
# cannot be read is named, and does not hide the rest.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"

uri=file:$tmp/ledger

# wrong REGEX ARGS...: status 2 and one line; failed: status 1.
wrong()
{
	expects 2 "$@"
}

failed()
{
	expects 1 "$@"
}

expects()
{
	wanted=$1 regex=$2
	shift 2
	status=0
	"$HOLDFAST" ledger "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	equals "status of 'ledger $*' ($(cat "$tmp/err"))" "$status" "$wanted"
	equals "lines on stderr of 'ledger $*'" "$(wc -l <"$tmp/err" | tr -d ' ')" 1
	file_has "$tmp/err" "$regex"
}

wrong 'it takes show GUEST'
wrong "'frob' is neither show nor list" frob
wrong 'one GUEST behind show' show
wrong 'nothing behind list' list g
wrong "'a/b' is no guest's name" show a/b
wrong "option --frob is unknown" list --frob
failed 'begins with none of file:, etcd:' list --ledger carrier-pigeon:
failed 'neither http:// nor https://' list --ledger etcd:localhost
failed 'there is no ledger' list --ledger none
failed 'there is no ledger' show g --ledger none

# ---- nothing is there
failed "file:$tmp/ledger has no record of g" show g --ledger "$uri"
succeeds "$HOLDFAST" ledger list --ledger "$uri"
equals 'an empty list' "$(cat "$tmp/out")" ''
succeeds "$HOLDFAST" ledger list --ledger "$uri" --json
equals 'an empty list' "$(cat "$tmp/out")" '[]'

# ---- two guests
for name in alpha beta; do
	start_vm "$name" --guest thread --name "$name" --memory 64M --ledger "$uri"
done
side=$(qmp alpha query-guest | json .side)
succeeds "$HOLDFAST" ledger show --ledger "$uri" alpha
file_has "$tmp/out" '^guest +alpha$'
file_has "$tmp/out" "^ledger +file:$tmp/ledger$"
file_has "$tmp/out" '^state +home$'
file_has "$tmp/out" "^owner +$side$"
file_has "$tmp/out" '^epoch +[0-9]+$'
file_lacks "$tmp/out" '^(offered-to|reason)'
succeeds "$HOLDFAST" ledger show alpha --ledger "$uri" --json
for path in state revision epoch owner offered-to reason reason-code; do
	equals "$path, as the guest itself says it" "$(json ".$path" "$tmp/out")" \
		"$(qmp alpha query-ledger | json ".$path")"
done
equals 'guest' "$(json .guest "$tmp/out")" alpha

# ---- also when they are gone; one record that cannot be read
vm_kill alpha
vm_kill beta
printf 'holdfast-ledger: 1\nguest: baker\n' >"$tmp/ledger/baker"
succeeds "$HOLDFAST" ledger show alpha --ledger "$uri"
failed "ledger/baker, line 3: the record ends here" show baker --ledger "$uri"
failed "ledger/baker, line 3: the record ends here" list --ledger "$uri"
equals 'guests in the list' "$(awk 'NR > 1 { print $1, $2 }' "$tmp/out" | tr '\n' ' ')" \
	'alpha home beta home '
status=0
"$HOLDFAST" ledger list --ledger "$uri" --json >"$tmp/out" 2>"$tmp/err" || status=$?
equals 'status with a record that cannot be read' "$status" 1
equals 'the second of the list' "$(json '[1].guest' "$tmp/out")" beta
