# SPDX-License-Identifier: BSD-3-Clause
"""
A QEMU of this host for a test: its process, its monitor, its guest; and the running of such tests,
whose results are TAP. Its monitor is on standard input and output, so that another one is free.
"""
import concurrent.futures
import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

QEMU = os.environ.get("QEMU") or shutil.which("qemu-system-x86_64")
HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 120
Q35 = ["-M", "pc-q35-7.2"]


TCG = ["-accel", "tcg"]
# Where KVM is nested, not every MSR that a QEMU sets can be set, and vector registers do not always
# survive a QEMU's migration: hence the processor, and the checker's registers=off.
KVM = ["-accel", "kvm", "-cpu", "qemu64", "-bios", "qboot.rom"]


def running(checker, words="mem=8 touch=header report=100"):
    """What makes a QEMU run the checker guest, by its ELF and its command line."""
    return [*Q35, "-kernel", checker, "-append", words, "-m", "64"]


@functools.lru_cache(maxsize=None)
def fastest():
    """With a processor: KVM where this QEMU works with it, and ""; else TCG, and why."""
    emulated = [*TCG, "-cpu", "max"]
    if os.environ.get("QEMU_ACCEL", "kvm") != "kvm":
        return emulated, "QEMU_ACCEL says so"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return emulated, "there is no /dev/kvm"
    try:
        with Qemu(*Q35, "-S", accel=KVM) as qemu:
            qemu.ask("query-status")
    except (Failure, Skip) as why:
        return emulated, str(why)
    return KVM, ""


class Failure(Exception):
    """A sentence that says what is not as it has to be."""


class Skip(Exception):
    """A sentence that says what this host's QEMU lacks."""


def check(condition, words):
    if not condition:
        raise Failure(words)


def read_line(file, what):
    """One line of an unbuffered pipe, within the deadline."""
    line, until = b"", time.monotonic() + DEADLINE_S
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        check(left > 0 and select.select([file], [], [], left)[0], f"{what}: nothing came")
        octet = os.read(file.fileno(), 1)
        check(octet, f"{what}: it ended")
        line += octet
    return line.decode()


class Qemu:
    """serial: the file that gets what the guest says; without it the guest has no port."""

    def __init__(self, *arguments, serial=None, accel=None):
        self.events = []
        self.serial = serial
        port = f"file:{serial}" if serial else "none"
        self.process = subprocess.Popen(
            [QEMU, *(accel or TCG), "-display", "none", "-nodefaults", "-serial", port,
             "-m", "16", "-qmp", "stdio", *arguments], bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = os.fdopen(os.dup(self.process.stdout.fileno()), "rb", buffering=0)
        self.rest = b""
        try:
            check("QMP" in self.read(), "QEMU does not greet")
        except Failure as why: # it has no such machine, or no such device
            self.__exit__()
            raise Skip(f"this {why}") from None
        self.ask("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.lines.close()

    def ends(self):
        """Its last words."""
        self.process.kill()
        return self.process.communicate()[1].decode()

    def read(self):
        until = time.monotonic() + DEADLINE_S
        while b"\n" not in self.rest:
            left = until - time.monotonic()
            check(left > 0 and select.select([self.lines], [], [], left)[0], "QEMU is silent")
            data = os.read(self.lines.fileno(), 65536)
            if not data:
                words = self.process.stderr.read().decode().strip().split("\n")
                raise Failure("QEMU ended: " + words[-1])
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def try_(self, command, **arguments):
        text = json.dumps({"execute": command, "arguments": arguments})
        self.process.stdin.write(text.encode() + b"\n")
        while True:
            answer = self.read()
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def ask(self, command, **arguments):
        answer = self.try_(command, **arguments)
        check("return" in answer, f"{command}: {answer.get('error')}")
        return answer["return"]

    def wait_guest(self):
        """Until the guest is at work."""
        done = subprocess.run([sys.executable, os.path.join(HERE, "wait.py"), "line", self.serial,
                               "^checker: pass=", str(DEADLINE_S)], capture_output=True,
                              check=False)
        check(done.returncode == 0, f"the guest does not work: {done.stderr.decode()}")

    def capabilities(self, names):
        try:
            answer = self.try_("migrate-set-capabilities", capabilities=[
                {"capability": name, "state": True} for name in [*names, "events"]])
        except Failure as why: # it has no such device
            raise Skip(f"this {why}") from None
        if "error" in answer:
            raise Skip(f"this QEMU: {answer['error']['desc']}")

    def parameters(self, **values):
        self.ask("migrate-set-parameters", **{
            name.replace("_", "-"): value for name, value in values.items()})

    def wait(self, name, test):
        """Until an event came of which test(data) is true."""
        while True:
            event = self.events.pop(0) if self.events else self.read()
            if event.get("event") == name and test(event["data"]):
                return
            status = event["data"].get("status") if event.get("event") == "MIGRATION" else None
            check(status not in ("failed", "completed", "postcopy-paused"),
                  f"{status}, but no {name} came")

    def completed(self):
        self.wait("MIGRATION", lambda data: data["status"] == "completed")


def run_one(test, prefix):
    """The verdict, and what more there is to say."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        try:
            test(folder)
        except Skip as why:
            return "ok", f" # SKIP {why}", None
        except Failure as why:
            return "not ok", "", why
    return "ok", f" # {time.monotonic() - start:.1f} s", None


def run_tests(tests, prefix, at_once):
    """Those that the command line names, or all, some of them at a time. The exit status."""
    if not QEMU:
        print("1..0 # SKIP qemu-system-x86_64 is not there (Debian: qemu-system-x86)")
        return 0
    chosen = {name: tests[name] for name in sys.argv[1:] or tests}
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(max_workers=at_once) as pool:
        results = pool.map(lambda test: run_one(test, prefix), chosen.values())
        for number, (name, (verdict, more, why)) in enumerate(zip(chosen, results), 1):
            if why:
                print(f"# {why}")
                failed += 1
            print(f"{verdict} {number} - {name}{more}", flush=True)
    return 1 if failed else 0
