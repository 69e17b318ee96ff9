#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
A PCI function by vfio-pci, behind an IOMMU, in a guest of the shipped `holdfast run`.

  pci-guest.py WAY FUNCTION FUNCTION    in the lab: WAY is group or cdev, the functions are QEMU's
                                        edu, bound to vfio-pci

The guest's driver (docs/checker.md) uses the registers, takes an interrupt by the pin and by MSI,
and moves data by DMA from its memory and to it: each pass has all of that. The function cannot
migrate: to ask for it gets a reason that names it, and the guest goes on. Results are TAP.

Environment: HOLDFAST.
"""
import importlib.util
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REASON = "device 0 (vfio0) cannot be migrated"
COMMANDS_PER_PASS = 6  # by pin and by MSI: an interrupt, DMA in, DMA out


def load(name):
    path = os.path.join(HERE, "../system", name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


H = load("handover")
check = H.check
LOAD = "mem=4 rate=500 zero=20 comp=20 dma=100 report=100"


class Test(H.Test):
    """A guest that has the first function."""

    def __init__(self, way, functions):
        self.uris = [f"vfio={function},path={way}" for function in functions]
        super().__init__(guest="kvm", devices=1, memory="64M", vcpus=1, load=LOAD,
                         device_uri=self.uris[:1])

    def target_machine(self):
        return self.machine[:-1] + self.uris[1:]


def numbers(test):
    """The guest's last report: passes, commands, interrupts, those without a reason."""
    line = [line for line in test.source.lines() if " clean pages=" in line][-1]
    return [int(re.search(rf"\b{name}=(\d+)", line)[1])
            for name in ("pass", "dma", "irqs", "spurious")]


def works(test):
    """Three passes: registers, pin, MSI, DMA in and out; each command has one interrupt."""
    test.source.wait_passes(3)
    passes, commands, interrupts, spurious = numbers(test)
    words = (f"passes {passes}, commands {commands}, interrupts {interrupts}, and {spurious} "
             "without a reason")
    print(f"# {words}", flush=True)
    check(commands >= COMMANDS_PER_PASS * passes and spurious == 0, words)
    check(interrupts == commands, words)
    answer = test.source.qmp.execute("query-guest")
    check("failed" not in answer["description"], f"{answer}")


def stays(test):
    """It is asked to migrate, twice, and goes on."""
    for _ in range(2):
        try:
            test.source.qmp.execute("migrate", uri=f"unix:{test.folder}/nobody")
        except H.Failure as refusal:
            print(f"# {refusal}", flush=True)
            check(str(refusal) == f"migrate: {REASON}", f"another reason: {refusal}")
        else:
            check(False, "it is taken as a migration")
        check(test.source.status() == "running", f"it is {test.source.status()}")
        test.source.wait_passes(test.source.passes() + 2)
    works(test)


def refused_there(test):
    """A target with such a function does not await a guest."""
    words = [H.HOLDFAST, "run", "--name", "guest", "--serial", "none", "--ledger",
             "file:" + test.ledger, *test.target_machine(), "--incoming",
             f"unix:{test.folder}/in.sock"]
    done = subprocess.run(words, timeout=H.START_S, capture_output=True, text=True, check=False)
    print(f"# {done.stderr.strip()}", flush=True)
    check(done.returncode == 1 and REASON in done.stderr, f"{done.returncode}: {done.stderr}")


PARTS = [("the guest uses its registers, pin, MSI and DMA", works),
         ("a migration is refused, and the guest goes on", stays),
         ("a target with one is refused", refused_there)]


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("group", "cdev"):
        print(f"usage: {os.path.basename(sys.argv[0])} group|cdev FUNCTION FUNCTION",
              file=sys.stderr)
        return 2
    print(f"1..{len(PARTS)}", flush=True)
    test, number = None, 0
    try:
        for number, (what, part) in enumerate(PARTS, 1):
            test = test or Test(sys.argv[1], sys.argv[2:])
            part(test)
            print(f"ok {number} - by {sys.argv[1]}: {what}", flush=True)
        test.end()
        test.remove()
    except Exception as why:  # every failure is a result, and what comes behind it is not tried
        print(f"not ok {number} - by {sys.argv[1]}: {PARTS[number - 1][0]}\n"
              f"# {type(why).__name__}: {why}", flush=True)
        if test:
            for vm in test.vms:
                print(f"# {vm.name}: {vm.log_end()}".replace("\n", "\n#   "), flush=True)
            test.end()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
