#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The lab is what it says: it hands back output and status, also of a command that fails (of worse
# ones: lab-ends.sh); both kernels have a mediated device that migrates, fails where it is told to,
# and a KVM in which the checker guest is clean.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
VFIO_MOVE=${VFIO_MOVE:-$HF_TOP/build/tests/lab/vfio-move}
VFIO_DMA=${VFIO_DMA:-$HF_TOP/build/tests/lab/vfio-dma}
requires_lab

# ---- the kernel with iommufd and cdev ---------------------------------------------------------
cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
source=$(mdev-new mtty-2) target=$(mdev-new mtty-2)
mdev-info "$source"
for way in group cdev; do
	echo "== $way"
	"$VFIO_MOVE" "$way" "$source" "$target"
done
for arc in 'fail_from=RESUMING fail_to=STOP' 'fail_from=STOP fail_to=RUNNING_P2P'; do
	echo "== $arc"
	knob $arc fail_times=1 fail_errno=71 only="$target"
	"$VFIO_MOVE" group "$source" "$target" && exit 1
done
knob fail_times=0
echo "== another version"
knob stream_version=2 only="$source"
"$VFIO_MOVE" group "$source" "$target" && exit 1
knob stream_version=0
"$VFIO_MOVE" cdev "$source" "$target" >/dev/null
mdev-rm "$source" "$target"
echo "== labdma"
source=$(mdev-new labdma-1) target=$(mdev-new labdma-1)
"$VFIO_MOVE" group "$source" "$target" 0x28
"$VFIO_MOVE" cdev "$source" "$target" 0x28
"$VFIO_DMA" group "$source"
"$VFIO_DMA" cdev "$source"
knob labdma.fail_from=RESUMING labdma.fail_to=STOP labdma.fail_times=1
"$VFIO_MOVE" group "$source" "$target" 0x28 && exit 1
mdev-rm "$source" "$target"
if mdev-info "$source" 2>/dev/null; then exit 1; fi

"$HOLDFAST" run --name checker --guest=kvm --kernel "$CHECKER" --memory 64M --vcpus 1 --device sim \
	--control /tmp/control.sock --ledger file:/tmp \
	--append 'mem=8 zero=20 comp=20 stop_after=1 report=60000 vcpus=1' --serial file:serial
echo "the end"
INSIDE
in_lab 0 --timeout 200 -- env VFIO_MOVE="$VFIO_MOVE" VFIO_DMA="$VFIO_DMA" \
	HOLDFAST="$HOLDFAST" CHECKER="$CHECKER" sh ./inside.sh
file_has "$tmp/lab.out" '^group /dev/vfio/[0-9]+$'
file_has "$tmp/lab.out" '^cdev /dev/vfio/devices/vfio[0-9]+$'
file_has "$tmp/lab.out" '^state RUNNING$'
equals "moves" "$(grep -c '^moved: source in STOP, target in RUNNING$' "$tmp/lab.out")" 4
file_has "$tmp/lab.out" '^source: migration flags 7, in RUNNING$'
file_has "$tmp/lab.out" '^source: 96 bytes$'
file_has "$tmp/lab.out" '^target: -> STOP: Protocol error; it stands in RESUMING$'
file_has "$tmp/lab.out" '^target: -> RUNNING: Protocol error; it stands in STOP$'
file_has "$tmp/lab.out" '^target: write: Bad address$'
equals "words" "$(grep -c '^the word has moved$' "$tmp/lab.out")" 2
equals "logs" "$(grep -c '^log: pages 3, 63 and 255$' "$tmp/lab.out")" 2
equals "stops" "$(grep -c '^stopped: nothing is written$' "$tmp/lab.out")" 2
file_has "$tmp/lab.out" '^target: -> STOP: Input/output error; it stands in RESUMING$'
file_has "$tmp/lab.out" '^the end$'
# The current folder is the host's own.
file_has "$tmp/serial" '^checker: done clean pass=[0-9]+ .* dma=[1-9].* irqs=[1-9]'
file_lacks "$tmp/serial" CORRUPT

# ---- Debian's own, and a command that fails ---------------------------------------------------
cat >"$tmp/inside.sh" <<'INSIDE'
set -eu
source=$(mdev-new mtty-1) target=$(mdev-new mtty-1)
"$VFIO_MOVE" group "$source" "$target"
"$VFIO_DMA" group "$(mdev-new labdma-1)"
[ ! -e /dev/iommu ]
[ -c /dev/kvm ]
echo "to the errors" >&2
echo lost >"$HF_TESTS_LAB/written-in-the-lab"
exit 7
INSIDE
in_lab 7 --kernel debian -- env VFIO_MOVE="$VFIO_MOVE" VFIO_DMA="$VFIO_DMA" \
	HF_TESTS_LAB="$HF_TESTS_LAB" sh ./inside.sh
file_has "$tmp/lab.out" '^log: not to be read on this kernel$'
file_has "$tmp/lab.out" '^source: 60 bytes$'
file_has "$tmp/lab.out" '^moved: source in STOP, target in RUNNING$'
file_lacks "$tmp/lab.out" 'to the errors'
file_has "$tmp/lab.err.log" '^to the errors$'
[ ! -e "$HF_TESTS_LAB/written-in-the-lab" ] || fail "the host's file system was written to"
