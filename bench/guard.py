#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The price of the guard: the same QEMU, guest and limits, migrated alone and between two guards on
this host, in turn. QEMU's own counters of both: what it sent in which time, and its downtime,
which with a guard holds proof, ledger and start. Environment: HOLDFAST, CHECKER, QEMU.
"""
import argparse
import os
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/system"))
import guard # pylint: disable=wrong-import-position
import qemu_vm # pylint: disable=wrong-import-position


def counters(pair):
    """Of the source's QEMU, which is still there."""
    for _ in range(1000): # its counters come a moment after its status
        answer = pair.source.qemu.ask("query-migrate")
        guard.check(answer["status"] == "completed", f"{answer}")
        if answer["total-time"] > 0 and answer.get("downtime", 0) > 0:
            return (answer["ram"]["transferred"] / (answer["total-time"] / 1000),
                    answer["downtime"])
    raise guard.Failure(f"no counters: {answer}")


def alone(pair, options):
    path = f"unix:{pair.folder}/alone"
    for host in (pair.source, pair.target):
        host.qemu.capabilities(["return-path"] + (["multifd"] if options.multifd else []))
        if options.multifd:
            host.qemu.parameters(multifd_channels=options.multifd)
    pair.source.qemu.parameters(max_bandwidth=options.bandwidth << 20 or 1 << 50,
                                downtime_limit=options.downtime)
    pair.target.qemu.ask("migrate-incoming", uri=path)
    pair.source.qemu.ask("migrate", uri=path)
    pair.source.qemu.completed()
    return counters(pair)


def guarded(pair, options):
    more = ["--multifd", str(options.multifd)] if options.multifd else []
    if options.bandwidth:
        more += ["--bandwidth", f"{options.bandwidth}M"]
    guards = pair.guards(["--stay", "--downtime", str(options.downtime), *more])
    guards[0].end(guard.AWAY)
    guards[1].end(0)
    return counters(pair)


def once(way, options):
    with tempfile.TemporaryDirectory(prefix="hf-bench-guard-") as folder:
        words = f"mem={options.mib} rate={options.rate} report=100 registers=off"
        with guard.Pair(folder, words=words, more=["-m", str(options.mib + 64)]) as pair:
            return way(pair, options)


def main():
    parser = argparse.ArgumentParser(description="what a guard costs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512, help="of the guest's pages")
    parser.add_argument("--rate", type=int, default=1000, help="pages it writes each second")
    parser.add_argument("--multifd", type=int, default=0)
    parser.add_argument("--bandwidth", type=int, default=0, help="MiB/s; 0: no limit")
    parser.add_argument("--downtime", type=int, default=300, help="limit, in ms")
    options = parser.parse_args()
    if not qemu_vm.QEMU:
        print("SKIP: no qemu-system-x86_64")
        return 77
    if qemu_vm.fastest()[1]:
        print(f"SKIP: no KVM for QEMU: {qemu_vm.fastest()[1]}")
        return 77
    results = {alone: [], guarded: []}
    for _ in range(options.runs):
        for way, list_ in results.items():
            list_.append(once(way, options))
    for way, list_ in results.items():
        rates = [rate / (1 << 20) for rate, _ in list_]
        downtimes = [downtime for _, downtime in list_]
        print(f"{way.__name__}: {statistics.median(rates):.0f} MiB/s "
              f"({min(rates):.0f} to {max(rates):.0f}), downtime "
              f"{statistics.median(downtimes):.0f} ms ({min(downtimes)} to {max(downtimes)})")
    rates = [statistics.median(rate for rate, _ in results[way]) for way in (guarded, alone)]
    downtimes = [statistics.median(ms for _, ms in results[way]) for way in (guarded, alone)]
    print(f"throughput ratio {rates[0] / rates[1]:.2f}, downtime more by "
          f"{downtimes[0] - downtimes[1]:.0f} ms, {options.runs} runs each, "
          f"multifd {options.multifd}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
