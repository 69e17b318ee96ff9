# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# A kernel that was packaged for a newer Debian than this one, so that modules for it can be built
# here: its build's programs need a newer C library, and its configuration is that of a newer
# compiler. For lab/build, which sets $kernel, $release, $headers and say(), die().

# newer_lib ROOT: the packages of that release have no /lib of their own, where modprobe -d looks.
newer_lib()
{
	mkdir -p "$1/usr/lib"
	ln -s usr/lib "$1/lib"
}

newer_tools()
{
	newer_programs
	newer_compiler
}

# Programs that do not run here get a script in front that runs them with the libraries of theirs.
newer_programs()
{
	libraries=
	find "$kernel/root/usr/lib/linux-kbuild-${release%-amd64}" -type f -perm -u+x |
		while read -r file; do
			[ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
			! runs_here "$file" || continue
			[ -n "$libraries" ] || newer_libraries
			mv "$file" "$file.elf"
			cat >"$file" <<-SCRIPT
				#!/bin/sh
				exec "$libraries/ld-linux-x86-64.so.2" \\
					--library-path "$libraries" --argv0 "\$0" "$file.elf" "\$@"
			SCRIPT
			chmod 755 "$file"
			runs_here "$file" || die "$file does not run here"
		done
}

# The program itself may find fault with how it is called.
runs_here()
{
	! timeout 10 "$1" </dev/null 2>&1 |
		grep -qE '(GLIBC|shared lib).* (not found|loading|cannot)'
}

newer_libraries()
{
	say "fetching the libraries of the build's programs"
	archive_fetch "$kernel/libraries" libc6 libelf1t64 zlib1g libzstd1 libssl3t64
	for deb in "$kernel"/libraries/*.deb; do
		unpack "$deb" "$kernel/libraries"
		rm "$deb"
	done
	libraries=$kernel/libraries/usr/lib/x86_64-linux-gnu
}

# What the compiler here does not know is taken out of the configuration, and nothing that changes
# how anything lies in memory.
newer_compiler()
{
	for option in CC_HAS_MIN_FUNCTION_ALIGNMENT CC_HAS_TYPEOF_UNQUAL CC_HAS_ASSUME \
		CC_HAS_COUNTED_BY CC_HAS_MULTIDIMENSIONAL_NONSTRING CC_HAS_NAMED_AS \
		CC_HAS_NAMED_AS_FIXED_SANITIZERS USE_X86_SEG_SUPPORT; do
		sed -i "/^CONFIG_$option=/d" "$headers/include/config/auto.conf"
		sed -i "/^#define CONFIG_$option /d" "$headers/include/generated/autoconf.h"
	done
	number=$(gcc -dumpfullversion | awk -F. '{ print $1 * 10000 + $2 * 100 + $3 }')
	text=$(gcc --version | head -n 1)
	sed -i "s/^\(CONFIG_GCC_VERSION=\).*/\1$number/; s/^\(CONFIG_CC_VERSION_TEXT=\).*/\1$text/
		s/^\(CONFIG_PAHOLE_VERSION=\).*/\10/" "$headers/include/config/auto.conf"
	sed -i "s/^\(#define CONFIG_GCC_VERSION\) .*/\1 $number/" \
		"$headers/include/generated/autoconf.h"
	printf '%s\n' 'override ARCH = x86' "override KERNELRELEASE = $release" 'CC = gcc' \
		'DEBIAN_KERNEL_NO_CC_VERSION_CHECK = y' >"$headers/.kernelvariables"
}
