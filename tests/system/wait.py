#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Wait for something, with a deadline and without polling (inotify, pidfd); see functions.sh.

  wait.py exists FILE SECONDS
  wait.py exit PID SECONDS
  wait.py line [--bad REGEX] [--skip LINES] [--count N] FILE REGEX SECONDS

Status 0: it happened; 1: a line matched --bad first (and not REGEX); 3: the deadline passed.
"""
import argparse
import ctypes
import os
import re
import select
import sys
import time

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
IN_CLOEXEC, IN_NONBLOCK = 0o2000000, 0o4000


class Watch:
    """Events of a folder and of the files in it."""

    def __init__(self, folder):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
        events = IN_MODIFY | IN_MOVED_TO | IN_CREATE
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(folder), events) < 0:
            raise OSError(ctypes.get_errno(), "inotify", folder)

    def wait(self, deadline):
        """True after an event, False at the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            return False
        os.read(self.fd, 1 << 16)
        return True


def wait_exists(path, deadline):
    watch = Watch(os.path.dirname(os.path.abspath(path)))
    while not os.path.exists(path):
        if not watch.wait(deadline):
            return 3
    return 0


def wait_exit(pid, deadline):
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    left = max(0, deadline - time.monotonic())
    return 0 if select.select([pidfd], [], [], left)[0] else 3


def whole_lines(path):
    """All lines that have their end."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def wait_line(args, deadline):
    watch = Watch(os.path.dirname(os.path.abspath(args.file)))
    done, found = args.skip, 0
    while True:
        lines = whole_lines(args.file)
        for line in lines[done:]:
            if re.search(args.regex, line):
                found += 1
                if found == args.count:
                    print(line.rstrip("\r"))
                    return 0
            elif args.bad and re.search(args.bad, line):
                print(f"wait: {line}", file=sys.stderr)
                return 1
        done = max(done, len(lines))
        if not watch.wait(deadline):
            print(f"wait: found {found} of {args.count}", file=sys.stderr)
            return 3


def main():
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    exists = kinds.add_parser("exists")
    exists.add_argument("file")
    ends = kinds.add_parser("exit")
    ends.add_argument("pid", type=int)
    line = kinds.add_parser("line")
    line.add_argument("--bad")
    line.add_argument("--skip", type=int, default=0)
    line.add_argument("--count", type=int, default=1)
    line.add_argument("file")
    line.add_argument("regex")
    for kind in (exists, ends, line):
        kind.add_argument("seconds", type=float)
    args = parser.parse_args()

    deadline = time.monotonic() + args.seconds
    if args.kind == "exists":
        return wait_exists(args.file, deadline)
    if args.kind == "exit":
        return wait_exit(args.pid, deadline)
    return wait_line(args, deadline)


if __name__ == "__main__":
    sys.exit(main())
