#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# `holdfast device info`, `save` and `load` with the kernel's devices, by group and by cdev: a state
# goes to a file and into another device, where it is the same; a file that is damaged, cut, or of
# another model is refused by its name, and so is a device that fails on the way.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
requires_lab

cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
. ./functions.sh
way=$1
at="path=$way"
check_card mtty-2 '^saved 96 bytes' '^model +mtty-2/4348:3253/4348:3253/10$'
check_card labdma-1 '^saved 10551[0-9][0-9] bytes' '^model +labdma-1/1b36:1dab/1b36:1dab/01$'

# ---- what was loaded is there: mtty keeps its registers when it is closed ----
knob close_resets=0
source=$(mdev-new mtty-2) target=$(mdev-new mtty-2)
status 0 save "vfio:$target,$at" fresh
fresh=$(digest)
"$HOLDFAST" run --name one --guest=thread --memory 8M --device "vfio:$source,$at" --kernel checker \
	--ledger "file:$PWD" --append 'mem=1 dma=100 stop_after=1' --serial none
status 0 save "vfio:$source,$at" used
[ "$(digest)" != "$fresh" ] || fail "a guest has left no trace in it"
used=$(digest)
status 0 load "vfio:$target,$at" used
[ "$(digest)" = "$used" ] || fail "loaded $(digest), and it was $used"
status 0 save --force "vfio:$target,$at" again
[ "$(digest)" = "$used" ] || fail "it holds $(digest), and $used was loaded"
knob close_resets=1

# ---- another model ----
other=$(mdev-new labdma-1)
status 1 load "vfio:$other,$at" used
says "used: saved from mtty-2/4348:3253/4348:3253/10 \(4348:3253\), and this device is labdma-1/"
status 1 load --force "vfio:$other,$at" used
says "writing the device's state in RESUMING, at byte 0 of 96: "

# ---- a device that fails on the way ----
knob fail_from=RESUMING fail_to=STOP fail_times=1 fail_errno=71 only="$target"
status 1 load "vfio:$target,$at" used
says 'RESUMING -> STOP: Protocol error'
knob fail_times=0 labdma.read_fail_at=500000
status 1 save "vfio:$other,$at" none
says 'reading .*: Input/output error'
[ ! -e none ] || fail "a file of a state that was not read"
[ ! -e none.part ] || fail "a part of it"
knob labdma.read_fail_at=-1
status 0 load "vfio:$target,$at" used
status 0 save --force "vfio:$other,$at" other
rm -f fresh used again other
mdev-rm "$source" "$target" "$other"
echo "the end of $way"
INSIDE

cat >"$tmp/functions.sh" <<'INSIDE'
fail()
{
	echo "not ok: $*" >&2
	exit 1
}

# status WANTED ARGS...: of `holdfast device`, its output in out and err.
status()
{
	wanted=$1 got=0
	shift
	"$HOLDFAST" device "$@" >out 2>err </dev/null || got=$?
	[ "$got" -eq "$wanted" ] || fail "holdfast device $*: $got, not $wanted: $(cat err)"
}

says()
{
	grep -qE "$1" err || fail "no \"$1\" in: $(cat err)"
}

digest()
{
	sed -n 's/.* digest \([0-9a-f]\{16\}\),.*/\1/p' out
}

# damaged OFFSET WORDS: one byte of a copy is another one.
damaged()
{
	cp state bad
	printf '\377' | dd of=bad bs=1 seek="$1" conv=notrunc 2>/dev/null
	status 1 load "vfio:$second,$at" bad
	says "^holdfast device: bad: .*$2"
}

# check_card TYPE SAVED MODEL
check_card()
{
	first=$(mdev-new "$1") second=$(mdev-new "$1")
	status 0 info "vfio:$first,$at"
	grep -qE "$3" out || fail "no model \"$3\" in: $(cat out)"
	for line in "^name +$first$" '^kind +vfio$' '^migration +STOP_COPY, P2P, PRE_COPY ' \
		'^state +RUNNING$'; do
		grep -qE "$line" out || fail "no \"$line\" in: $(cat out)"
	done
	rm -f state
	status 0 save "vfio:$first,$at" state
	grep -qE "$2" out || fail "no \"$2\" in: $(cat out)"
	saved=$(digest)
	status 1 save "vfio:$first,$at" state
	says '^holdfast device: state is there already'
	status 0 load "vfio:$second,$at" state
	[ "$(digest)" = "$saved" ] || fail "loaded $(digest), and it was $saved"
	damaged 0 'no state of a device'
	damaged 20 'its first 256 bytes are damaged'
	damaged 300 'its digest is not that of its [0-9]* bytes'
	head -c 300 state >bad
	status 1 load "vfio:$second,$at" bad
	says '^holdfast device: bad: it has 44 bytes of state instead of '
	status 0 info "vfio:$second,$at"
	grep -qE '^state +RUNNING$' out || fail "it was touched: $(cat out)"
	rm -f state bad
	mdev-rm "$first" "$second"
}
INSIDE

for way in group cdev; do
	in_lab 0 -- env HOLDFAST="$HOLDFAST" sh ./inside.sh "$way"
	file_has "$tmp/lab.out" "^the end of $way\$"
done
