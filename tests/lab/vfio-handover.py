#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Handovers of a guest that has a real device of the kernel's, between shipped binaries in the lab.

  vfio-handover.py GUEST WAY PART...    in the lab: GUEST is thread or kvm, WAY is group or cdev,
                                        and the parts, done in this order by one guest, are named
                                        at the end of this file

There are two cards of the kernel's sample driver mtty, one for each side; with the word labdma, of
the lab's own driver instead, which does DMA, has memory that the guest maps, and whose interrupts
the guest takes by number. Where a card is to refuse, its driver's knobs make it
(docs/lab.md). The verdict is the guest's, which drives the card and knows what it must hold
(docs/checker.md). Results are TAP.

Environment: HOLDFAST.
"""
import importlib.util
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def load(name):
    path = os.path.join(HERE, "../system", name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


H = load("handover")
check = H.check

# An emulated machine: small, and nothing as fast as it goes.
LOAD = "mem=4 rate=500 zero=20 comp=20 dma=100 report=100"
KNOBS = {"fail_times": 0, "fail_from": "any", "fail_to": "any", "fail_errno": 5,
         "fail_to_error": 0, "stream_version": 0, "read_fail_at": -1}
LABDMA_KNOBS = {"fail_times": 0, "fail_from": "any", "fail_to": "any", "fail_errno": 5,
                "memory_kib": 128, "irq_times": 1, "err_times": 0}


# On a host under load the emulator stands still for a while, and everything in it.
COMMAND_S = 300

# VFIO's debugfs comes with cdev (docs/lab.md): where there is /dev/iommu, a card has a state there.
KERNEL_TELLS = os.path.exists("/dev/iommu")


def run(*words):
    done = subprocess.run(words, timeout=COMMAND_S, capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"{' '.join(words)}: {done.returncode}: {done.stderr}")
    return done.stdout.strip()


def knobs(driver="mtty", only="", **settings):
    """All of them: those that are not named as they were; and for whom before what."""
    others = KNOBS if driver == "mtty" else LABDMA_KNOBS
    words = {name: value for name, value in others.items() if name not in settings}
    words.update(only=only, **settings)
    run("knob", *(f"{driver}.{name}={value}" for name, value in words.items()))


class Test(H.Test):
    """A guest that has the first card; the second one is for whoever awaits it."""

    def __init__(self, guest, way, driver, others=()):
        self.way, self.driver, self.others = way, driver, list(others)
        knobs(driver)
        self.cards = [run("mdev-new", CARDS[driver]) for _ in range(2)]
        super().__init__(guest=guest, devices=1 + len(self.others), memory="16M", vcpus=1,
                         load=LOAD, device_uri=self.devices_with(self.cards[0]))

    def devices_with(self, card):
        return [f"vfio:{card},path={self.way}", *self.others]

    def target(self, uri="unix", filters=(), extra=None):
        machine = self.machine[:-2 * self.devices]
        for device in self.devices_with(self.cards[1]):
            machine += ["--device", device]
        return super().target(uri, filters, extra or machine)

    def away(self):
        """To the other card, in another process, which is the source from then on."""
        target = self.target()
        self.assert_away(target, self.migrate(target))
        self.cards.reverse()
        self.check_card()

    def check_card(self):
        """The kernel's own word about the card that the guest has, where the kernel tells."""
        info = run("mdev-info", self.cards[0])
        check("\nstate RUNNING" in info or not KERNEL_TELLS and "\nstate" not in info, info)

    def record(self):
        return json.loads(run(H.HOLDFAST, "ledger", "show", "guest", "--json", "--ledger",
                              "file:" + self.ledger))

    def refused(self, reason, card, claimed=False, **settings):
        """A card refuses: at home, word for word with that reason, and in the ledger too."""
        before = self.record()
        target = self.target()
        knobs(self.driver, self.cards[card], **settings)
        answer = self.migrate(target)
        knobs(self.driver)
        print(f"# {answer.get('error-desc')}", flush=True)
        self.assert_home(target, answer, reason)
        check(answer["error-desc"] == reason, f"more or less than \"{reason}\"")
        self.check_card()
        after = self.record()
        check(after["state"] == "home" and after["owner"] == before["owner"], f"{after}")
        check(after["epoch"] == before["epoch"] + claimed, f"it was offered or not: {after}")
        check(after["reason"] == reason, f"another reason in the ledger: {after}")

    def end(self):
        super().end()
        knobs(self.driver)
        run("mdev-rm", *self.cards)


