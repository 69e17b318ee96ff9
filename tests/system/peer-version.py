#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
A peer of another version is refused by both sides before the guest is touched, in words that name
both versions; so is somebody who does not speak the protocol at all. Results are TAP.

The peer is written from docs/stream.md, sections 3, 4.1, 5.14 and 10: a few octets on a socket.

Environment: HOLDFAST. Files go to a temporary folder, kept when a test fails.
"""
import errno
import select
import socket
import struct
import subprocess
import sys
import time

import handover
from handover import Failure, check

PEER_S = 100
MAGIC = b"HOLDFAST"
CONTROL, TO_TARGET, TO_SOURCE = 1, 1, 2
ABORT, VERSION = 0x21, -4141


def stream_header(major, minor, direction, rest=b""):
    """Section 3. What is behind minor has a meaning in a known version only."""
    if rest:
        return MAGIC + struct.pack("<HH", major, minor) + rest
    return MAGIC + struct.pack("<HHBBH16x", major, minor, CONTROL, direction, 0)


def recv_some(link, most):
    check(select.select([link], [], [], PEER_S)[0], "nothing came from the other side")
    try:
        return link.recv(most)
    except ConnectionResetError:
        return b""


def recv_rest(link):
    """All that comes until the other side closes."""
    octets, deadline = b"", time.monotonic() + PEER_S
    while True:
        check(time.monotonic() < deadline, "the connection stays open")
        data = recv_some(link, 65536)
        if not data:
            return octets
        octets += data


def abort_of(octets):
    """The reason in the target's answer: (code, text)."""
    check(len(octets) >= 32, f"no stream header, but {octets!r}")
    check(octets[:8] == MAGIC and octets[13] == TO_SOURCE, f"no target's header: {octets[:32]!r}")
    octets = octets[32:]
    while len(octets) >= 8:
        kind, length = struct.unpack_from("<II", octets)
        if kind == ABORT:
            code, _, text = struct.unpack_from("<ii248s", octets, 8)
            return code, text.rstrip(b"\0").decode("ascii")
        octets = octets[8 + (length + 7) // 8 * 8:]
    raise Failure("no ABORT came")


def call(target, octets):
    """Say these octets to a target, and no more; its answer."""
    host, port = target.uri.split(":")[1:]
    with socket.create_connection((host, int(port)), PEER_S) as link:
        link.sendall(octets)
        try:
            link.shutdown(socket.SHUT_WR)
        except OSError as why:  # the target may have read enough already, and left
            check(why.errno == errno.ENOTCONN, f"the connection: {why}")
        return recv_rest(link)


def call_target(test, octets):
    """As call(); and what the target says when it ends."""
    target = test.target()
    answer = call(target, octets)
    try:
        status = target.process.wait(PEER_S)
    except subprocess.TimeoutExpired as why:
        raise Failure("the target has not ended") from why
    check(status == 1, f"the target's exit status is {status}")
    check(not target.lines(), "the guest ran at the target")
    return answer, target.log_end()


def another_source(major, minor, rest=b""):
    def run(test):
        answer, log = call_target(test, stream_header(major, minor, TO_TARGET, rest))
        code, text = abort_of(answer)
        check(code == VERSION, f"the code is {code}, with \"{text}\"")
        for words in (text, log):
            for version in (f"{major}.{minor}", "1.0"):
                check(version in words, f"\"{words}\" does not name {version}")
        test.source.wait_passes(test.source.passes() + 1)
    return (f"a target refuses a source of version {major}.{minor}"
            + (" that looks otherwise behind it" if rest else ""), run)


def newer_minor(test):
    """It is not the version that is wrong with this one: it leaves before it said HELLO."""
    log = call_target(test, stream_header(1, 7, TO_TARGET))[1]
    check("version" not in log.lower(), log)


def stranger(test):
    """Who is no Holdfast at all cannot end the wait for the one that is to come."""
    target = test.target()
    answer = call(target, b"GET / HTTP/1.1\r\nHost: target.example\r\n\r\n")
    check(b"ABORT" not in answer and len(answer) <= 32, f"it was answered {answer!r}")
    test.assert_away(target, test.migrate(target))


def another_target(octets, *words):
    """A migration to a peer that answers with these octets, and stays."""
    def run(test):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PEER_S)
            port = listener.getsockname()[1]
            test.source.qmp.execute("migrate", uri=f"tcp:127.0.0.1:{port}", channels=1)
            link, _ = listener.accept()
            with link:
                check(recv_some(link, 8) == MAGIC, "the source does not begin with its header")
                link.sendall(octets)
                answer = test.source.qmp.wait_status(("completed", "failed", "cancelled"), PEER_S)
                recv_rest(link)
        check(answer["status"] == "failed", f"{answer}")
        own = answer["holdfast"]
        check(own["error"]["name"] == words[0], f"{own['error']}")
        for word in words[1:]:
            check(word in answer["error-desc"], f"\"{answer['error-desc']}\" has no {word}")
        check(not own["round"], "the guest was touched")
        check(test.source.status() == "running", f"the source is {test.source.status()}")
        test.source.wait_passes(test.source.passes() + 2)
    return run


TESTS = [
    another_source(2, 0), another_source(0, 9), another_source(65535, 3, b"\xff" * 20),
    ("a newer minor version is no reason", newer_minor),
    ("a stranger at a target's port is sent away, and the guest then comes", stranger),
    ("a source refuses a target of version 2.5",
     another_target(stream_header(2, 5, TO_SOURCE), "VERSION", "2.5", "1.0")),
    ("a source refuses a target of version 2.5 that looks otherwise behind it",
     another_target(stream_header(2, 5, TO_SOURCE, b"\xff" * 20), "VERSION", "2.5", "1.0")),
    ("a source refuses somebody else's answer",
     another_target(b"220 mail.example ESMTP ready, and more of it\r\n", "PROTOCOL")),
]


def main():
    print(f"1..{len(TESTS)}", flush=True)
    failed = 0
    for number, (what, function) in enumerate(TESTS, 1):
        try:
            handover.run_one({"devices": 1, "memory": "64M",
                              "load": handover.LOAD.replace("mem=48", "mem=16")}, function)
            print(f"ok {number} - {what}", flush=True)
        except Failure as why:
            failed += 1
            print(f"not ok {number} - {what}\n# {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
