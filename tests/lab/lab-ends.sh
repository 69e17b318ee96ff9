#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The lab's own words about commands that do not end well: one that hangs, one that the kernel
# complains about, one that takes the machine with it.
. "${HF_TESTS_LAB:-$(dirname "$0")}/functions.sh"
requires_lab

in_lab 124 --kernel debian --timeout 15 -- sh -c 'echo begun; exec tail -f /dev/null'
file_has "$tmp/lab.out" '^begun$'
file_has "$tmp/lab.err.log" '^lab: the command did not end within 15 s$'

in_lab 126 --kernel debian -- sh -c 'echo "BUG: planted by the test" >/dev/kmsg'
file_has "$tmp/lab.err.log" "^lab: the machine's kernel: .*BUG: planted by the test"

in_lab 125 --kernel debian -- sh -c 'echo c >/proc/sysrq-trigger'
file_has "$tmp/lab.err.log" '^lab: the machine ended without a status; its console:$'
file_has "$tmp/lab.err.log" 'Kernel panic - not syncing: sysrq'
