#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
How long an idle guest with two devices stands still in a handover: as the source says it
(query-migrate), as the guest says it (the longest time between two steps of a vCPU around the
handover, by the TSC), and what it is made of (the source's trace: the time in each state).

A vCPU of the guest also stands still because its host has other work: "calm" is the longest gap in
the reports before the handover, and what the host alone does to the guest's figure.

The guest goes from process to process, --runs times. Exit status 1 if a handover fails; figures
never fail it.
"""
import json
import re
import statistics
import sys

import pair

# From the row that stops the guest to the one that knows that it runs.
STATES = ("QUIETING", "QUIESCING", "STOPPING", "DRAINING", "PROVING", "OFFERING", "COMMITTING",
          "CLAIMING", "DOUBT")


def transitions(vm):
    """[(ms, from, to)] and the other events [(ms, event, text)] of the last migration."""
    moves, events = [], []
    for entry in vm.qmp.execute("query-timeline"):
        at, text = entry["time-us"] / 1000, entry["text"]
        match = re.match(r"(\w+) -> (\w+)", text)
        if entry["event"] == "TRANSITION" and match:
            moves.append((at, match.group(1), match.group(2)))
        else:
            events.append((at, entry["event"], text))
    return moves, events


def parts(moves):
    """Milliseconds in each state."""
    spent = {}
    for (begin, _, state), (end, _, _) in zip(moves, moves[1:]):
        spent[state] = spent.get(state, 0) + end - begin
    return spent


def one(bench, options):
    target = bench.start(True)
    before = [int(report["gap_us_last"]) for report in bench.source.reports()[-10:]]
    answer = bench.migrate(target, channels=options.channels)
    reports = target.wait_reports(3)
    run = {"host_ms": answer["holdfast"]["downtime-us"] / 1000,
           "guest_ms": max(int(report["gap_us_last"]) for report in reports[:2]) / 1000,
           "calm_ms": max(before) / 1000,
           "total_ms": answer["holdfast"]["total-us"] / 1000}
    moves, _ = transitions(bench.source)
    run["parts"] = parts(moves)
    moves, _ = transitions(target)
    run["target_parts"] = parts(moves)
    if options.timeline:
        for vm in (bench.source, target):
            print(f"--- {'source' if vm is bench.source else 'target'}")
            for entry in vm.qmp.execute("query-timeline"):
                print(f"{entry['time-us'] / 1000:10.3f} {entry['event']:12} {entry['text']}")
    bench.forget(bench.source)
    bench.source = target
    return run


def spread(values):
    return f"{statistics.median(values):8.2f} ({min(values):.2f} to {max(values):.2f})"


def tell(runs, side):
    names = [name for run in runs for name in run[side]]
    for name in dict.fromkeys(names):
        values = [run[side].get(name, 0) for run in runs]
        if statistics.median(values) >= 0.005:
            print(f"  {name:12} {spread(values)}")


def main():
    parser = pair.options(__doc__, knobs="rate=1 dma=0 beat=0 report=50")
    parser.add_argument("--timeline", action="store_true", help="print every event of each run")
    options = parser.parse_args()
    pair.needs_kvm()
    runs = []
    try:
        with pair.Pair(options) as bench:
            bench.source = bench.start(False)
            for number in range(options.runs):
                bench.source.wait_settled()
                run = one(bench, options)
                runs.append(run)
                if not options.json:
                    print(f"run {number + 1:2}: host {run['host_ms']:8.2f} ms, guest "
                          f"{run['guest_ms']:8.2f} ms (calm {run['calm_ms']:.2f} ms), whole "
                          f"migration {run['total_ms']:.0f} ms",
                          flush=True)
    except pair.Failure as why:
        print(f"downtime: {why}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(runs))
        return 0
    print(f"median of {len(runs)} (least to greatest), ms:")
    for name in ("host_ms", "guest_ms", "calm_ms"):
        print(f"  {name[:-3]:12} {spread([run[name] for run in runs])}")
    print("time in each state of the source, ms:")
    tell(runs, "parts")
    print("and of the target, ms:")
    tell(runs, "target_parts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