# ---- the parts: what each shows, and of which guest ---------------------------------------------


def arc(first, last):
    return {"fail_from": first, "fail_to": last, "fail_times": 1}


def there_and_back(test):
    test.away()
    test.away()


def there(test):
    test.away()


def refuses_proof(test):
    test.refused("device 0 (vfio0): RESUMING -> STOP: Protocol error (errno 71); "
                 "stands in RESUMING", 1, **arc("RESUMING", "STOP"), fail_errno=71)


def refuses_start(test):
    test.refused("device 0 (vfio0): STOP -> RUNNING_P2P: Input/output error (errno 5); "
                 "stands in STOP", 1, True, **arc("STOP", "RUNNING_P2P"))


def refuses_start_late(test):
    test.refused("device 0 (vfio0): RUNNING_P2P -> RUNNING: Device or resource busy (errno 16); "
                 "stands in RUNNING_P2P", 1, True, **arc("RUNNING_P2P", "RUNNING"), fail_errno=16)


def breaks_in_proof(test):
    test.refused("device 0 (vfio0): RESUMING -> STOP: Input/output error (errno 5); "
                 "stands in ERROR", 1, **arc("RESUMING", "STOP"), fail_to_error=1)


def another_version(test):
    test.refused("device 0 (vfio0): writing its state in RESUMING, behind 0 bytes: Bad address "
                 "(errno 14); stands in RESUMING", 0, stream_version=2)


def refuses_to_be_saved(test):
    test.refused("device 0 (vfio0): RUNNING -> PRE_COPY: No space left on device (errno 28); "
                 "stands in RUNNING", 0, **arc("RUNNING", "PRE_COPY"), fail_errno=28)
    test.refused("device 0 (vfio0): PRE_COPY_P2P -> STOP_COPY: Input/output error (errno 5); "
                 "stands in PRE_COPY_P2P", 0, **arc("PRE_COPY_P2P", "STOP_COPY"))
    test.refused("device 0 (vfio0): reading its state in STOP_COPY, behind 40 bytes: Input/output "
                 "error (errno 5); stands in STOP_COPY", 0, read_fail_at=40)


def found_by_the_guest(test):
    """
    What the other parts rely on. Behind the session's digest nothing guards mtty's stream: a card
    that loads other registers is found out by the guest, and by nobody else.
    """
    target = test.target(filters=("fault:device[0].write_data:2:foreign",))
    answer = test.migrate(target)
    check(answer["status"] == "completed", f"not away: {answer}")
    check(target.process.wait(COMMAND_S) == 3, f"it did not end by CORRUPT: {target.log_end()}")
    with open(target.serial, encoding="utf-8", errors="replace") as serial:
        check("CORRUPT what=uart-" in serial.read(), "it found something else")


def ends_corrupt(test, what, **settings):
    """The guest finds out by itself, without a handover, what its card does wrong."""
    knobs(test.driver, test.cards[0], **settings)
    check(test.source.process.wait(COMMAND_S) == 3, f"no CORRUPT: {test.source.log_end()}")
    knobs(test.driver)
    with open(test.source.serial, encoding="utf-8", errors="replace") as serial:
        check(f"CORRUPT what={what} " in serial.read(), "it found something else")


def interrupt_lost(test):
    ends_corrupt(test, "interrupt-lost", irq_times=0)


def interrupt_repeated(test):
    ends_corrupt(test, "interrupt-repeated", irq_times=2)


