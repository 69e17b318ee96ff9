#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Handovers between shipped binaries, each judged by the guest itself.

  handover.py SUITE       SUITE is one of the names at the end of this file
  handover.py --list

A guest (the checker; KVM where there is KVM, else the thread guest, which is said) runs in one
`holdfast run`, a target awaits it in another. After each handover, wherever it is then, it has to
report two more clean passes than it had, so that one whole verification of memory, devices and
state was begun and ended there; CORRUPT anywhere is a failure. Results are TAP.

Environment: HOLDFAST. Files go to a temporary folder, kept when a test fails.
"""
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import importlib.util

HERE = os.path.dirname(os.path.abspath(__file__))
HOLDFAST = os.environ.get("HOLDFAST", os.path.join(HERE, "../../build/holdfast"))
# Nothing here is a measurement: whoever waits this long waits for nothing, also on a host that
# stands still for half a minute now and then.
START_S, MIGRATE_S, PASS_S = 150, 150, 150
LOAD = "mem=48 rate=6000 zero=20 dma=300 dma_len=4096 beat=2000 report=50"


def load_wait():
    spec = importlib.util.spec_from_file_location("wait", os.path.join(HERE, "wait.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WAIT = load_wait()


class Failure(Exception):
    """A test has failed, and why."""


def check(condition, words):
    if not condition:
        raise Failure(words)


class Qmp:
    """A control connection; every wait has a deadline."""

    def __init__(self, path, process, seconds):
        deadline = time.monotonic() + seconds
        pidfd = os.pidfd_open(process.pid)
        while True:
            self.link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.link.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                self.link.close()
            # Between bind() and listen() there is no event to wait for: look again, soon.
            if select.select([pidfd], [], [], 0.02)[0] or time.monotonic() > deadline:
                raise Failure(f"{path} does not answer")
        os.close(pidfd)
        self.buffer, self.events = b"", []
        self.read(seconds)
        self.execute("qmp_capabilities")

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.link], [], [], left)[0]:
                raise Failure("no answer from the control socket")
            data = self.link.recv(65536)
            if not data:
                raise Failure("the control socket was closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def execute(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.link.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.read(30)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise Failure(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_status(self, wanted, seconds):
        """Until query-migrate's status is one of wanted: asked anew after each event."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.execute("query-migrate")
            if answer.get("status") in wanted:
                return answer
            left = deadline - time.monotonic()
            check(left > 0, f"still {answer}")
            select.select([self.link], [], [], min(left, 1))
            while select.select([self.link], [], [], 0)[0] or b"\n" in self.buffer:
                self.events.append(self.read(5))


