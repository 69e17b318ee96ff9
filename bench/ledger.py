#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
What a ledger costs while a guest stands still: offer + claim + started, in files, in etcd with one
node and with three, all in the same run and in turn. Every figure is of this machine's disk
(--dir): a write is on it before it is done. Three nodes share that disk and these cores here; in a
fleet each has its own, and the network is between them.

Figures fail nothing; exit status 1 if a ledger does.
"""
import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

READY_S = 60


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """etcd on loopback; gone with `stop`."""

    def __init__(self, folder, count):
        self.nodes = []
        ports = free_ports(2 * count)
        self.clients = [f"http://127.0.0.1:{port}" for port in ports[:count]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[count:]]
        cluster = ",".join(f"n{i}={peer}" for i, peer in enumerate(peers))
        for i, (client, peer) in enumerate(zip(self.clients, peers)):
            with open(f"{folder}/{count}-{i}.log", "wb") as log:
                self.nodes.append(subprocess.Popen(
                    ["etcd", "--name", f"n{i}", "--data-dir", f"{folder}/{count}-{i}",
                     "--listen-client-urls", client, "--advertise-client-urls", client,
                     "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                     "--initial-cluster", cluster, "--logger", "zap", "--log-level", "info"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        self.logs = [f"{folder}/{count}-{i}.log" for i in range(count)]

    def uri(self):
        return "etcd:" + ",".join(self.clients)

    def wait(self):
        """Until all serve. A node that ends says so by its exit, within the wait of a tenth."""
        deadline = time.monotonic() + READY_S
        for node, log in zip(self.nodes, self.logs):
            while True:
                with open(log, encoding="utf-8", errors="replace") as file:
                    if "serving client " in file.read():
                        break
                try:
                    node.wait(0.1)
                    raise SystemExit(f"etcd ended: see {log}")
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        raise SystemExit(f"etcd does not serve: see {log}") from None

    def stop(self):
        for node in self.nodes:
            node.kill()
            node.wait()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def table(names, runs):
    base = None
    print(f"{'ledger':18}{'first':>8}{'offer':>8}{'claim':>8}{'started':>8}   {'all three':>9}"
          f"{'p99':>8}{'max':>8}   ratio   (ms, medians; first: a read by a new handle)")
    for name, lines in zip(names, runs):
        whole = [sum(line[1:]) for line in lines]
        middle = statistics.median(whole)
        base = base or middle
        parts = "".join(f"{statistics.median(column) / 1e3:8.2f}" for column in zip(*lines))
        print(f"{name:18}{parts}   {middle / 1e3:9.2f}{percentile(whole, 0.99) / 1e3:8.2f}"
              f"{max(whole) / 1e3:8.2f}   {middle / base:5.2f}")


def file_system(folder):
    out = subprocess.run(["df", "--output=fstype,source", folder], capture_output=True, text=True,
                         check=True).stdout
    return " ".join(out.splitlines()[-1].split())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "500")))
    parser.add_argument("--dir", help="where the ledgers keep their data (default: a new folder)")
    options = parser.parse_args()
    program = os.environ.get("BENCH_LEDGER", "build/bench/bench-ledger")
    folder = tempfile.mkdtemp(prefix="holdfast-ledger-", dir=options.dir)
    clusters = []
    try:
        os.mkdir(f"{folder}/file")
        names, uris = ["file"], [f"file:{folder}/file"]
        if shutil.which("etcd"):
            for count in (1, 3):
                clusters.append(Cluster(folder, count))
                names.append("etcd, one node" if count == 1 else "etcd, three nodes")
                uris.append(clusters[-1].uri())
            for cluster in clusters:
                cluster.wait()
        else:
            print("no etcd here (Debian: etcd-server): files only")
        done = subprocess.run([program, str(options.runs), *uris], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            sys.stderr.write(done.stderr)
            return 1
        runs = [[] for _ in uris]
        for line in done.stdout.splitlines():
            index, *parts = line.split()
            runs[int(index)].append([float(part) for part in parts])
        print(f"{options.runs} runs on {file_system(folder)}, {os.cpu_count()} cores, "
              f"load {os.getloadavg()[0]:.1f}")
        table(names, runs)
        return 0
    finally:
        for cluster in clusters:
            cluster.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
