#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
One QMP command over a UNIX socket; see qmp and qmp_wait in functions.sh.

  qmp.py [OPTIONS] SOCKET COMMAND [KEY=VALUE...]
  qmp.py [OPTIONS] SOCKET '{"execute": ..., "arguments": ...}'
  qmp.py [OPTIONS] --event NAME SOCKET          wait for an event, print it

The answer's "return" goes to stdout as JSON (status 0), an error answer to stderr (status 1); a
deadline that passes is status 3. It shares nothing with the VMM's own parser.
"""
import argparse
import importlib.util
import json
import os
import re
import select
import socket
import sys
import time


def load_json_get():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "json-get.py")
    spec = importlib.util.spec_from_file_location("json_get", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Late(Exception):
    """The deadline has passed."""


class Peer:
    """A connection after the greeting. Every wait ends at the deadline."""

    def __init__(self, path, deadline, pid):
        self.deadline = deadline
        self.buffer = b""
        self.events = []
        self.socket = self.connect(path, pid)
        self.socket.setblocking(False)
        greeting = self.read()
        if "QMP" not in greeting:
            raise SystemExit(f"qmp: not a greeting: {greeting}")
        self.execute({"execute": "qmp_capabilities"})

    def left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Late
        return left

    @staticmethod
    def pidfd_of(pid):
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            raise SystemExit(f"qmp: process {pid} is gone") from None

    def connect(self, path, pid):
        """Without pid once; with it until the socket is there or the process is gone."""
        pidfd = self.pidfd_of(pid) if pid else None
        while True:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.connect(path)
                return link
            except (FileNotFoundError, ConnectionRefusedError) as why:
                link.close()
                if pidfd is None:
                    raise SystemExit(f"qmp: {path}: {why}") from why
            # Between bind() and listen() there is no event to wait for: look again, soon.
            if select.select([pidfd], [], [], min(0.02, self.left()))[0]:
                raise SystemExit(f"qmp: process {pid} ended before {path} answered")

    def read(self, wait=None):
        """The next object; None if nothing came within wait seconds."""
        until = None if wait is None else time.monotonic() + wait
        while b"\n" not in self.buffer:
            left = self.left()
            if until is not None:
                left = min(left, max(0, until - time.monotonic()))
            if not select.select([self.socket], [], [], left)[0]:
                if until is not None:
                    return None
                raise Late
            data = self.socket.recv(1 << 16)
            if not data:
                raise SystemExit("qmp: the VMM closed the connection")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def execute(self, command):
        """The answer to a command; events on the way are kept."""
        self.socket.setblocking(True)
        self.socket.settimeout(self.left())
        self.socket.sendall(json.dumps(command).encode() + b"\n")
        self.socket.setblocking(False)
        while True:
            answer = self.read()
            if "return" in answer or "error" in answer:
                return answer
            self.events.append(answer)


def command_of(words):
    if words[0].startswith("{"):
        if len(words) != 1:
            raise SystemExit("qmp: nothing may follow a JSON command")
        return json.loads(words[0])
    arguments = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise SystemExit(f"qmp: not KEY=VALUE: {word}")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value
    command = {"execute": words[0]}
    if arguments:
        command["arguments"] = arguments
    return command


def wait_event(peer, name):
    while True:
        event = peer.events.pop(0) if peer.events else peer.read()
        if event.get("event") == name:
            print(json.dumps(event))
            return 0


def ask(peer, command):
    answer = peer.execute(command)
    if "error" in answer:
        print(json.dumps(answer["error"]), file=sys.stderr)
        return 1
    print(json.dumps(answer["return"]))
    return 0


def ask_until(peer, command, path, regex):
    json_get = load_json_get()
    last = None
    try:
        while True:
            last = peer.execute(command)
            if "error" in last:
                print(json.dumps(last["error"]), file=sys.stderr)
                return 1
            if re.search(regex, json_get.text_of(json_get.value_at(last["return"], path))):
                print(json.dumps(last["return"]))
                return 0
            # Not everything that changes has an event: ask again after a while without one.
            peer.read(wait=0.05)
    except Late:
        print(f"qmp: the last answer was {json.dumps(last)}", file=sys.stderr)
        raise


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--deadline", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--connect-pid", type=int, metavar="PID")
    parser.add_argument("--until", nargs=2, metavar=("PATH", "REGEX"))
    parser.add_argument("--event", metavar="NAME")
    parser.add_argument("socket")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.words and not args.event:
        parser.error("a command is missing")

    try:
        peer = Peer(args.socket, time.monotonic() + args.deadline, args.connect_pid)
        if args.event:
            return wait_event(peer, args.event)
        command = command_of(args.words)
        if args.until:
            return ask_until(peer, command, *args.until)
        return ask(peer, command)
    except (Late, TimeoutError):
        print(f"qmp: no answer within {args.deadline:g} s", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
