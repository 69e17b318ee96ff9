#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Two unmodified QEMUs whose guest has cards of the kernel's sample driver mtty, in the lab: by
themselves, and with `holdfast guard`.

  guard-qemu.py WAY COUNT TEST...   WAY is group or cdev, COUNT the guest's cards; the tests are
                                    named at the end

Each QEMU has its own cards; where one is to refuse, its driver's knobs make it (docs/lab.md). The
verdict is the guest's, which drives its cards and knows what they must hold (docs/checker.md), and
the kernel's, which tells a card's state. Results are TAP.

Environment: HOLDFAST, CHECKER, QEMU (9.0 or newer).
"""
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../system"))


def load(name):
    path = os.path.join(HERE, "../system", name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


G = load("guard")
check = G.check

# Small, and nothing as fast as it goes: the machine is emulated, and the guest nested in it.
WORDS = "mem=4 rate=500 zero=20 comp=20 dma=100 report=100 registers=off pins=off"
# With a firmware that gives the cards their addresses.
KVM = ["-accel", "kvm", "-cpu", "qemu64"]
KNOBS = {"fail_times": 0, "fail_from": "any", "fail_to": "any", "fail_errno": 5,
         "fail_to_error": 0}
# A card's state is told by VFIO's debugfs, which comes with cdev (docs/lab.md).
KERNEL_TELLS = os.path.exists("/dev/iommu")


def run(*words):
    done = subprocess.run(words, timeout=G.DEADLINE_S, capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"{' '.join(words)}: {done.returncode}: {done.stderr}")
    return done.stdout.strip()


def knobs(only="", **settings):
    words = {name: value for name, value in KNOBS.items() if name not in settings}
    words.update(only=only, **settings)
    run("knob", *(f"{name}={value}" for name, value in words.items()))


class Cards:
    """Of one QEMU. Their ids are so that the first is not the first by its name."""

    def __init__(self, count):
        self.uuids = [run("mdev-new") for _ in range(count)]
        self.names = [f"card{count - number}" for number in range(count)]

    def words(self, way):
        words = ["-object", "iommufd,id=iommufd0"] if way == "cdev" else []
        for name, uuid in zip(self.names, self.uuids):
            words += ["-device", f"vfio-pci,id={name},sysfsdev=/sys/bus/mdev/devices/{uuid},"
                      "enable-migration=on" + (",iommufd=iommufd0" if way == "cdev" else "")]
        return words

    def states(self):
        return [re.findall(r"^state (\S+)", run("mdev-info", uuid), re.M) for uuid in self.uuids]

    def run(self):
        """All of them, by the kernel's word, where it has one."""
        check(self.states() == [["RUNNING"] if KERNEL_TELLS else []] * len(self.uuids),
              f"the cards stand in {self.states()}")

    def remove(self):
        run("mdev-rm", *self.uuids)


class Pair(G.Pair):
    def __init__(self, folder, way, count):
        self.way = way
        os.mkdir(folder)
        knobs()
        # QEMU resets no device that does not say it can be; and a reset is to be one.
        # Debian's own kernel says that it can log DMA, and cannot (docs/lab.md).
        run("knob", "reset_flag=1", "reset_clears=1", f"no_dma_log={int(not KERNEL_TELLS)}")
        self.cards = [Cards(count), Cards(count)]
        self.proxy = None
        try:
            super().__init__(folder)
        except Exception:
            self.tell()
            self.__exit__()
            raise

    def host(self, incoming, more=None):
        cards = self.cards[self.count % 2]
        self.count += 1
        host = G.Host(self.folder, f"host{self.count}", WORDS, incoming, cards.words(self.way), KVM)
        host.cards = cards
        self.all.append(host)
        return host

    def __exit__(self, *_):
        super().__exit__()
        knobs()
        for cards in self.cards:
            cards.remove()

    def tell(self):
        """What the QEMUs have said, and their guests at last."""
        for host in self.all:
            words = [line for line in host.qemu.ends().split("\n") if "UNMASK" not in line]
            with open(host.serial, "a+", encoding="ascii", errors="replace") as serial:
                serial.seek(0)
                words += serial.read().split("\n")[-3:]
            print(f"# {host.name}: " + "\n#   ".join(words), flush=True)

    def away(self):
        guards = self.guards()
        guards[0].end(G.AWAY)
        guards[1].end(0)
        self.is_away()
        self.target.cards.run()

    def is_lost(self, host=None):
        """A guest that finds its card reset says so, and switches its machine off."""
        host = host or self.target
        host.qemu.process.wait(G.DEADLINE_S)
        with open(host.serial, encoding="ascii", errors="replace") as serial:
            found = re.search(r"CORRUPT what=uart-[^\n]*", serial.read())
        words = host.qemu.ends()
        check(found, "the guest did not say that its card has lost its state")
        check("Resetting device" in words, f"{host.name}'s QEMU said: {words}")
        print(f"# {found.group()}", flush=True)

    def record(self):
        return json.loads(run(G.HOLDFAST, "ledger", "show", "guest", "--json", "--ledger",
                              self.ledger))

    def refused(self, number, reason, arm=None, target=(), **settings):
        """A card of the target refuses: the guest goes on; guards and ledger say why."""
        knobs(self.target.cards.uuids[number], **settings)
        guards = self.guards(target=target)
        if arm:
            arm(self, guards)
        guards[0].end(G.HOME)
        guards[1].end(1)
        knobs()
        for guard in guards:
            print(f"# {guard.role}: {guard.reason()}", flush=True)
            check(guard.reason() == reason, f"{guard.role}: not \"{reason}\"")
        self.is_home()
        self.source.cards.run()
        record = self.record()
        check(record["state"] == "home" and record["reason"] == reason, f"the ledger has {record}")


