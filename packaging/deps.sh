#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# deps.sh check|lab|all: install by apt-get what is missing for `make check` (and `make demo`), for
# the lab (docs/lab.md), or for every command of the Makefile. Says what it installs; does nothing,
# and fast, when all is there.
set -eu

# Without these nothing is built. Without the second list the ledger in etcd is not (libcurl), tests
# skip, and say so.
needed="gcc libc6-dev meson ninja-build pkg-config python3 libcmocka-dev libjansson-dev"
needed="$needed libxxhash-dev"
wanted="g++ clang-format spin scdoc shellcheck python3-xxhash git qemu-system-x86"
wanted="$wanted libcurl4-openssl-dev etcd-server openssl"
for_lab="apt gcc make libelf1 busybox-static cpio kmod xz-utils util-linux qemu-system-x86"
for_all="clang clang-tidy cppcheck"

missing()
{
	for package in "$@"; do
		case $installed in
		*" $package "*) ;;
		*) printf '%s ' "$package" ;;
		esac
	done
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		command -v sudo >/dev/null || {
			echo "deps: neither root nor sudo; install by hand: $needs$wants" >&2
			return 1
		}
		sudo "$@"
	fi
}

install_packages()
{
	echo "deps: installing $*"
	# A fresh system has no package lists; an old one has outdated ones.
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
			--no-install-recommends "$@" </dev/null &&
		no_service "$@"
}

# The tests start an etcd of their own: one that came as a service with the package, and that nobody
# asked for, is not left running.
no_service()
{
	case " $* " in
	*" etcd-server "*) ;;
	*) return 0 ;;
	esac
	[ ! -d /run/systemd/system ] || as_root systemctl disable --now etcd.service
}

case ${1:-} in
check) wanted="$wanted $for_lab" ;;
lab) wanted=$for_lab ;;
all) wanted="$wanted $for_lab $for_all" ;;
*)
	echo "usage: deps.sh check|lab|all" >&2
	exit 2
	;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "deps: no apt-get here; on a Debian 12 these are needed: $needed; and wanted: $wanted"
	exit 0
fi

# shellcheck disable=SC2016 # dpkg's own variables
installed=" $(dpkg-query -W -f='${db:Status-Status} ${Package}\n' |
	sed -n 's/^installed //p' | tr '\n' ' ') "
# shellcheck disable=SC2086 # lists
needs=$(missing $needed) wants=$(missing $wanted)
[ -n "$needs$wants" ] || exit 0

# shellcheck disable=SC2086
install_packages $needs $wants && exit 0
# One package that cannot be had must not keep the others away.
# shellcheck disable=SC2086
if [ -n "$needs" ] && ! install_packages $needs; then
	echo "deps: could not install: $needs" >&2
	exit 1
fi
echo "deps: could not install: $wants; the tests that need them will be skipped" >&2
