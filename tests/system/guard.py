#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
`holdfast guard` in front of two unmodified QEMUs, with the checker guest, whose own verdict counts:
handovers that succeed, in each shape; refusals on each side, in each phase; guards, QEMUs and links
that go away. After each there is one guest that runs, or waits as it must. Results are TAP.

Environment: HOLDFAST, CHECKER; QEMU (default: this host's).
"""
import json
import os
import queue
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import qemu_vm
from qemu_vm import DEADLINE_S, Failure, Qemu, Skip, check

HOLDFAST, CHECKER = os.environ["HOLDFAST"], os.environ["CHECKER"]
AT_ONCE = 2
WORDS = "mem=8 touch=header report=100 registers=off"
AWAY, HOME, DOUBT = 0, 1, 3


class Damaged(Skip):
    """
    QEMU's TCG loses writes of guests that run while they are migrated, now and then, also with
    nothing of ours between the two: on a busy host 7 of 30 (guard.py alone). With KVM it does not.
    So a guest of TCG that is damaged decides nothing. That the guard itself loses nothing is shown
    by guests whose memory is compared octet by octet, and by those that are not damaged.
    """


def runtime(folder):
    """Each pair has its own control sockets."""
    return {**os.environ, "XDG_RUNTIME_DIR": folder}


class Guard:
    """One side's process. Its lines are read as they come."""

    def __init__(self, role, *arguments):
        self.role = role
        self.lines, self.queue = [], queue.Queue()
        folder = os.path.dirname(arguments[arguments.index("--dir") + 1])
        self.process = subprocess.Popen(
            [HOLDFAST, "guard", "--json", *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=runtime(folder))
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.queue.put(line)
        self.queue.put(None)

    def next(self, what):
        try:
            line = self.queue.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise Failure(f"{self.role}: {what}: nothing came") from None
        if line is not None:
            self.lines.append(line)
        return line

    def wait(self, event, pattern=""):
        """Until it says so; its text."""
        while True:
            line = self.next(f"{event} {pattern}")
            check(line is not None, f"{self.role}: it ended before '{event} {pattern}': {self}")
            if not line.startswith("{"):
                continue
            item = json.loads(line)
            text = item.get("text") or ""
            if item["event"] == event and re.search(pattern, text):
                return text

    def end(self, status=None):
        """Wait for its end; the status that it must have."""
        while self.next("its end") is not None:
            pass
        code = self.process.wait(DEADLINE_S)
        check(status is None or code == status, f"{self.role}: status {code}: {self}")
        return code

    def said(self, event):
        items = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [item.get("text") or "" for item in items if item["event"] == event]

    def reason(self):
        return " ".join(self.said("reason"))

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)

    def __str__(self):
        return " | ".join(line.strip() for line in self.lines[-6:])


class Proxy:
    """Between the guards: cuts the link, or lets it hang."""

    def __init__(self, port):
        self.port, self.open, self.pairs = port, True, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def uri(self):
        return f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if not self.open:
                    one.close()
                    continue
                try:
                    other = socket.create_connection(("127.0.0.1", self.port))
                except OSError:
                    one.close()
                    continue
                self.pairs.append((one, other))
            for way in ((one, other), (other, one)):
                threading.Thread(target=self.carry, args=way, daemon=True).start()

    @staticmethod
    def carry(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        with self.lock:
            self.open = False
            for pair in self.pairs:
                for end in pair:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
                    end.close()
            self.pairs = []

    def mend(self):
        with self.lock:
            self.open = True

    def close(self):
        self.listener.close()
        self.cut()


class Host:
    """One QEMU with its guard's socket and folder."""

    def __init__(self, folder, name, words=None, incoming=False, more=(), accel=None):
        self.name = name
        self.serial = os.path.join(folder, f"{name}.serial")
        self.qmp = os.path.join(folder, f"{name}.qmp")
        self.dir = os.path.join(folder, f"{name}.dir")
        os.mkdir(self.dir)
        guest = qemu_vm.running(CHECKER, words or WORDS)
        self.qemu = Qemu(*guest, "-qmp", f"unix:{self.qmp},server=on,wait=off",
                         *(["-incoming", "defer"] if incoming else []), *more,
                         serial=self.serial, accel=accel or qemu_vm.fastest()[0])

    def status(self):
        """Its run state; "gone" without a process."""
        try:
            return self.qemu.ask("query-status")["status"]
        except (Failure, OSError):
            try:
                self.qemu.process.wait(DEADLINE_S) # a busy host takes long to free a guest
            except subprocess.TimeoutExpired:
                raise Failure(f"{self.name}: QEMU does not answer") from None
            self.passes() # a guest that finds itself damaged switches its machine off
            return "gone"

    def passes(self):
        if not os.path.exists(self.serial):
            return 0
        with open(self.serial, encoding="ascii", errors="replace") as file:
            text = file.read()
        if "CORRUPT" in text:
            verdict = re.search(r"CORRUPT[^\n]*", text).group()
            if qemu_vm.fastest()[1]:
                raise Damaged(f"{self.name}: QEMU's TCG lost a write: {verdict}")
            raise Failure(f"{self.name}: the guest is damaged: {verdict}")
        return len(re.findall(r"^checker: pass=", text, re.MULTILINE))

    def works(self):
        """The guest goes on here, unharmed."""
        before, until = self.passes(), time.monotonic() + DEADLINE_S
        while self.passes() < before + 2:
            check(time.monotonic() < until, f"{self.name}: the guest does not go on")
            select.select([], [], [], 0.02)


class Pair:
    """Two QEMUs and what is between them."""

    def __init__(self, folder, words=None, more=(), target_more=None, ledger=None):
        self.folder = folder
        self.words, self.more = words, more
        self.count = 0
        self.ledger = ledger or f"file:{folder}/ledger"
        self.all = []
        self.source = self.host(incoming=False)
        self.target = self.host(incoming=True, more=target_more)
        self.source.qemu.wait_guest()
        self.proxy = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.all:
            host.qemu.__exit__()
        if self.proxy:
            self.proxy.close()

    def host(self, incoming, more=None):
        self.count += 1
        host = Host(self.folder, f"host{self.count}", self.words, incoming,
                    self.more if more is None else more)
        self.all.append(host)
        return host

    def turn(self):
        """The way back, to a new QEMU."""
        self.source, self.target = self.target, self.host(incoming=True)

    def common(self, host):
        return ["--guest", "guest", "--ledger", self.ledger, "--dir", host.dir]

    def guard_target(self, *options):
        guard = Guard("target", *self.common(self.target), *options, "target", self.target.qmp,
                      "tcp:127.0.0.1:0")
        self.port = int(guard.wait("listening").rsplit(":", 1)[1])
        return guard

    def guard_source(self, *options, proxy=False):
        if proxy:
            self.proxy = Proxy(self.port)
        uri = self.proxy.uri() if proxy else f"tcp:127.0.0.1:{self.port}"
        return Guard("source", *self.common(self.source), *options, "source", self.source.qmp,
                     uri)

    def guards(self, source=(), target=(), proxy=False):
        other = self.guard_target(*target)
        return self.guard_source(*source, proxy=proxy), other

    def restart(self, role, status=None):
        host = self.source if role == "source" else self.target
        guard = Guard(role, *self.common(host), "--restart", role, host.qmp, "tcp:127.0.0.1:1")
        guard.end(status)
        return guard

    def is_away(self):
        check(self.source.status() == "gone", f"the source's QEMU is {self.source.status()}")
        check(self.target.status() == "running", f"the target is {self.target.status()}")
        self.target.works()

    def is_home(self, state="running"):
        """QEMU has a state of its own for a paused guest whose migration failed."""
        now = self.source.status()
        check(now == state or (state, now) == ("paused", "postmigrate"), f"the source is {now}")
        check(self.target.status() == "gone", f"the target's QEMU is {self.target.status()}")
        if state != "running":
            self.source.qemu.ask("cont")
        self.source.works()


# ---- it succeeds ------------------------------------------------------------------------------

def moves(source=(), target=(), times=1, **pair):
    def test(folder):
        with Pair(folder, **pair) as it:
            for time_ in range(times):
                if time_:
                    it.turn()
                guards = it.guards(source, target)
                guards[0].end(AWAY)
                guards[1].end(0)
                it.is_away()
    return test


def paused(folder):
    with Pair(folder) as it:
        it.source.qemu.ask("stop")
        guards = it.guards()
        guards[0].end(AWAY)
        guards[1].end(0)
        check(it.target.status() == "paused", f"the target is {it.target.status()}")
        it.target.qemu.ask("cont")
        it.is_away()


def compared(folder):
    """A paused guest's memory, before and behind; the checker had filled it."""
    def memory(host, name):
        path = os.path.join(folder, name)
        host.qemu.ask("pmemsave", val=0, size=64 << 20, filename=path)
        with open(path, "rb") as file:
            return file.read()
    with Pair(folder) as it:
        it.source.qemu.ask("stop")
        before = memory(it.source, "before")
        guards = it.guards(["--multifd", "3"])
        guards[0].end(AWAY)
        guards[1].end(0)
        behind = memory(it.target, "behind")
        differing = [at for at in range(0, len(before), 4096)
                     if before[at:at + 4096] != behind[at:at + 4096]]
        check(not differing, f"{len(differing)} pages differ, the first at {differing[:1]}")
        check(len(before.strip(b"\0")) > 1 << 20, "the guest's memory is empty")


def local(folder):
    with Pair(folder) as it:
        done = subprocess.run(
            [HOLDFAST, "guard", "--guest", "guest", "--ledger", it.ledger, "local",
             it.source.qmp, it.target.qmp], capture_output=True, text=True, timeout=DEADLINE_S,
            check=False, env=runtime(folder))
        check(done.returncode == AWAY, f"status {done.returncode}: {done.stdout}{done.stderr}")
        it.is_away()


# ---- it is refused ----------------------------------------------------------------------------

def refused(words, source=(), target=(), state="running", **pair):
    """Both guards say why, and the guest goes on at the source."""
    def test(folder):
        with Pair(folder, **pair) as it:
            if state == "paused":
                it.source.qemu.ask("stop")
            guards = it.guards(source, target)
            guards[0].end(HOME)
            guards[1].end(1)
            for guard in guards:
                check(re.search(words, guard.reason()), f"{guard.role}: {guard.reason()}")
            it.is_home(state)
    return test


def unlike(folder):
    """Another machine: refused before anything is copied."""
    with Pair(folder, target_more=["-m", "128"]) as it:
        guards = it.guards()
        guards[0].end(HOME)
        guards[1].end(1)
        check("bytes of memory" in guards[0].reason(), guards[0].reason())
        check(not guards[0].said("copying"), "something was copied")
        check(it.source.status() == "running", it.source.status())
        it.source.works()


def held_at_target(folder):
    """`cont` fails behind STARTED: it is the target's, and paused."""
    with Pair(folder) as it:
        guards = it.guards(target=["--filter", "fault:machine.run:1"])
        guards[0].end(AWAY)
        guards[1].end(DOUBT)
        check("this side's, and paused" in str(guards[1]), str(guards[1]))
        check(it.source.status() == "gone", it.source.status())
        check(it.target.status() == "paused", it.target.status())
        it.target.qemu.ask("cont")
        it.is_away()


def not_incoming(folder):
    with Pair(folder) as it:
        guard = Guard("target", *it.common(it.target), "target", it.source.qmp, "tcp:127.0.0.1:0")
        guard.end(1)
        check("-incoming defer" in str(guard), str(guard))
        it.source.works()


def stands_still(folder):
    """The target's QEMU does not even answer when it is told to quit."""
    with Pair(folder) as it:
        deadlines = ["--device-deadline", "2", "--link-deadline", "2"]
        guards = it.guards([*deadlines, "--deadline", "2"], deadlines)
        guards[1].wait("device", "qemu: .* -> RESUMING")
        it.target.qemu.process.send_signal(signal.SIGSTOP)
        guards[0].end(HOME)
        guards[1].end(1)
        check(guards[1].said("QEMU was killed"), str(guards[1]))
        it.is_home()


def foreign_capability(folder):
    with Pair(folder) as it:
        it.source.qemu.capabilities(["postcopy-ram"])
        target = it.guard_target()
        source = it.guard_source()
        source.end(1)
        check("postcopy-ram" in str(source), str(source))
        target.kill()
        it.source.works()


def settings(folder):
    """What the source's user has set, and the target's has not: the target gets it."""
    with Pair(folder) as it:
        it.source.qemu.capabilities(["xbzrle", "validate-uuid"])
        it.target.qemu.capabilities(["xbzrle", "release-ram"])
        it.source.qemu.parameters(multifd_compression="zlib")
        guards = it.guards(["--multifd", "2"])
        guards[1].wait("device", "qemu: .* -> RESUMING")
        on = {item["capability"]
              for item in it.target.qemu.ask("query-migrate-capabilities") if item["state"]}
        check({"validate-uuid", "xbzrle"} <= on, f"on at the target: {sorted(on)}")
        parameters = it.target.qemu.ask("query-migrate-parameters")
        check(parameters["multifd-compression"] == "zlib", f"{parameters}")
        guards[0].end(AWAY)
        guards[1].end(0)
        it.is_away()


def encrypted(folder):
    """QEMU's own TLS: nobody else reads its return path, and that is said."""
    with Pair(folder) as it:
        it.source.qemu.parameters(tls_creds="tls0")
        target = it.guard_target()
        source = it.guard_source()
        source.end(1)
        check("tls-creds" in str(source), str(source))
        target.kill()
        it.source.works()


def doubtful(folder):
    """The ledger does not answer: the guest waits, and a restart finds out."""
    with Pair(folder) as it:
        guards = it.guards(source=["--filter", "fault:ledger.swap:2+", "--doubt", "1"])
        guards[0].end(DOUBT)
        guards[1].end(1)
        check(it.source.status() == "finish-migrate", it.source.status())
        it.restart("source", HOME)
        it.is_home()


def cancelled(folder):
    """In the copy: the guest goes on, and the reason says so."""
    with Pair(folder) as it:
        guards = it.guards(source=["--bandwidth", "100K"])
        guards[0].wait("transition", r"PRECOPY")
        guards[0].kill(signal.SIGINT)
        guards[0].end(HOME)
        guards[1].end(1)
        check("cancel" in guards[0].reason(), guards[0].reason())
        it.is_home()


# ---- somebody goes away -----------------------------------------------------------------------

def settle(it, who):
    """
    A guard or a QEMU was killed. Whoever guards is started anew until nobody waits; then there is
    one guest, and it is whole.
    """
    until = time.monotonic() + DEADLINE_S
    while True:
        states = (it.source.status(), it.target.status())
        check(states.count("running") < 2, f"both run, after {who}")
        if states in (("running", "gone"), ("gone", "running")):
            break
        check(time.monotonic() < until, f"after {who}: {states}")
        if states[1] in ("paused", "inmigrate", "prelaunch"):
            guard = it.restart("target")
            if "nothing to go on from" in str(guard): # it had not begun to act
                check(states == ("running", "inmigrate"), f"after {who}: {states}")
                break
        elif states[0] not in ("gone", "running"):
            it.restart("source")
    (it.source if states[0] == "running" else it.target).works()
    return states


STATES = ["HELLO", "PRECOPY", "QUIESCING", "DRAINING", "PROVING", "OFFERING", "COMMITTING", "AWAY"]
TARGET_STATES = ["GREETING", "LOADING", "VERIFYING", "SETTING", "LOADED", "CLAIMING", "STARTING",
                 "RECORDING", "RESUMING"]


def struck(role, state, what, more=()):
    """Kill the guard (or its QEMU) as it reaches a state."""
    def test(folder):
        with Pair(folder) as it:
            slow = ["--filter", "delay:ledger.swap:100", "--filter", "delay:device.set_state:30",
                    "--filter", "delay:machine.run:200",
                    "--link-deadline", "3", "--doubt", "4"]
            guards = dict(zip(("source", "target"), it.guards([*slow, *more], slow)))
            host = it.source if role == "source" else it.target
            guards[role].wait("transition", f"-> {state} ")
            (guards[role].process if what == "guard" else host.qemu.process).kill()
            for guard in guards.values():
                guard.end()
            if what == "guard":
                settle(it, f"{role} guard in {state}")
            else:
                lost(it, role, state)
    return test


def lost(it, role, state):
    """A QEMU died, and its memory with it: the other may run only what was started there."""
    other = it.target if role == "source" else it.source
    status = other.status()
    if role == "target" and status not in ("running", "gone"):
        it.restart("source")
        status = other.status()
    if role == "target" and status != "running":
        done = subprocess.run([HOLDFAST, "resolve", "--ledger", it.ledger, "--take-back", "guest"],
                              check=False, capture_output=True, text=True)
        check(done.returncode == 0, f"it cannot be taken back: {done.stderr}")
        it.restart("source", HOME)
        status = other.status()
    if role == "target":
        check(status == "running", f"{role} died in {state}: the source is {status}")
        other.works()
    else:
        check(status in ("running", "gone"), f"{role} died in {state}: the target is {status}")


def restart_of_another(folder):
    """The guard dies before it has acted, and the ledger's guest of that name is elsewhere."""
    with Pair(folder) as it:
        for guard in it.guards():
            guard.end(0)
        it.is_away()
        other = it.source = it.host(incoming=False)
        other.qemu.wait_guest()
        guard = Guard("source", *it.common(other), "--filter", "delay:ledger.read:2000", "source",
                      other.qmp, "tcp:127.0.0.1:1")
        guard.wait("transition", "-> ENTERING ")
        guard.process.kill()
        guard.end()
        guard = it.restart("source", 4)
        check("nothing is done" in guard.reason(), f"{guard}")
        other.works()
        it.target.works()


def released(folder):
    """The guard dies when QEMU has had its last word, and has not been told to quit."""
    with Pair(folder) as it:
        guards = it.guards(["--stay", "--filter", "delay:ledger.swap:100"])
        guards[0].wait("transition", "-> OFFERING ")
        note = os.path.join(folder, "note") # all that such a guard leaves behind
        shutil.copy(os.path.join(it.source.dir, "note"), note)
        guards[0].end(AWAY)
        guards[1].end(0)
        check(it.source.status() == "postmigrate", it.source.status())
        shutil.copy(note, it.source.dir)
        it.restart("source", AWAY)
        it.is_away()


def link_cut(seconds, when):
    """Both guards reconnect and go on; QEMU does not notice."""
    def test(folder):
        with Pair(folder) as it:
            guards = it.guards(["--bandwidth", "4M", "--downtime", "4000"] if when == "PRECOPY" else
                               ["--filter", "delay:ledger.swap:500"], proxy=True)
            if when == "PRECOPY":
                guards[0].wait("transition", "-> PRECOPY ")
                guards[0].wait("copying")
            else:
                guards[0].wait("transition", f"-> {when} ")
            it.proxy.cut()
            select.select([], [], [], seconds)
            it.proxy.mend()
            guards[0].end(AWAY)
            guards[1].end(0)
            check(guards[0].said("link lost"), "the link was not cut")
            it.is_away()
    return test


def link_gone(folder):
    """For good: the guest goes on, after the deadline that was given."""
    with Pair(folder) as it:
        guards = it.guards(["--bandwidth", "100K", "--link-deadline", "2"],
                           ["--link-deadline", "2"], proxy=True)
        guards[0].wait("transition", "-> PRECOPY ")
        it.proxy.cut()
        guards[0].end(HOME)
        guards[1].end(1)
        check("link" in guards[0].reason(), guards[0].reason())
        it.is_home()


def alone(folder):
    """What QEMU does without a guard, for comparison: it must work, or the guest was damaged."""
    with Pair(folder) as it:
        path = f"unix:{folder}/alone"
        for host in (it.source, it.target):
            host.qemu.capabilities(["return-path"])
        it.target.qemu.ask("migrate-incoming", uri=path)
        it.source.qemu.ask("migrate", uri=path)
        it.source.qemu.completed()
        it.target.works()


SUITES = {
    "fifty": {
        **{f"there and back, {i}": moves(times=2) for i in range(1, 14)},
        **{f"there and back with multifd, {i}": moves(["--multifd", "4"], times=2)
           for i in range(1, 13)},
    },
    "alone": {f"QEMU without a guard, {i}": alone for i in range(1, 31)},
    "moves": {
        "a running guest": moves(),
        "a paused one": paused,
        "a paused one, octet by octet": compared,
        "in one process": local,
        "with multifd": moves(["--multifd", "2"]),
        "with many channels": moves(["--multifd", "8", "--channels", "4"]),
        "several vCPUs": moves(more=["-smp", "2"]),
        "settings of the source's user": settings,
        "there and back": moves(times=4),
        "without a ledger": moves(ledger="none"),
    },
    "refusals": {
        "another machine": unlike,
        "no incoming QEMU": not_incoming,
        "a capability that is in the way": foreign_capability,
        "QEMU's own TLS": encrypted,
        "cancelled": cancelled,
        "the target's QEMU stands still": stands_still,
        "QEMU's listening": refused("Input/output error|RESUMING", target=[
            "--filter", "fault:device[0].set_state=RESUMING:1"]),
        "QEMU's load": refused("RESUMING -> STOP", target=[
            "--filter", "fault:device[0].set_state=STOP:1"]),
        "the proof": refused("state_check|machine", target=[
            "--filter", "fault:machine.state_check:1"]),
        "a start, after the claim": refused("RUNNING", target=[
            "--filter", "fault:device[0].set_state=RUNNING:1"]),
        "of a paused guest": refused("RUNNING", state="paused", target=[
            "--filter", "fault:device[0].set_state=RUNNING:1"]),
        "the last `cont`": held_at_target,
        "the ledger, for a moment": refused("OFFER", source=["--filter", "fault:ledger.swap:2"]),
        "the ledger, for good": doubtful,
    },
    "link": {
        "cut for 1 s in the copy": link_cut(1, "PRECOPY"),
        "cut for 5 s in the copy": link_cut(5, "PRECOPY"),
        "cut for 1 s at the switchover": link_cut(1, "OFFERING"),
        "cut for 5 s at the switchover": link_cut(5, "PROVING"),
        "cut for good": link_gone,
    },
    "link-30": {
        "cut for 30 s in the copy": link_cut(30, "PRECOPY"),
        "cut for 30 s at the switchover": link_cut(30, "OFFERING"),
    },
    "struck-guards": {
        "a restart that finds another's record": restart_of_another,
        "a restart behind the last word": released,
        **{f"the source's guard, {state}": struck("source", state, "guard") for state in STATES},
        **{f"the source's guard, {state}, on the way home": struck(
            "source", state, "guard", ["--filter", "fault:ledger.swap:2"])
           for state in ("REVOKING", "UNDOING", "RESUMING")},
        **{f"the target's guard, {state}": struck("target", state, "guard")
           for state in TARGET_STATES},
    },
    "struck-qemus": {
        **{f"the source's QEMU, {state}": struck("source", state, "qemu")
           for state in STATES[:-1]},
        **{f"the target's QEMU, {state}": struck("target", state, "qemu")
           for state in TARGET_STATES[:-2]}, # behind `started` it is the guest that dies
    },
}


def main():
    suite = sys.argv.pop(1)
    if qemu_vm.QEMU and qemu_vm.fastest()[1]:
        print(f"# no KVM ({qemu_vm.fastest()[1]}): QEMU emulates, and damages a guest now and then")
    return qemu_vm.run_tests(SUITES[suite], "hf-guard-", AT_ONCE)


if __name__ == "__main__":
    sys.exit(main())