def arc(first, last, error=5):
    return {"fail_from": first, "fail_to": last, "fail_errno": error, "fail_times": 1}


# ---- what QEMU does by itself -------------------------------------------------------------------


def alone(it):
    """By the two control sockets, as a management would."""
    path = f"unix:{it.folder}/alone"
    for host in (it.source, it.target):
        host.qemu.capabilities(["return-path"])
    it.target.qemu.ask("migrate-incoming", uri=path)
    it.source.qemu.ask("migrate", uri=path)
    it.source.qemu.completed()


def alone_moves(it):
    alone(it)
    it.target.works()
    it.target.cards.run()


def alone_lost(first, last):
    """
    What the guard is for. The target's card refuses, the source hears that all is well, and the
    guest has a card that was reset.
    """
    def test(it):
        knobs(it.target.cards.uuids[0], **arc(first, last))
        alone(it)
        check(it.source.status() == "postmigrate", f"the source is {it.source.status()}")
        it.is_lost()
    return test


# ---- with the guard -----------------------------------------------------------------------------


def there_and_back(it):
    it.away()
    it.turn()
    it.away()


def there(it):
    it.away()


def local(it):
    done = subprocess.run([G.HOLDFAST, "guard", *it.common(it.source), "local", it.source.qmp,
                           it.target.qmp], capture_output=True, text=True, timeout=G.DEADLINE_S,
                          check=False)
    check(done.returncode == G.AWAY, f"status {done.returncode}: {done.stdout}{done.stderr}")
    it.is_away()
    it.target.cards.run()


def later(state, first, last, target):
    """The target's card refuses what it did not before: from that state of its guard on."""
    def arm(it, guards):
        guards[1].wait("transition", f"-> {state} ")
        knobs(it.target.cards.uuids[0], **arc(first, last))
    return {"arm": arm, "target": ["--filter", target]}


def back_to_p2p(it):
    """
    QEMU starts a card by RUNNING_P2P at `cont`, and resets one that refuses. It must have been seen
    before that it does not.
    """
    it.refused(0, "device 1 (card1): RUNNING_P2P -> RUNNING: Input/output error (errno 5); "
               "stands in RUNNING; it has been started, and refuses to go back to RUNNING_P2P",
               **later("CLAIMING", "RUNNING", "RUNNING_P2P", "delay:ledger.swap:3000"))


def breaks(it):
    it.refused(0, "device 1 (card1): RESUMING -> STOP: Input/output error (errno 5); "
               "stands in ERROR",
               **arc("RESUMING", "STOP"), fail_to_error=1)


def lost_at_cont(it):
    """
    What no guard can see (docs/guard.md): the last arc, which succeeded a moment before, is refused
    to QEMU, behind `started`.
    """
    settings = later("RESUMING", "RUNNING_P2P", "RUNNING", "delay:machine.run:3000")
    guards = it.guards(target=settings["target"])
    settings["arm"](it, guards)
    guards[0].end(G.AWAY)
    guards[1].end(0)
    it.is_lost()


def source_begins(it):
    """The source's card refuses to be saved: QEMU says so, and nothing has happened."""
    knobs(it.source.cards.uuids[0], **arc("RUNNING", "PRE_COPY", 28))
    guards = it.guards()
    guards[0].end(G.HOME)
    guards[1].end(1)
    for guard in guards:
        print(f"# {guard.role}: {guard.reason()}", flush=True)
        check("Failed setting device state to PRE_COPY" in guard.reason(), guard.reason())
    it.is_home()
    it.source.cards.run()


def source_stops(it):
    """
    What no guard can prevent (docs/guard.md): the source's QEMU resets a card that refuses to stop,
    and its guest runs on with that.
    """
    knobs(it.source.cards.uuids[0], **arc("PRE_COPY_P2P", "STOP_COPY"))
    guards = it.guards()
    guards[0].end(G.HOME)
    guards[1].end(1)
    for guard in guards:
        print(f"# {guard.role}: {guard.reason()}", flush=True)
    it.is_lost(it.source)


