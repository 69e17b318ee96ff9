#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What `meson install` leaves is enough for a stranger: the headers, the library and pkg-config
# build a program that runs. Argument: the build folder.
set -eu
build=$1
CC=${CC:-cc}
for word in meson pkg-config; do
	command -v "$word" >/dev/null || {
		echo "SKIP: no $word here"
		exit 77
	}
done
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

meson install -C "$build" --no-rebuild --quiet --destdir "$tmp/root" >"$tmp/log" 2>&1 || {
	cat "$tmp/log"
	exit 1
}
pc=$(find "$tmp/root" -name libholdfast.pc)
[ -n "$pc" ] || {
	echo "no libholdfast.pc was installed"
	exit 1
}
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR="$tmp/root"

cat >"$tmp/stranger.c" <<'END'
#include <stdio.h>
#include <string.h>
#include <holdfast/session.h>
#include <holdfast/version.h>

int main(void)
{
	struct hf_config config = HF_CONFIG_INIT;
	struct hf_session *session = NULL;
	struct hf_error err = { 0 };

	printf("%s\n", hf_version());
	/* An empty configuration is refused, with words. */
	return !(hf_session_new(&config, &session, &err) < 0 && err.text[0] && session == NULL &&
		 strcmp(hf_version(), HF_VERSION_TEXT) == 0);
}
END
# shellcheck disable=SC2046 # words
$CC -std=c99 -Wall -Werror "$tmp/stranger.c" -o "$tmp/stranger" \
	$(pkg-config --cflags --libs libholdfast)
library=$(find "$tmp/root" -name 'libholdfast.so.0')
LD_LIBRARY_PATH=$(dirname "$library")
export LD_LIBRARY_PATH
version=$("$tmp/stranger")
[ "$(pkg-config --modversion libholdfast)" = "$version" ]

# The command runs from there too, and says the same version.
command=$(find "$tmp/root" -type f -name holdfast -perm -u+x)
if [ -n "$command" ]; then
	"$command" --version | grep -F "$version"
fi
find "$tmp/root" -name '*.h' | grep -q holdfast/session.h
