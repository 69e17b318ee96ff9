# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
# Where the lab keeps what it has fetched and built.
cache=${HOLDFAST_LAB:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/holdfast-lab}

# Sets kernel (its folder) and release (its name), if there is a complete one.
lab_current()
{
	kernel=$cache/$(cat "$cache/current" 2>/dev/null || echo none)
	[ -e "$kernel/complete" ] || return 1
	# shellcheck disable=SC2034 # for lab/build
	release=$(cat "$kernel/release")
}
