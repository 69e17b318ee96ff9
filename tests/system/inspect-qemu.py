#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
`holdfast inspect` on streams that QEMU writes here and now: to files and live, alone and in front
of a real target. Each stream has to be whole, every section's end has to be where QEMU's own
description of it says, and what was asked of QEMU has to be in it. Results are TAP.

Environment: HOLDFAST, CHECKER (the guest that dirties memory).
"""
import json
import os
import subprocess
import sys

import qemu_vm
from qemu_vm import DEADLINE_S, Failure, Q35, Qemu, Skip, check, read_line

HOLDFAST, CHECKER = os.environ["HOLDFAST"], os.environ["CHECKER"]
AT_ONCE = 3 # they mostly wait for each other's processes
NEWEST = ["-M", "q35"]
RUNNING = [*qemu_vm.running(CHECKER), "-cpu", "max"]


class Items(list):
    """What the inspector printed."""

    def __init__(self, text):
        super().__init__(json.loads(line) for line in text.splitlines())

    def of(self, what, **fields):
        return [item for item in self if item["item"] == what and
                all(item.get(name) == value for name, value in fields.items())]

    def one(self, what, **fields):
        found = self.of(what, **fields)
        check(len(found) == 1, f"{len(found)} items '{what}' with {fields}")
        return found[0]

    def whole(self, described=True):
        errors = self.of("error") + self.of("disagreement")
        check(not errors, f"{errors}")
        check(self.of("end"), "no end")
        if described:
            full = len(self.of("section-full"))
            check(full > 0 and self.one("description")["agree"] == full,
                  f"{full} sections, and {self.one('description')}")
        return self

    def ram(self, name):
        return sum(item.get(name, 0) for item in self if item["item"].startswith("section-") and
                   item.get("idstr") == "ram")


def inspect(path, *options):
    done = subprocess.run([HOLDFAST, "inspect", "--json", *options, path], capture_output=True,
                          timeout=DEADLINE_S, check=False)
    check(done.returncode == 0, f"status {done.returncode}: {done.stderr.decode()}")
    return Items(done.stdout.decode())


class Live:
    """The inspector on a socket. The target behind it, if there is one, is a QEMU."""

    def __init__(self, folder, target=None):
        self.uri = f"unix:{folder}/inspect"
        self.path = os.path.join(folder, "live.json")
        forward = ["--forward", f"unix:{folder}/target"] if target else []
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(
                [HOLDFAST, "inspect", "--json", "--records", *forward, self.uri], bufsize=0,
                stdout=out, stderr=subprocess.PIPE)
        if target:
            target.ask("migrate-incoming", uri=f"unix:{folder}/target")
        check("listening" in read_line(self.process.stderr, "inspect"), "it does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def items(self):
        """When it has ended by itself."""
        try:
            _, words = self.process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired as why:
            raise Failure("the inspector does not end") from why
        check(self.process.returncode == 0, f"status {self.process.returncode}: {words.decode()}")
        with open(self.path, encoding="ascii") as file:
            return Items(file.read())


# ---- files ------------------------------------------------------------------------------------

def to_file(folder, arguments, capabilities=(), before=None, uri=None, **parameters):
    path = os.path.join(folder, "stream")
    with Qemu("-S", *arguments) as qemu:
        qemu.capabilities(capabilities)
        if before:
            before(qemu)
        if parameters:
            qemu.parameters(**parameters)
        qemu.ask("migrate", uri=uri or f"exec:cat >{path}")
        try:
            qemu.completed()
        except Failure as why: # 10.0 does so without a configuration: there is no stream then
            raise Skip(f"this {why}") if "ended" in str(why) else why
    return path


def machine(arguments, name):
    def test(folder):
        items = inspect(to_file(folder, arguments)).whole()
        check(items.one("configuration")["machine"].startswith(name), "the machine's name")
        check(items.one("section-full", idstr="globalstate")["run-state"] == "prelaunch",
              "the run state")
        check(items[-1]["offset"] == os.path.getsize(os.path.join(folder, "stream")), "the end")
    return test


def without_footers(folder):
    items = inspect(to_file(folder, Q35 + ["-global", "migration.send-section-footer=off"]))
    items.whole()
    check(all(item.get("end-guessed") for item in items.of("section-full")), "no guesses")


def of_long_ago(folder):
    """A machine type that had neither footers nor a configuration nor globalstate."""
    items = inspect(to_file(folder, ["-M", "pc-i440fx-2.3"])).whole()
    check(not items.of("configuration"), "there is a configuration")
    check(all(item.get("end-guessed") for item in items.of("section-full")), "no guesses")


def without_configuration(folder):
    items = inspect(to_file(folder, Q35 + ["-global", "migration.send-configuration=off"]))
    check(not items.whole().of("configuration"), "there is one")


def without_description(folder):
    items = inspect(to_file(folder, ["-M", "pc-q35-7.2,suppress-vmdesc=on"]))
    check(not items.whole(described=False).of("description"), "there is one")


def many_devices(folder):
    """Arrays, structs and subsections of many kinds: the description counts them all."""
    devices = ["virtio-net-pci", "virtio-scsi-pci", "virtio-balloon-pci", "virtio-serial-pci",
               "virtio-rng-pci", "VGA", "e1000", "e1000e", "rtl8139", "nec-usb-xhci", "usb-tablet",
               "intel-hda", "megasas", "i6300esb", "sdhci-pci", "vmxnet3"]
    options = [word for name in devices for word in ("-device", name)]
    items = inspect(to_file(folder, Q35 + ["-smp", "4", *options])).whole()
    check(len(items.of("section-full")) > 50, "few sections")


def disk(folder):
    """A section in parts that only its owner can read."""
    blocks = inspect(to_file(folder, Q35 + [
        "-drive", "driver=null-co,size=4M,read-zeroes=on,if=none,id=d",
        "-device", "virtio-blk-pci,drive=d"], ["block"])).whole()
    check(len(blocks.of("section-part", idstr="block")) > 0, "no part of the disk")


def disk_bitmaps(folder):
    bitmaps = inspect(to_file(
        folder, Q35 + ["-blockdev", "null-co,node-name=n,size=16777216"], ["dirty-bitmaps"],
        lambda qemu: qemu.ask("block-dirty-bitmap-add", node="n", name="b"))).whole()
    check(len(bitmaps.of("section-end", idstr="dirty-bitmap")) == 1, "no bitmaps")
    check(bitmaps.one("command", command="POSTCOPY_ADVISE")["ram"] is False, "advice on RAM")


def compressed(folder):
    items = inspect(to_file(folder, Q35, ["compress"])).whole()
    check(items.ram("zlib") > 10, "no compressed pages")


def shared_memory(folder):
    memory = ["-object", f"memory-backend-file,id=m,size=16M,share=on,mem-path={folder}/memory",
              "-machine", "memory-backend=m"]
    items = inspect(to_file(folder, Q35 + memory, ["x-ignore-shared"])).whole()
    check("x-ignore-shared" in items.one("configuration")["capabilities"], "the capability")
    check(all("address" in item for item in items.of("block")), "blocks without address")
    check(items.ram("pages") + items.ram("zeros") < 1000, "pages of memory that is shared")


def with_uuid(folder):
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    items = inspect(to_file(folder, Q35 + ["-uuid", uuid], ["validate-uuid"])).whole()
    check(items.one("configuration")["uuid"] == uuid.replace("-", ""), "the UUID")


def mapped_ram(folder):
    path = os.path.join(folder, "stream")
    items = inspect(to_file(folder, NEWEST, ["mapped-ram"], uri=f"file:{path}")).whole()
    check("mapped-ram" in items.one("configuration")["capabilities"], "the capability")
    check(all(block["pages-at"] % (1 << 20) == 0 for block in items.of("block")), "the places")
    check(sum(block["pages"] for block in items.of("block")) > 10, "no pages")
    check(items.ram("pages") + items.ram("zeros") == 0, "pages in the stream")


def repeatedly(folder):
    """Passes over memory that changes, as XBZRLE."""
    path = os.path.join(folder, "stream")
    with Qemu(*RUNNING, serial=os.path.join(folder, "serial")) as qemu:
        qemu.wait_guest()
        qemu.capabilities(["xbzrle"])
        qemu.parameters(max_bandwidth=8 << 20, downtime_limit=1)
        qemu.ask("migrate", uri=f"exec:cat >{path}")
        qemu.wait("MIGRATION_PASS", lambda data: data["pass"] == 3)
        qemu.parameters(max_bandwidth=1 << 40, downtime_limit=10000)
        qemu.completed()
    items = inspect(path, "--records").whole()
    check(items.ram("xbzrle") > 0, "no XBZRLE pages")
    check(len(items.of("page", kind="xbzrle")) == items.ram("xbzrle"), "not each has an item")


def damaged(folder):
    """Cut, it is too short at just that place; with a byte changed, it ends in words."""
    with open(to_file(folder, Q35), "rb") as file:
        stream = file.read()
    total = len(stream)
    for n in range(1, total, total // 10):
        done = subprocess.run([HOLDFAST, "inspect", "-"], input=stream[:n], capture_output=True,
                              timeout=DEADLINE_S, check=False)
        check(done.returncode == 1 and f"offset {n}: ".encode() in done.stderr,
              f"cut at {n}: status {done.returncode}, {done.stderr.decode()}")
    for at in range(5, total, total // 10):
        changed = stream[:at] + bytes([stream[at] ^ 0x55]) + stream[at + 1:]
        done = subprocess.run([HOLDFAST, "inspect", "-"], input=changed, capture_output=True,
                              timeout=DEADLINE_S, check=False)
        check(done.returncode in (0, 1) and bool(done.returncode) == bool(done.stderr),
              f"changed at {at}: status {done.returncode}, {done.stderr.decode()}")


# ---- live -------------------------------------------------------------------------------------

def live(capabilities=(), test=None, arguments=None, **parameters):
    """One way, with nobody behind the inspector."""
    def run(folder):
        with Live(folder) as inspector, Qemu("-S", *arguments or Q35) as qemu:
            qemu.capabilities(capabilities)
            if parameters:
                qemu.parameters(**parameters)
            qemu.ask("migrate", uri=inspector.uri)
            qemu.completed()
            items = inspector.items().whole()
        check(all("took-ns" in item for item in items), "no times")
        if test:
            test(items)
    return run


def multifd(method):
    def test(items):
        check(sorted(item["channel"] for item in items.of("multifd-init")) == [0, 1], "channels")
        check(sum(item["pages"] for item in items.of("multifd-total")) > 10, "no pages")
        check({item["compression"] for item in items.of("multifd-packet") if item["pages"]} ==
              {method}, "another method")
        syncs = [item["syncs"] for item in items.of("multifd-total")]
        check(syncs[0] == syncs[1] > 0, f"syncs: {syncs}")
    return test


def forwarded(capabilities, arguments, test, during=None, **parameters):
    """In front of a real target, which takes what it gets."""
    def run(folder):
        paused = [] if during else ["-S"]
        ports = [os.path.join(folder, name) if during else None for name in ("there", "here")]
        with Qemu(*arguments, "-S", "-incoming", "defer", serial=ports[0]) as target, \
                Qemu(*arguments, *paused, serial=ports[1]) as source:
            if during:
                source.wait_guest()
            for qemu in (target, source):
                qemu.capabilities(capabilities)
                if parameters:
                    qemu.parameters(**parameters)
            with Live(folder, target) as inspector:
                source.ask("migrate", uri=inspector.uri)
                if during:
                    during(source)
                try:
                    source.completed()
                    target.completed()
                except Failure as why:
                    raise Failure(f"{why}; target: {target.ends()}") from why
                items = inspector.items().whole(described=not during)
            test(items)
    return run


def answers(items):
    names = [item["message"] for item in items.of("return")]
    check(names == ["PONG", "SHUT"], f"answers: {names}")
    check(items.of("return")[-1]["value"] == 0, "SHUT with an error")
    check(items.one("command", command="PING")["cookie"] ==
          items.one("return", message="PONG")["cookie"], "PING and PONG")


def acknowledged(items):
    names = [item["message"] for item in items.of("return")]
    check(sorted(names) == ["PONG", "SHUT", "SWITCHOVER_ACK"], f"answers: {names}")


def newest(items):
    """By its name, the machine's stream has the command of 10.0 or has not."""
    machine_name = items.one("configuration")["machine"]
    commands = [item["command"] for item in items.of("command")]
    late = tuple(map(int, machine_name.split("-")[-1].split("."))) >= (10, 0)
    check(("SWITCHOVER_START" in commands) == late, f"{machine_name}: {commands}")
    multifd("none")(items)
    zeros = sum(item["zeros"] for item in items.of("multifd-total"))
    check((zeros > 0) == (items.ram("zeros") == 0), f"{zeros} zeros in packets")


