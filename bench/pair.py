# SPDX-License-Identifier: BSD-3-Clause
"""
What the measuring programs share: `holdfast run` with the checker as its guest, one that awaits
it, and handovers from the one to the other. Nothing outlives the program: a VM is killed when we
die.
"""
import argparse
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
START_S, MIGRATE_S, REPORT_S = 60, 300, 60
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """It could not be measured, and why."""


def needs_kvm():
    """Ends the program, as Meson understands it, where nothing can be measured."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP: no /dev/kvm that may be used")
        sys.exit(77)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def watch(pidfd, seconds):
    """Wait a moment, or until the process has ended; whether it has."""
    return bool(select.select([pidfd], [], [], seconds)[0])


class Qmp:
    """A control connection; every wait has a deadline."""

    def __init__(self, path, pidfd):
        deadline = time.monotonic() + START_S
        while True:
            self.link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.link.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                self.link.close()
            # Between bind() and listen() there is no event to wait for: look again, soon.
            if watch(pidfd, 0.02) or time.monotonic() > deadline:
                raise Failure(f"{path} does not answer")
        self.buffer = b""
        self.read(START_S)
        self.execute("qmp_capabilities")

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.link], [], [], left)[0]:
                raise Failure("no answer from the control socket")
            data = self.link.recv(1 << 16)
            if not data:
                raise Failure("the control socket was closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def execute(self, command, **arguments):
        self.link.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self.read(30)
            if "error" in answer:
                raise Failure(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def event(self, seconds):
        """Something was said, or the time is over."""
        if b"\n" in self.buffer or select.select([self.link], [], [], seconds)[0]:
            self.read(5)


class Vm:
    """One `holdfast run`."""

    def __init__(self, pair, number, incoming):
        base = os.path.join(pair.folder, f"vm{number}")
        self.serial, self.log, self.trace = base + ".serial", base + ".log", base + ".trace"
        args = [pair.holdfast, "run", "--name", "bench", "--serial", "file:" + self.serial,
                "--control", base + ".qmp", "--ledger", "file:" + pair.ledger, "--trace",
                self.trace] + pair.machine
        args += (["--incoming", "tcp:127.0.0.1:0"] if incoming else
                 ["--kernel", pair.checker, "--append", pair.knobs])
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)
        self.pidfd = os.pidfd_open(self.process.pid)
        pair.vms.append(self)
        try:
            self.qmp = Qmp(base + ".qmp", self.pidfd)
            self.uri = self.wait_listening() if incoming else None
        except Failure as why:
            raise Failure(f"{why}: {self.log_end()}") from None

    def log_end(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-500:]

    def wait_listening(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            own = self.qmp.execute("query-migrate").get("holdfast", {})
            if own.get("listening"):
                return own["uri"]
            self.qmp.event(0.05)
        raise Failure("it does not listen")

    def reports(self):
        """The checker's whole lines so far, each a dictionary of its fields. The first one after a
        handover may be the end of a line that was begun elsewhere: it does not count."""
        try:
            with open(self.serial, errors="replace") as serial:
                lines = serial.read().split("\n")[:-1]
        except FileNotFoundError:
            return []
        for line in lines:
            if "CORRUPT" in line:
                raise Failure(line)
        return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines
                if " clean " in line and "pass=" in line]

    def wait_reports(self, count):
        deadline = time.monotonic() + REPORT_S
        while len(self.reports()) < count:
            if watch(self.pidfd, 0.05) or time.monotonic() > deadline:
                raise Failure(f"the guest does not report: {self.log_end()}")
        return self.reports()

    def wait_settled(self):
        """The guest has been through all of its memory here, once from the beginning to the end:
        before, it fills it, and after a handover KVM takes the first look at a page for a write."""
        passes = int(self.wait_reports(1)[0]["pass"])
        deadline = time.monotonic() + MIGRATE_S
        while int(self.reports()[-1]["pass"]) < passes + 2:
            if watch(self.pidfd, 0.05) or time.monotonic() > deadline:
                raise Failure(f"the guest does not end its pass: {self.log_end()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.pidfd)


class Pair:
    """A guest, where it is now, and how it gets to the next place."""

    def __init__(self, options, devices=2):
        self.holdfast, self.checker = options.holdfast, options.checker
        self.folder = tempfile.mkdtemp(prefix="holdfast-bench.", dir=options.folder)
        self.ledger = os.path.join(self.folder, "ledger")
        os.mkdir(self.ledger)
        self.knobs = options.knobs
        self.machine = ["--memory", options.memory, "--vcpus", str(options.vcpus), "--guest", "kvm"]
        for _ in range(devices):
            self.machine += ["--device", options.device]
        self.vms, self.count = [], 0
        self.source = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for vm in self.vms:
            vm.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, incoming):
        self.count += 1
        return Vm(self, self.count, incoming)

    def migrate(self, target, during=lambda: None, every=0.2, **arguments):
        """Start it, and wait for its end: at each event, or every so many seconds, ask how it goes,
        and call during(). The answer of query-migrate."""
        deadline = time.monotonic() + MIGRATE_S
        self.source.qmp.execute("migrate", uri=target.uri, **arguments)
        while True:
            answer = self.source.qmp.execute("query-migrate")
            if answer["status"] == "completed":
                return answer
            if answer["status"] in ("failed", "cancelled") or time.monotonic() > deadline:
                raise Failure(f"not away: {answer}")
            during()
            self.source.qmp.event(every)

    def forget(self, vm):
        vm.stop()
        self.vms.remove(vm)


def options(description, **defaults):
    """The options that all programs have."""
    parser = argparse.ArgumentParser(description=description)
    build = os.path.join(HERE, "..", "build")
    parser.add_argument("--holdfast", default=os.environ.get("HOLDFAST", build + "/holdfast"))
    parser.add_argument("--checker",
                        default=os.environ.get("CHECKER", build + "/guest/checker.elf"))
    parser.add_argument("--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None,
                        help="where ledger and consoles are; default: in memory, as /run is")
    parser.add_argument("--memory", default="1G")
    parser.add_argument("--vcpus", type=int, default=2)
    parser.add_argument("--device", default="sim:state=16M", help="each of the two devices")
    parser.add_argument("--knobs", default=defaults.get("knobs"), help="of the checker")
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--runs", type=int, default=defaults.get("runs", 10))
    parser.add_argument("--json", action="store_true")
    return parser
