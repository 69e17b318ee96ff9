#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
How much memory a handover takes beside the guest's own, on each side: what is resident in the
process (/proc/PID/smaps) without the guest's memory (the mappings of its memfds), at the most that
was seen before, in the middle, and at the end of it. All else is in it: program and libraries,
KVM's dirty rings, the simulated devices. What the library has allocated by its own count
(query-migrate,
own-memory) stands beside it.

The guest goes from process to process, --runs times. Exit status 1 if a handover fails; figures
never fail it.
"""
import json
import re
import statistics
import sys

import pair

KIB_PER_MIB = 1024
GUEST_MEMORY = re.compile(r"/memfd:ram-(low|high)\b")


def resident(vm):
    """MiB of guest memory and of all else; (0, 0) when the process is gone."""
    guest = other = 0
    is_guest = False
    try:
        with open(f"/proc/{vm.process.pid}/smaps", encoding="ascii", errors="replace") as smaps:
            for line in smaps:
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    is_guest = bool(GUEST_MEMORY.search(line))
                elif line.startswith("Rss:"):
                    size = int(line.split()[1]) / KIB_PER_MIB
                    guest, other = (guest + size, other) if is_guest else (guest, other + size)
    except ProcessLookupError:
        return 0, 0
    return guest, other


class Side:
    """What is seen of one process during one handover."""

    def __init__(self, vm):
        self.vm = vm
        self.before = resident(vm)[1]
        self.peak, self.guest, self.looks = self.before, 0, 0

    def look(self):
        guest, other = resident(self.vm)
        self.guest, self.peak = max(self.guest, guest), max(self.peak, other)
        self.looks += 1

    def figures(self):
        own = self.vm.qmp.execute("query-migrate")["holdfast"]["own-memory"]
        return {"before_mib": self.before, "peak_mib": self.peak, "guest_mib": self.guest,
                "looks": self.looks, "own_mib": own / (1 << 20)}


def one(bench, options):
    target = bench.start(True)
    sides = [Side(bench.source), Side(target)]

    def look():
        for side in sides:
            side.look()

    bench.migrate(target, during=look, every=0.02, channels=options.channels)
    look()
    target.wait_reports(3)
    look()
    run = {"source": sides[0].figures(), "target": sides[1].figures()}
    bench.forget(bench.source)
    bench.source = target
    return run


def tell(runs):
    print(f"MiB, median of {len(runs)} (least to greatest):")
    for side in ("source", "target"):
        for name, words in (("guest_mib", "the guest's memory"),
                            ("before_mib", "all else that is resident, before"),
                            ("peak_mib", "all else, at the most"),
                            ("own_mib", "the session has allocated")):
            values = [run[side][name] for run in runs]
            print(f"  {side} {words:34} {statistics.median(values):8.1f} "
                  f"({min(values):.1f} to {max(values):.1f})")
    looks = min(run[side]["looks"] for run in runs for side in run)
    print(f"  at least {looks} looks at each process in each handover")


def main():
    parser = pair.options(__doc__, knobs="rate=1 dma=0 beat=0 report=50", runs=5)
    options = parser.parse_args()
    pair.needs_kvm()
    runs = []
    try:
        with pair.Pair(options) as bench:
            bench.source = bench.start(False)
            for _ in range(options.runs):
                bench.source.wait_settled()
                runs.append(one(bench, options))
    except pair.Failure as why:
        print(f"memory: {why}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(runs))
    else:
        tell(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