class Vm:
    """One `holdfast run`."""

    count = 0

    def __init__(self, test, extra=None, incoming=None, filters=()):
        Vm.count += 1
        self.test, self.name = test, f"vm{Vm.count}"
        self.serial = os.path.join(test.folder, self.name + ".serial")
        self.log = os.path.join(test.folder, self.name + ".log")
        self.socket = os.path.join(test.folder, self.name + ".qmp")
        args = [HOLDFAST, "run", "--name", "guest", "--serial", "file:" + self.serial,
                "--control", self.socket, "--ledger", test.ledger_uri or "file:" + test.ledger]
        args += extra if extra else test.machine
        args += ["--incoming", incoming] if incoming else ["--kernel", "checker", "--append",
                                                           test.load]
        for spec in filters:
            args += ["--filter", spec]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        test.vms.append(self)
        self.qmp = Qmp(self.socket, self.process, START_S)
        if incoming:
            self.uri = self.wait_listening()

    def wait_listening(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            own = self.qmp.execute("query-migrate").get("holdfast", {})
            if own.get("listening"):
                return own["uri"]
            select.select([self.qmp.link], [], [], 0.02)
        raise Failure(f"{self.name} does not listen")

    def lines(self):
        lines = WAIT.whole_lines(self.serial)
        for line in lines:
            check("CORRUPT" not in line, f"{self.name}: {line}")
        return lines

    def passes(self):
        found = [int(m.group(1)) for m in (re.match(r"checker: pass=(\d+) clean", line)
                                           for line in self.lines()) if m]
        return found[-1] if found else 0

    def wait_passes(self, wanted, seconds=PASS_S):
        """The guest's own verdict: so many clean passes."""
        watch = WAIT.Watch(self.test.folder)
        deadline = time.monotonic() + seconds
        while self.passes() < wanted:
            if not watch.wait(min(deadline, time.monotonic() + 5)):
                check(time.monotonic() < deadline,
                      f"{self.name}: {self.passes()} clean passes, not {wanted}")
            check(self.process.poll() is None, f"{self.name} ended: {self.log_end()}")
        os.close(watch.fd)

    def log_end(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-400:]

    def status(self):
        return self.qmp.execute("query-status")["status"]

    def wait_status(self, wanted):
        """The target's own end comes a moment after the source has read STARTED."""
        deadline = time.monotonic() + START_S
        while self.status() != wanted:
            check(time.monotonic() < deadline, f"{self.name} is {self.status()}, not {wanted}")
            select.select([self.qmp.link], [], [], 0.05)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Test:
    """A machine, its guest and where it is now."""

    devices, memory, vcpus = 2, "192M", 2
    device_uri = "sim:state=256K"
    guest = "auto"  # its kind
    ledger_uri = None  # a file ledger of the test's own
    keep = False  # a folder for each VM of the source's host

    def __init__(self, **settings):
        self.folder = tempfile.mkdtemp(prefix="holdfast-handover.")
        self.ledger = os.path.join(self.folder, "ledger")
        os.mkdir(self.ledger)
        self.vms, self.load = [], settings.pop("load", LOAD)
        self.__dict__.update(settings)
        self.machine = ["--guest", self.guest, "--memory", self.memory, "--vcpus", str(self.vcpus)]
        for i in range(self.devices):
            uri = self.device_uri[i] if isinstance(self.device_uri, list) else self.device_uri
            self.machine += ["--device", uri]
        if self.keep:
            self.keep = os.path.join(self.folder, "keep")
            os.mkdir(self.keep)
        self.source = Vm(self, self.source_machine())
        self.source.wait_passes(1)
        self.seen = self.source.passes()

    def source_machine(self):
        return self.machine + (["--keep", self.keep] if self.keep else [])

    def target(self, uri="tcp:127.0.0.1:0", filters=(), extra=None):
        if uri == "unix":
            uri = f"unix:{self.folder}/in{Vm.count}.sock"
        return Vm(self, extra, incoming=uri, filters=filters)

    def migrate(self, target, filters=(), **arguments):
        """Returns query-migrate's answer when it has ended, one way or the other."""
        self.seen = self.source.passes()
        self.source.qmp.execute("migrate", uri=target.uri, channels=arguments.pop("channels", 2),
                                **({"filters": list(filters)} if filters else {}), **arguments)
        return self.source.qmp.wait_status(("completed", "failed", "cancelled"), MIGRATE_S)

    def assert_away(self, target, answer, paused=False):
        check(answer["status"] == "completed", f"not away: {answer}")
        check(self.source.status() == "postmigrate", f"the source is {self.source.status()}")
        self.seen = self.source.passes()  # all of them: it has been freed there
        self.source.kill()
        self.source = target
        if paused:
            target.wait_status("paused")
            target.qmp.execute("cont")
        target.wait_status("running")
        target.wait_passes(self.seen + 2)

    def assert_home(self, target, answer, *words, paused=False):
        check(answer["status"] in ("failed", "cancelled"), f"not home: {answer}")
        text = answer.get("error-desc", "")
        for word in words:
            check(word in text, f"the reason \"{text}\" does not say \"{word}\"")
        check(text, "no reason")
        self.seen = self.source.passes()  # a pass that is under way now is not proof enough
        wanted = "paused" if paused else "running"
        check(self.source.status() == wanted, f"the source is {self.source.status()}")
        if paused:
            self.source.qmp.execute("cont")
        self.source.wait_passes(self.seen + 2)
        if target:
            try:
                check(target.process.wait(MIGRATE_S) == 1, "the target's exit status is not 1")
            except subprocess.TimeoutExpired as why:
                raise Failure("the refused target has not ended") from why
            log = target.log_end()
            for word in words:
                check(word in log, f"the target's reason does not say \"{word}\": {log}")
            check(not target.lines(), "the guest ran at the target")

    def end(self):
        for vm in self.vms:
            vm.kill()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- the suites: lists of (what it shows, function) -------------------------------------------


def happy(devices, channels, uri, **settings):
    def run(test):
        target = test.target(uri)
        test.assert_away(target, test.migrate(target, channels=channels))
    settings["devices"] = devices
    return (f"{devices} devices, {channels} bulk connections, {uri.split(':')[0]} "
            + " ".join(f"{k}={v}" for k, v in settings.items() if k != "devices"), settings, run)


def paused(away):
    def run(test):
        test.source.qmp.execute("stop")
        target = test.target(filters=() if away else ("fault:device[1].set_state=STOP:1:EIO",))
        answer = test.migrate(target)
        if away:
            test.assert_away(target, answer, paused=True)
        else:
            test.assert_home(target, answer, "device 1 (sim1)", paused=True)
    return (f"a paused guest stays paused, {'away' if away else 'at home'}", {}, run)


def there_and_back(times):
    def run(test):
        for _ in range(times):
            target = test.target("unix")
            test.assert_away(target, test.migrate(target))
    return (f"{times} handovers there and back in a row", {}, run)


def captured(test):
    """What the connections carried is judged by the second implementation of the stream."""
    verifier = os.path.join(HERE, "../../tools/holdfast-stream")
    if subprocess.run(["/usr/bin/python3", "-c", "import xxhash"], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        print("# the stream is not verified: /usr/bin/python3 has no module xxhash", flush=True)
        return
    target, folder = test.target(), os.path.join(test.folder, "capture")
    os.mkdir(folder)
    test.assert_away(target, test.migrate(target, channels=3, capture=folder))
    done = subprocess.run(["/usr/bin/python3", verifier, "verify", folder], timeout=120,
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stdout + done.stderr)
    print("# " + done.stdout.strip().replace("\n", "\n# "), flush=True)


def recovers(test):
    """The way back is refused once, too: where it stands is read back, and it is asked again."""
    target = test.target()
    answer = test.migrate(target, filters=("fault:device[0].set_state=STOP_COPY:1:EIO",
                                           "fault:device[2].set_state=RUNNING_P2P:1:EBUSY",
                                           "fault:device[1].set_state=RUNNING:1:EBUSY"))
    test.assert_home(target, answer, "device 0 (sim0)")


def refusals(side, arcs, action="EBUSY", words="Device or resource busy", **settings):
    """One source guest; each arc refused by the first and by the last of three devices."""
    def run(test):
        for arc in arcs:
            for index in (0, 2):
                spec = f"fault:device[{index}].set_state={arc}:1:{action}"
                print(f"# {side}: {spec}", flush=True)
                target = test.target(filters=(spec,) if side == "target" else ())
                answer = test.migrate(target, filters=(spec,) if side == "source" else ())
                test.assert_home(target, answer, f"device {index} (sim{index})", words)
    settings["devices"] = 3
    return (f"the {side}'s device refuses with {action}: " + " ".join(arcs), settings, run)


def lost_device(spec, index):
    """The way back fails too: the device must be reset, and the guest stays paused."""
    def run(test):
        target = test.target()
        answer = test.migrate(target, filters=spec)
        check(answer["status"] == "failed", f"{answer}")
        text = answer["error-desc"]
        check("had to be reset" in text and f"device {index} (sim{index})" in text, text)
        check(test.source.status() == "paused", f"the source is {test.source.status()}")
        check(not target.passes(), "the guest ran at the target")
    return ("a device that cannot come back is reset, named, and the guest paused: "
            + " ".join(spec), {"devices": 3}, run)


def damaged(side, op, actions, flags):
    def run(test):
        for action in actions:
            spec = f"fault:device[1].{op}:1:{action}"
            print(f"# {side}: {spec}", flush=True)
            target = test.target(filters=(spec,) if side == "target" else ())
            answer = test.migrate(target, filters=(spec,) if side == "source" else ())
            test.assert_home(target, answer, "device 1 (sim1)")
    return (f"device data damaged at the {side}: " + " ".join(actions),
            {"device_uri": f"sim:state=256K,flags={flags}"}, run)


def machine(side, specs):
    def run(test):
        for spec in specs:
            print(f"# {side}: {spec}", flush=True)
            target = test.target(filters=(spec,) if side == "target" else ())
            answer = test.migrate(target, filters=(spec,) if side == "source" else ())
            test.assert_home(target, answer)
    return (f"the {side} refuses: " + " ".join(specs), {}, run)


def no_memory(test):
    """The target may not have the memory that the guest needs."""
    import resource
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (160 << 20, before[1]))
    try:
        target = subprocess.run(
            [HOLDFAST, "run", "--name", "guest", "--serial", "none", "--control",
             os.path.join(test.folder, "small.qmp"), "--ledger", "file:" + test.ledger,
             "--incoming", "tcp:127.0.0.1:0"] + test.machine, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=START_S, check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    check(target.returncode == 1, f"status {target.returncode}")
    check("Cannot allocate memory" in target.stderr, f"no word about memory: {target.stderr}")
    test.source.wait_passes(test.source.passes() + 2)


def target_memory_write(test):
    """ENOMEM from the target's device while it loads."""
    spec = "fault:device[1].write_data:1:ENOMEM"
    target = test.target(filters=(spec,))
    test.assert_home(target, test.migrate(target), "device 1 (sim1)", "Cannot allocate memory")


def closed(side, kind, op, numbers):
    """Either end is a good one, but it must be one of the two, and the guest whole there."""
    def run(test):
        for n in numbers:
            spec = f"fault:channel[{kind}].{op}:{n}:close"
            print(f"# {side}: {spec}", flush=True)
            target = test.target(filters=(spec,) if side == "target" else ())
            answer = test.migrate(target, filters=(spec,) if side == "source" else ())
            if answer["status"] == "completed":
                test.assert_away(target, answer)
            else:
                test.assert_home(None, answer)
                check(not target.passes(), "the guest ran at the target, too")
                target.kill()
    return (f"the {side}'s {kind} connection is lost at {op} " +
            ", ".join(str(n) for n in numbers), {}, run)


def wait_state(vm, *states):
    """Until its migration stands in one of them, which a filter makes long enough to see."""
    deadline = time.monotonic() + MIGRATE_S
    while True:
        answer = vm.qmp.execute("query-migrate")
        own = answer.get("holdfast", {})
        if own.get("state") in states:
            return
        check(own.get("outcome", "none") == "none", f"not seen in {states}: {answer}")
        check(time.monotonic() < deadline, f"never in {states}: {answer}")
        select.select([vm.qmp.link], [], [], 0.005)


def cancelled(states):
    """Cancelled when it is slow enough to be hit in the state: by a delay there."""
    def run(test):
        for state, spec in states:
            print(f"# in {state}: {spec}", flush=True)
            target = test.target(filters=[s[1] for s in (spec,) if s[0] == "target"])
            test.seen = test.source.passes()
            test.source.qmp.execute(
                "migrate", uri=target.uri,
                filters=[s[1] for s in (spec,) if s[0] == "source"])
            wait_state(test.source, state)
            try:
                test.source.qmp.execute("migrate_cancel")
            except Failure as why:
                check("too late" in str(why).lower(), str(why))
            answer = test.source.qmp.wait_status(("completed", "failed", "cancelled"), 60)
            if answer["status"] == "completed":
                check(state in ("OFFERING", "COMMITTING"), f"away, though in {state}")
                test.assert_away(target, answer)
            else:
                test.assert_home(target, answer, "cancel")
    return ("cancel in: " + " ".join(s[0] for s in states), {}, run)


def end_of(vm):
    """Its exit status, when it has ended by itself."""
    try:
        return vm.process.wait(MIGRATE_S)
    except subprocess.TimeoutExpired as why:
        raise Failure(f"{vm.name} has not ended") from why


def signal_in_time(test):
    """The target is told to leave while it loads: the guest stays where it is."""
    target = test.target()
    test.source.qmp.execute("migrate", uri=target.uri, filters=["delay:memory.dirty_sync:2000"])
    wait_state(test.source, "PRECOPY")
    target.process.terminate()
    answer = test.source.qmp.wait_status(("completed", "failed", "cancelled"), 60)
    check(end_of(target) == 0, f"it was told to leave, and says otherwise: {target.log_end()}")
    test.assert_home(None, answer, "cancel")


def signal_too_late(test):
    """The target is told to leave when it has claimed the guest: it has to keep it."""
    target = test.target(filters=("delay:device[0].set_state=RUNNING_P2P:4000",))
    test.source.qmp.execute("migrate", uri=target.uri)
    wait_state(test.source, "COMMITTING")
    target.process.terminate()
    answer = test.source.qmp.wait_status(("completed", "failed", "cancelled"), 60)
    test.assert_away(target, answer)
    target.process.terminate()
    check(end_of(target) == 0, "told to leave once more, it fails")


def signal_in_doubt(test):
    """The source is told to leave, and then nobody knows whose the guest is: it has to stay."""
    target = test.target()
    test.source.qmp.execute("migrate", uri=target.uri, **{"doubt-timeout": 6000}, filters=[
        "fault:ledger.swap=OFFERED:1:after", "fault:ledger.swap:2+", "fault:ledger.read:3+"])
    wait_state(test.source, "REVOKING", "DOUBT")
    test.source.process.terminate()
    deadline = time.monotonic() + 60
    while test.source.qmp.execute("query-migrate")["holdfast"]["outcome"] == "none":
        check(time.monotonic() < deadline, "no outcome")
        select.select([test.source.qmp.link], [], [], 0.05)
    answer = test.source.qmp.execute("query-migrate")["holdfast"]
    check(answer["outcome"] == "waiting", f"{answer}")
    check(test.source.status() == "paused", f"the source is {test.source.status()}")
    check(not target.lines(), "the guest ran at the target")
    test.source.qmp.execute("quit", force=True)
    check(end_of(test.source) == 0, "it does not leave by force")


def silent(test):
    """A target that is stopped: no sign of life, until the deadline."""
    target = test.target()
    os.kill(target.process.pid, 19)
    answer = test.migrate(target, **{"peer-timeout": 2000})
    test.assert_home(None, answer)
    check("target" in answer["error-desc"] or "ACCEPT" in answer["error-desc"],
          answer["error-desc"])


def never_loaded(test):
    """A target that lives and never answers END: its device hangs in RESUMING -> STOP."""
    target = test.target(filters=("delay:device[0].set_state=STOP:60000",))
    answer = test.migrate(target, **{"peer-timeout": 3000, "device-timeout": 9000})
    test.assert_home(None, answer, "waited too long for LOADED")
    target.kill()


def unlike(test):
    """Machines that are not alike: refused before the guest is touched, with the culprit."""
    mine = ["--guest", "auto", "--memory", "192M", "--vcpus", "2"]
    mine += 2 * ["--device", "sim:state=256K"]
    check(mine == test.machine, "the table below changes one thing of the machine each")
    for change, word in (((3, "256M"), "memory region"), ((5, "3"), "vCPU"),
                         ((7, "sim:state=4K"), "device 0 (sim0)")):
        extra = list(mine)
        extra[change[0]] = change[1]
        target = test.target(extra=extra)
        answer = test.migrate(target)
        check(answer["status"] == "failed", f"{answer}")
        check(word in answer["error-desc"], f"\"{answer['error-desc']}\" does not name {word}")
        check("round" not in answer.get("holdfast", {}) or not answer["holdfast"]["round"],
              "the guest was touched")
        test.source.wait_passes(test.source.passes() + 1)
        target.kill()


def not_converging(test):
    """The guest dirties faster than the link: throttled, and at home at the deadline."""
    target = test.target()
    answer = test.migrate(target, **{"max-bandwidth": 8 << 20, "downtime-limit": 1,
                                     "deadline": 15, "max-cpu-throttle": 30})
    test.assert_home(target, answer, "the limit is 1 ms")
    check("throttled by 0 %" not in answer["error-desc"], "it was never throttled")


SUITES = {
    "happy": [
        happy(2, 1, "tcp:127.0.0.1:0"), happy(2, 4, "tcp:127.0.0.1:0"), happy(0, 1, "unix"),
        happy(1, 2, "unix"), happy(8, 4, "unix", memory="256M"),
        happy(2, 2, "tcp:127.0.0.1:0", vcpus=4),
        happy(1, 2, "unix", device_uri="sim:state=4K"),
        happy(1, 2, "unix", device_uri="sim:state=64K,flags=1"),
        happy(2, 2, "unix", device_uri="sim:state=64K,flags=3"),
        paused(True), paused(False),
        ("what was sent is as docs/stream.md says", {}, captured),
    ],
    "large-state": [happy(1, 2, "unix", device_uri="sim:state=1G")],
    "there-and-back": [there_and_back(20)],
    "refusals-source": [
        refusals("source", ["PRE_COPY", "PRE_COPY_P2P", "STOP_COPY"]),
        refusals("source", ["RUNNING_P2P", "STOP_COPY"], device_uri="sim:state=64K,flags=3"),
        ("a way back that is refused once works the second time", {"devices": 3}, recovers),
    ],
    "refusals-target": [
        refusals("target", ["RESUMING", "STOP", "RUNNING_P2P", "RUNNING"]),
        refusals("target", ["STOP", "RUNNING"], action="error", words="ERROR"),
    ],
    "device-lost": [
        lost_device(["fault:device[0].set_state=STOP_COPY:1:EIO",
                     "fault:device[2].set_state=RUNNING_P2P:*:EIO"], 2),
        lost_device(["fault:device[1].set_state=STOP_COPY:1:error"], 1),
    ],
    "data": [
        damaged("target", "write_data", ["flip", "repeat", "extra", "foreign"], 7),
        damaged("source", "read_data", ["cut", "flip", "repeat", "extra", "foreign"], 3),
        ("the target's device has no memory for its state", {}, target_memory_write),
    ],
    "machine": [
        machine("target", ["fault:machine.state_load:2", "fault:machine.state_check:1",
                           "fault:machine.device_load:1", "fault:machine.check:1"]),
        machine("source", ["fault:machine.stop:1", "fault:machine.state_save:2",
                           "fault:machine.device_save:2", "fault:memory.dirty_sync:2:EIO"]),
        ("a target without memory says so, and the guest stays", {}, no_memory),
        ("machines that are not alike", {}, unlike),
    ],
    "connection": [
        closed("source", "control", "send", [2, 8, 11]),
        closed("target", "control", "send", [2, 4, 5]),
        closed("source", "bulk", "send", [2]),
        closed("target", "bulk", "recv", [3]),
    ],
    "connection-everywhere": [
        closed("source", "control", "send", list(range(1, 16))),
        closed("source", "control", "recv", list(range(1, 8))),
        closed("target", "control", "send", list(range(1, 8))),
        closed("target", "control", "recv", list(range(1, 12))),
        closed("source", "bulk", "send", list(range(1, 12))),
        closed("target", "bulk", "recv", list(range(1, 12))),
    ],
    "cancel": [cancelled([
        ("HELLO", ("target", "delay:machine.check:700")),
        ("PRECOPY", ("source", "delay:memory.dirty_sync:400")),
        ("QUIETING", ("source", "delay:device[0].set_state=PRE_COPY_P2P:700")),
        ("QUIESCING", ("source", "delay:machine.stop:700")),
        ("STOPPING", ("source", "delay:device[1].set_state=STOP_COPY:700")),
        ("DRAINING", ("source", "delay:machine.state_save:200")),
        ("PROVING", ("target", "delay:device[1].set_state=STOP:700")),
        ("COMMITTING", ("target", "delay:device[0].set_state=RUNNING_P2P:700")),
        ("OFFERING", ("source", "delay:ledger.swap:300")),
    ])],
    "signals": [
        ("a target that is told to leave while it loads", {}, signal_in_time),
        ("a target that is told to leave when it has claimed the guest", {}, signal_too_late),
        ("a source that is told to leave and then in doubt", {}, signal_in_doubt),
    ],
    "silence": [
        ("a target that is stopped", {}, silent),
        ("a target that never answers", {}, never_loaded),
        ("a guest that does not converge",
         {"load": LOAD.replace("mem=48 rate=6000", "mem=24 rate=0"), "memory": "64M"},
         not_converging),
    ],
}
def run_one(settings, function):
    test = None
    try:
        test = settings.pop("kind", Test)(**settings)
        function(test)
    except Exception as why:  # every failure is a result
        if test:
            test.end()
            print(f"# files: {test.folder}")
        raise Failure(f"{type(why).__name__}: {why}") from why
    test.end()
    test.remove()


def main(suites):
    if len(sys.argv) != 2 or (sys.argv[1] not in suites and sys.argv[1] != "--list"):
        print(f"usage: {os.path.basename(sys.argv[0])} {'|'.join(suites)}", file=sys.stderr)
        return 2
    if sys.argv[1] == "--list":
        print("\n".join(suites))
        return 0
    tests = suites[sys.argv[1]]
    print(f"1..{len(tests)}", flush=True)
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    print("# guest: " + ("KVM" if kvm else "the thread guest, since there is no /dev/kvm here"))
    failed = 0
    for number, (what, settings, function) in enumerate(tests, 1):
        begin = time.monotonic()
        try:
            run_one(dict(settings), function)
            print(f"ok {number} - {what}")
        except Failure as why:
            failed += 1
            print(f"not ok {number} - {what}\n# {why}")
        print(f"# {time.monotonic() - begin:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(SUITES))