def multifd_forwarded(items):
    answers(items)
    multifd("none")(items)


def start_postcopy(source):
    """
    The guest is paused, and the target has -S: an emulated guest does not outlive each post-copy,
    also without the inspector; it finds its memory damaged and powers off, or goes at a crawl.
    """
    source.wait("MIGRATION_PASS", lambda data: data["pass"] >= 2)
    source.ask("stop")
    source.ask("migrate-start-postcopy")


def postcopy(items):
    commands = [item["command"] for item in items.of("command")]
    for name in ("POSTCOPY_ADVISE", "POSTCOPY_RAM_DISCARD", "PACKAGED", "POSTCOPY_LISTEN",
                 "POSTCOPY_RUN"):
        check(name in commands, f"no {name} in {commands}")
    check(items.of("package-end"), "no end of the package")
    check(items.of("return")[-1]["message"] == "SHUT", "no SHUT")
    check(items.ram("pages") > 10, "no pages")


def preempted(items):
    postcopy(items)
    check(items.of("pages"), "no channel that pre-empts")


TESTS = {
    "q35": machine(Q35, "pc-q35-7.2"),
    "microvm": machine(["-M", "microvm"], "microvm"),
    "none": machine(["-M", "none"], "none"),
    "without footers": without_footers,
    "pc-i440fx-2.3": of_long_ago,
    "without a configuration": without_configuration,
    "without a description": without_description,
    "many devices": many_devices,
    "a disk": disk,
    "a disk's bitmaps": disk_bitmaps,
    "compress": compressed,
    "x-ignore-shared": shared_memory,
    "validate-uuid": with_uuid,
    "mapped-ram": mapped_ram,
    "xbzrle, of a guest that runs": repeatedly,
    "cut and changed anywhere": damaged,
    "live": live(),
    "live, multifd": live(["multifd"], multifd("none")),
    "live, multifd, the newest machine": live(["multifd"], newest, NEWEST),
    "live, multifd with zlib": live(["multifd"], multifd("zlib"), multifd_compression="zlib"),
    "live, multifd with zstd": live(["multifd"], multifd("zstd"), multifd_compression="zstd"),
    "forwarded, with return path": forwarded(["return-path"], Q35, answers),
    "forwarded, with switchover-ack": forwarded(["return-path", "switchover-ack"], Q35,
                                                acknowledged),
    "forwarded, multifd with return path": forwarded(["return-path", "multifd"], Q35,
                                                     multifd_forwarded),
    "forwarded, post-copy": forwarded(["postcopy-ram"], RUNNING, postcopy, start_postcopy,
                                      max_bandwidth=8 << 20, downtime_limit=1),
    "forwarded, post-copy with pre-emption": forwarded(
        ["postcopy-ram", "postcopy-preempt"], RUNNING, preempted, start_postcopy,
        max_bandwidth=8 << 20, downtime_limit=1),
}


if __name__ == "__main__":
    sys.exit(qemu_vm.run_tests(TESTS, "hf-inspect-", AT_ONCE))
