#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# refuse-arcs.sh VFIO_MAIN.C: kernels from 6.2 on, until they were mended in 2026, never return from
# a request for STOP_COPY -> PRE_COPY: the walk over the table of arcs spins at its ERROR entries.
# Mends that in place, as later kernels do; a source that is mended already stays as it is.
set -eu
file=$1

grep -q 'next_fsm != VFIO_DEVICE_STATE_ERROR &&' "$file" ||
	sed -i '/^	while ((state_flags_table.* & device->migration_flags) !=$/ {
		s/while (/while (*next_fsm != VFIO_DEVICE_STATE_ERROR \&\& /
	}' "$file"
if ! grep -q 'while (\*next_fsm != VFIO_DEVICE_STATE_ERROR &&' "$file"; then
	echo "refuse-arcs: the walk over the table of arcs was not found in $file" >&2
	exit 1
fi
