#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Handovers with a ledger in a real etcd of three nodes: two spellings of one ledger are equal,
# another prefix is another ledger; with one node killed handovers work, with two killed nothing is
# switched over and the guest runs on, and when they are back it goes on from there.
# shellcheck source=tests/system/functions.sh
. "${HF_TESTS_SYSTEM:-$(dirname "$0")}/functions.sh"
# shellcheck source=tests/system/etcd.sh
. "$HF_TESTS_SYSTEM/etcd.sh"

machine='--guest thread --name g --memory 64M --vcpus 2 --device sim:state=1M'

# target NAME LEDGER: one that awaits the guest; its URI is in $uri.
target()
{
	# shellcheck disable=SC2086 # words
	start_vm_nowait "$1" $machine --incoming tcp:127.0.0.1:0 --ledger "$2"
	uri=$("$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line "$tmp/$1.log" 'listening at tcp:' 30 |
		sed 's/.*listening at //')
	[ -n "$uri" ] || fail "$1 does not say where it listens"
}

# stays_here NAME REGEX: a migration of it is refused with words that match, and it runs on.
stays_here()
{
	status=0
	"$HOLDFAST" migrate "$tmp/$1.qmp" "$uri" >"$tmp/out" 2>"$tmp/err" || status=$?
	equals "status of the migration ($(cat "$tmp/err"))" "$status" 1
	file_has "$tmp/err" "$2"
	equals "the guest of $1" "$(vm_status "$1")" running
	passes_after "$tmp/$1.serial" "$(lines_now "$tmp/$1.serial")" 1 60
}

# moves FROM TO: the guest goes, and the ledger says so.
moves()
{
	succeeds "$HOLDFAST" migrate "$tmp/$1.qmp" "$uri"
	succeeds "$HOLDFAST" ledger show g --ledger "$ledger"
	file_has "$tmp/out" '^state +away$'
	file_has "$tmp/out" "^owner +$(qmp "$2" query-guest | json .side)$"
	vm_stop "$1" || true
	passes_after "$tmp/$2.serial" "$(lines_now "$tmp/$2.serial")" 1 60
}

start_etcd 3
ledger=etcd:$etcd_urls
"$HOLDFAST" ledger list --ledger "$ledger" >"$tmp/out" 2>"$tmp/err" || {
	if grep -q 'this build has no etcd' "$tmp/err"; then
		skip "this build has no etcd"
	fi
	fail "no list: $(cat "$tmp/err")"
}
# shellcheck disable=SC2086 # words
start_vm a $machine --ledger "$ledger"

# ---- another prefix: refused before the guest is touched
target other "$ledger?prefix=other"
stays_here a LEDGER_UNEQUAL
vm_kill other

# ---- another order, other cases, slashes: the same ledger
spelled=$(echo "$etcd_urls" | tr , '\n' | sort -r | sed 's/http/HTTP/; s,$,/,' | paste -sd , -)
target b "etcd:$spelled"
moves a b

# ---- one of three is killed; each in turn, so that one of them is the leader
target c "$ledger"
kill_etcd 0
moves b c
restart_etcd 0
target d "$ledger"
kill_etcd 1
moves c d
restart_etcd 1
target e "$ledger"
kill_etcd 2
moves d e

# ---- two of three: nothing is switched over
target f "$ledger"
kill_etcd 1
stays_here e LEDGER_UNKNOWN
vm_kill f

# ---- they are back: nothing was lost
restart_etcd 1 2
succeeds "$HOLDFAST" ledger list --ledger "$ledger" --json
equals 'the owner' "$(json '[0].owner' "$tmp/out")" "$(qmp e query-guest | json .side)"
target h "$ledger"
moves e h
verdict_clean "$tmp/h.serial"