def unseen(it):
    """A card that is not found in the target's QEMU is not proved: refused, or trusted."""
    nobody = ["--qemu-pid", str(os.getpid())] # it has no cards
    guard = G.Guard("target", *it.common(it.target), *nobody, "target", it.target.qmp,
                    "tcp:127.0.0.1:0")
    guard.end(1)
    check("names 1 VFIO devices, and process" in str(guard), str(guard))
    guards = it.guards(target=[*nobody, "--trust-target"])
    guards[0].end(G.AWAY)
    guards[1].end(0)
    check("names 1 VFIO devices" in str(guards[1].said("VFIO devices are not proved")), guards[1])
    it.is_away()
    it.target.cards.run()


def refuses(reason, first, last, error=5, number=0):
    def test(it):
        it.refused(number, reason, **arc(first, last, error))
    return test


TESTS = {
    "alone": ("QEMU alone moves it", alone_moves),
    "alone-proof": ("QEMU alone, a card refuses RESUMING -> STOP: the guest is lost",
                    alone_lost("RESUMING", "STOP")),
    "alone-start": ("QEMU alone, a card refuses STOP -> RUNNING_P2P: the guest is lost",
                    alone_lost("STOP", "RUNNING_P2P")),
    "there": ("there", there),
    "there-and-back": ("there and back", there_and_back),
    "local": ("both sides in one process", local),
    "proof": ("a card refuses RESUMING -> STOP", refuses(
        "device 1 (card1): RESUMING -> STOP: Protocol error (errno 71); stands in RESUMING",
        "RESUMING", "STOP", 71)),
    "start": ("a card refuses STOP -> RUNNING_P2P", refuses(
        "device 1 (card1): STOP -> RUNNING_P2P: Input/output error (errno 5); stands in STOP",
        "STOP", "RUNNING_P2P")),
    "start-late": ("a card refuses RUNNING_P2P -> RUNNING", refuses(
        "device 1 (card1): RUNNING_P2P -> RUNNING: Device or resource busy (errno 16); "
        "stands in RUNNING_P2P", "RUNNING_P2P", "RUNNING", 16)),
    "source-begins": ("the source's card refuses RUNNING -> PRE_COPY", source_begins),
    "source-stops": ("the source's card refuses PRE_COPY_P2P -> STOP_COPY: the guest is lost",
                     source_stops),
    "unseen": ("a card that the target's guard does not find", unseen),
    "breaks": ("a card is in ERROR after RESUMING -> STOP", breaks),
    "back": ("a card that has been started refuses RUNNING -> RUNNING_P2P", back_to_p2p),
    "cont": ("a card refuses the last arc to QEMU itself: the guest is lost", lost_at_cont),
    "second": ("the second of two cards refuses RESUMING -> STOP", refuses(
        "device 1 (card1): RESUMING -> STOP: Input/output error (errno 5); stands in RESUMING",
        "RESUMING", "STOP", number=1)),
    "first": ("the first of two cards refuses RESUMING -> STOP", refuses(
        "device 2 (card2): RESUMING -> STOP: Input/output error (errno 5); stands in RESUMING",
        "RESUMING", "STOP", number=0)),
}


def boot(folder, way, count):
    """
    Twice, if need be: of a hundred guests one did not get to its first pass, in an emulator within
    an emulator, and before anything of ours had touched it. That decides nothing.
    """
    try:
        return Pair(os.path.join(folder, "1"), way, count)
    except G.Failure as why:
        print(f"# booted again: {why}", flush=True)
        return Pair(os.path.join(folder, "2"), way, count)


def run_test(name, way, count):
    with tempfile.TemporaryDirectory(prefix="hf-lab-guard-") as folder:
        with boot(folder, way, count) as it:
            try:
                TESTS[name][1](it)
            except Exception:
                it.tell()
                raise


def main():
    way, count, tests = "".join(sys.argv[1:2]), "".join(sys.argv[2:3]), sys.argv[3:]
    if way not in ("group", "cdev") or not count.isdigit() or not tests or any(
            word not in TESTS for word in tests):
        print(f"usage: {os.path.basename(sys.argv[0])} group|cdev COUNT {'|'.join(TESTS)}...",
              file=sys.stderr)
        return 2
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, name in enumerate(tests, 1):
        begin, verdict = time.monotonic(), "ok"
        try:
            run_test(name, way, int(count))
        except Exception as why:  # every failure is a result
            verdict, failed = "not ok", 1
            print(f"# {type(why).__name__}: {why}", flush=True)
        print(f"{verdict} {number} - by {way}: {TESTS[name][0]}\n"
              f"# {time.monotonic() - begin:.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
