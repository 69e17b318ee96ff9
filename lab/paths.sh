# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
# Where the lab keeps what it has fetched and built.
cache=${HOLDFAST_LAB:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/holdfast-lab}

# Where the name of that folder is.
lab_current_name()
{
	case $1 in
	stable) echo current ;;
	*) echo "current-$1" ;;
	esac
}

# lab_current KERNELS: sets kernel (its folder) and release (its name), if there is a complete one.
lab_current()
{
	kernel=$cache/$(cat "$cache/$(lab_current_name "$1")" 2>/dev/null || echo none)
	[ -e "$kernel/complete" ] || return 1
	# shellcheck disable=SC2034 # for lab/build
	release=$(cat "$kernel/release")
}
