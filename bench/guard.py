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
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/system"))
import guard # pylint: disable=wrong-import-position
import qemu_vm # pylint: disable=wrong-import-position


class Busy(threading.Thread):
    """
    What the threads of some processes have worked, in seconds. A thread that has ended is seen as
    it was when it was last looked at.
    """
    LOOK_S = 0.005

    def __init__(self, names):
        super().__init__(daemon=True)
        self.names, self.first, self.last = dict(names), {}, {}
        self.left_out, self.over = set(), threading.Event()

    def leave_out(self, qemu):
        """What the guest itself computes."""
        self.left_out |= {cpu["thread-id"] for cpu in qemu.ask("query-cpus-fast")}

    def add(self, name, pid):
        self.names[name] = pid

    def look(self):
        for name, pid in list(self.names.items()):
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                        worked = int(file.read().split()[0]) / 1e9
                    self.first.setdefault((name, thread), worked)
                    self.last[name, thread] = worked
            except OSError:
                pass # it ended

    def run(self):
        while not self.over.wait(self.LOOK_S):
            self.look()

    def end(self):
        """The busiest thread of each process."""
        self.over.set()
        self.join()
        busiest = {}
        for (name, thread), worked in self.last.items():
            if int(thread) not in self.left_out:
                worked -= self.first[name, thread]
                busiest[name] = max(busiest.get(name, 0), worked)
        return busiest


def watched(pair):
    busy = Busy({"source's QEMU": pair.source.qemu.process.pid,
                 "target's QEMU": pair.target.qemu.process.pid})
    for host in (pair.source, pair.target):
        busy.leave_out(host.qemu)
    busy.look()
    busy.start()
    return busy


def counters(pair, busy):
    """Of the source's QEMU, which is still there."""
    for _ in range(1000): # its counters come a moment after its status
        answer = pair.source.qemu.ask("query-migrate")
        guard.check(answer["status"] == "completed", f"{answer}")
        if answer["total-time"] > 0 and answer.get("downtime", 0) > 0:
            sent = answer["ram"]["transferred"]
            return (sent / (answer["total-time"] / 1000), answer["downtime"],
                    {name: worked / (sent / (1 << 30)) for name, worked in busy.end().items()})
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
    busy = watched(pair)
    pair.source.qemu.ask("migrate", uri=path)
    pair.source.qemu.completed()
    return counters(pair, busy)


def guarded(pair, options):
    more = ["--multifd", str(options.multifd)] if options.multifd else []
    if options.bandwidth:
        more += ["--bandwidth", f"{options.bandwidth}M"]
    busy = watched(pair)
    guards = pair.guards(["--stay", "--downtime", str(options.downtime), *more])
    for one in guards:
        busy.add(f"{one.role}'s guard", one.process.pid)
    guards[0].end(guard.AWAY)
    guards[1].end(0)
    return counters(pair, busy)


def tell_work(name, list_):
    """How much of a core the busiest thread of each process needs: the rate that it bounds."""
    work = {who: statistics.median(work.get(who, 0) for _, _, work in list_)
            for who in list_[0][2]}
    print(f"{name}, busiest thread of each, CPU s per GiB: "
          + ", ".join(f"{who} {seconds:.2f}" for who, seconds in work.items()))
    return work


def once(way, options):
    with tempfile.TemporaryDirectory(prefix="hf-bench-guard-") as folder:
        words = f"mem={options.mib} rate={options.rate} report=100 registers=off"
        size = options.mib + 64
        # As with VFIO, whose guests' memory is pinned from the beginning: no page is cleared for
        # the first time while it is measured.
        memory = ["-m", str(size), "-object",
                  f"memory-backend-ram,id=m,size={size}M,prealloc=on", "-machine",
                  "memory-backend=m"]
        with guard.Pair(folder, words=words, more=memory) as pair:
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
        rates = [rate / (1 << 20) for rate, _, _ in list_]
        downtimes = [downtime for _, downtime, _ in list_]
        print(f"{way.__name__}: {statistics.median(rates):.0f} MiB/s "
              f"({min(rates):.0f} to {max(rates):.0f}), downtime "
              f"{statistics.median(downtimes):.0f} ms ({min(downtimes)} to {max(downtimes)})")
    rates = [statistics.median(rate for rate, _, _ in results[way]) for way in (guarded, alone)]
    downtimes = [statistics.median(ms for _, ms, _ in results[way]) for way in (guarded, alone)]
    print(f"throughput ratio {rates[0] / rates[1]:.2f}, downtime more by "
          f"{downtimes[0] - downtimes[1]:.0f} ms, {options.runs} runs each, "
          f"multifd {options.multifd}")
    work = {way: tell_work(way.__name__, results[way]) for way in results}
    bound = max(work[guarded].values()) / max(work[alone].values())
    print(f"with a core for each thread: ratio {min(1, 1 / bound):.2f} of the throughput, bounded "
          f"by the {max(work[guarded], key=work[guarded].get)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
