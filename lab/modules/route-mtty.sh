#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# route-mtty.sh MTTY.C: lead calls of the kernel's mtty.c through mtty-knobs.h, in place. Each place
# must be there exactly once: a driver that has changed is refused, not half changed.
set -eu
file=$1

# route PLACE REPLACEMENT (both fixed strings; & in the replacement is the place)
route()
{
	count=$(grep -cF -- "$1" "$file") || true
	if [ "$count" -ne 1 ]; then
		echo "route-mtty: '$1' is there $count times in $file" >&2
		exit 1
	fi
	place=$(printf '%s' "$1" | sed 's,[][\\.*^$/],\\&,g')
	with=$(printf '%s' "$2" | sed 's,/,\\/,g')
	sed -i "s/$place/$with/" "$file"
}

route 'static const struct file_operations mtty_save_fops = {' '#include "mtty-knobs.h"\n\n&'
route '.read = mtty_save_read,' '.read = knob_save_read,'
route '.write = mtty_resume_write,' '.write = knob_resume_write,'
route 'ret = mtty_step_state(mdev_state, next_state);' \
	'ret = knob_step_state(mdev_state, next_state);'
route 'vdev->mig_ops = &mtty_migration_ops;' \
	'vdev->migration_flags \&= knob_migration_flags;\n\tif (knob_migration_flags)\n\t\t&'
route 'vdev->log_ops = &mtty_log_ops;' 'if (!knob_no_dma_log)\n\t\t&'
route 'return mtty_reset(mdev_state);' 'return knob_reset(mdev_state);'
route '= mtty_close,' '= knob_close,'
route 'dev_info->flags = VFIO_DEVICE_FLAGS_PCI;' \
	'&\n\tif (knob_reset_flag)\n\t\tdev_info->flags |= VFIO_DEVICE_FLAGS_RESET;'
