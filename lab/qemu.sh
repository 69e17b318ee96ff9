# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# A QEMU that migrates VFIO devices by the kernel's second protocol, for tests in the lab: this
# machine's own, or else the newer one that Debian has packaged for it, unpacked beside the kernels
# and not installed. Its libraries are those of this machine's QEMU. For lab/build, which sets
# $cache, $own_release and say(), give_up(), die(), unpack().
qemu_oldest=9.0 # the first with an iommufd for vfio-pci

# qemu_version PROGRAM: "10.0.2", or nothing
qemu_version()
{
	timeout 20 "$1" --version 2>/dev/null </dev/null |
		sed -n '1s/^QEMU emulator version \([0-9.]*\).*/\1/p'
}

# qemu_suffices PROGRAM
qemu_suffices()
{
	version=$(qemu_version "$1")
	[ -n "$version" ] &&
		printf '%s\n' "$qemu_oldest" "$version" | sort -C -t . -k 1,1n -k 2,2n
}

qemu_packages="qemu-system-x86 qemu-system-common qemu-system-data seabios"

fetch_qemu()
{
	archive_open "$own_release-backports"
	version=$(archive_show qemu-system-x86 Version)
	[ -n "$version" ] || give_up "$suite has no qemu-system-x86"
	qemu=$cache/qemu-${version#*:}
	if [ ! -e "$qemu/complete" ]; then
		say "fetching QEMU $version (15 MB)"
		rm -rf "$qemu"
		mkdir -p "$qemu/root"
		# shellcheck disable=SC2086 # words
		archive_fetch "$qemu/deb" $qemu_packages
		for file in "$qemu"/deb/*; do
			unpack "$file" "$qemu/root"
		done
		rm -rf "$qemu/deb" "$qemu/root/usr/share/doc" "$qemu/root/usr/share/man"
		write_qemu
		if ! qemu_suffices "$qemu/qemu"; then
			timeout 20 "$qemu/qemu" --version </dev/null >&2 || true
			give_up "QEMU $version does not run here"
		fi
		touch "$qemu/complete"
	fi
	basename "$qemu" >"$cache/current-qemu.new"
	mv "$cache/current-qemu.new" "$cache/current-qemu"
}

# Where its parts are, it must be told.
write_qemu()
{
	cat >"$qemu/qemu" <<-SCRIPT
		#!/bin/sh
		export QEMU_MODULE_DIR='$qemu/root/usr/lib/x86_64-linux-gnu/qemu'
		exec '$qemu/root/usr/bin/qemu-system-x86_64' \\
			-L '$qemu/root/usr/share/qemu' -L '$qemu/root/usr/share/seabios' "\$@"
	SCRIPT
	chmod 755 "$qemu/qemu"
}

# build_qemu UPDATE: prints the program
build_qemu()
{
	if qemu_suffices qemu-system-x86_64; then
		command -v qemu-system-x86_64
		return
	fi
	qemu=$cache/$(cat "$cache/current-qemu" 2>/dev/null || echo none)
	if [ -n "$1" ] || [ ! -e "$qemu/complete" ]; then
		fetch_qemu
	fi
	echo "$qemu/qemu"
}
