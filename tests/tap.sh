#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# tap.sh COMMAND...: stands in front of every test. cmocka 1.1 writes a skipped test as
# "not ok N # SKIP", which TAP (and Meson) call a failure: make it "ok N # SKIP". What a test says
# besides becomes a comment. Programs that are not cmocka's are not touched. The status is the
# command's.
[ "${CMOCKA_MESSAGE_OUTPUT:-}" = TAP ] || exec "$@"

exec 4>&1
status=$({ {
	"$@" 3>&- 4>&-
	echo $? >&3
} | sed -u -e 's/^not ok \([0-9]* # SKIP\)/ok \1/' \
	-e '/^\(not \)\{0,1\}ok \|^1\.\.\|^#\|^Bail out!/!s/^/# /' >&4; } 3>&1)
exit "$status"