def wanted_back(test):
    """
    Somebody removes the card that the guest has: the kernel waits and asks for it (REQ), the
    operator hears of it, migrates the guest, and the card can go.
    """
    remover = subprocess.Popen(["mdev-rm", test.cards[0]])
    try:
        deadline = time.monotonic() + COMMAND_S
        while not any(event["event"] == "DEVICE_WANTED" for event in test.source.qmp.events):
            left = deadline - time.monotonic()
            check(left > 0, "nobody says that the host wants the card back")
            test.source.qmp.events.append(test.source.qmp.read(left))
        devices = test.source.qmp.execute("query-guest")["devices"]
        check(devices[0]["wanted"] is True, f"not wanted: {devices}")
        check(remover.poll() is None, "the card is gone, and the guest had it")
        target = test.target()
        test.assert_away(target, test.migrate(target))
        check(remover.wait(COMMAND_S) == 0, "the card was not removed")
    finally:
        remover.kill() # if it waits still: for a card that a VM holds which ends behind us
    test.cards.reverse()
    test.check_card()
    check(not test.source.qmp.execute("query-guest")["devices"][0]["wanted"], "the other, too")
    test.cards[1] = run("mdev-new", CARDS[test.driver])


def error_at_the_target(test):
    """It breaks while it waits for the guest: it does not get it."""
    test.refused("device vfio0 has had an error that cannot be corrected (VFIO's ERR)", 1,
                 err_times=1)


def error(test):
    """It breaks under the guest, which is ended, with the reason."""
    knobs(test.driver, test.cards[0], err_times=1)
    deadline = time.monotonic() + COMMAND_S
    while not any(event["event"] == "GUEST_PANICKED" for event in test.source.qmp.events):
        left = deadline - time.monotonic()
        check(left > 0, "the guest goes on with a broken card")
        test.source.qmp.events.append(test.source.qmp.read(left))
    check("the guest has crashed: device vfio0 has had an error that cannot be corrected (VFIO's "
          "ERR)" in test.source.log_end(), test.source.log_end())
    check(test.source.status() == "guest-panicked", f"it is {test.source.status()}")


PARTS = {
    "there-and-back": ("there and back, between two processes and two cards", there_and_back),
    "there": ("there, between two processes and two cards", there),
    "proof": ("the target's card refuses RESUMING -> STOP", refuses_proof),
    "start": ("the target's card refuses STOP -> RUNNING_P2P", refuses_start),
    "start-late": ("the target's card refuses RUNNING_P2P -> RUNNING", refuses_start_late),
    "breaks": ("the target's card is in ERROR after RESUMING -> STOP", breaks_in_proof),
    "version": ("the target's card refuses a stream of another version", another_version),
    "source": ("the source's card refuses to be saved", refuses_to_be_saved),
    "irq-lost": ("an interrupt that the card does not raise is missed", interrupt_lost),
    "irq-again": ("an interrupt that the card repeats is noticed", interrupt_repeated),
    "wanted": ("a card that the host wants back is told, and let go of", wanted_back),
    "error-there": ("a card that reports an error gets no guest", error_at_the_target),
    "error": ("a card that reports an error ends its guest", error),
    "found": ("a card that was loaded wrongly is found out by the guest", found_by_the_guest),
}
CARDS = {"mtty": "mtty-2", "labdma": "labdma-1"}
OTHERS = {"sim": "sim:state=64K"}  # more devices of the guest, named before the parts


def main():
    words = sys.argv[1:]
    driver = "labdma" if "labdma" in words else "mtty"
    others = [OTHERS[word] for word in words[2:] if word in OTHERS]
    parts = [word for word in words[2:] if word not in OTHERS and word not in CARDS]
    if not parts or any(part not in PARTS for part in parts):
        print(f"usage: {os.path.basename(sys.argv[0])} thread|kvm group|cdev "
              f"[labdma] [{'|'.join(OTHERS)}] {'|'.join(PARTS)}...", file=sys.stderr)
        return 2
    what = f"{words[0]} by {words[1]}, {driver}"
    print(f"1..{len(parts)}", flush=True)
    test, number = None, 0
    try:
        for number, part in enumerate(parts, 1):
            begin = time.monotonic()
            test = test or Test(words[0], words[1], driver, others)
            PARTS[part][1](test)
            print(f"ok {number} - {what}: {PARTS[part][0]}\n"
                  f"# {time.monotonic() - begin:.1f} s", flush=True)
        test.end()
        test.remove()
    except Exception as why:  # every failure is a result, and what comes behind it is not tried
        print(f"not ok {number} - {what}: {PARTS[parts[number - 1]][0]}\n"
              f"# {type(why).__name__}: {why}", flush=True)
        if test:
            for vm in test.vms:
                print(f"# {vm.name}: {vm.log_end()}".replace("\n", "\n#   "), flush=True)
            test.end()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
