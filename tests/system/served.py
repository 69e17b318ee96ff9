#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Guests whose devices are in other processes (`holdfast device serve`, one each), handed over between
two hosts' worth of them, there and back. As handover.py, whose guests and verdicts these are: after
each handover two more clean passes where the guest is then.

  served.py SUITE

Environment: HOLDFAST.
"""
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


H = load("handover")
check = H.check


class Server:
    """One `holdfast device serve` with one device."""

    def __init__(self, folder, name, uri, filters=()):
        self.name, self.folder = name, folder
        self.socket = os.path.join(folder, name + ".dev")
        self.log = os.path.join(folder, name + ".log")
        args = [H.HOLDFAST, "device", "serve", "--socket", self.socket]
        for spec in filters:
            args += ["--filter", spec]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(args + [uri], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)

    def wait_serving(self):
        watch = H.WAIT.Watch(self.folder)
        deadline = time.monotonic() + H.START_S
        while not any(" serving " in line for line in H.WAIT.whole_lines(self.log)):
            check(self.process.poll() is None, f"server {self.name} ended: {self.said()}")
            check(watch.wait(min(deadline, time.monotonic() + 5)) or time.monotonic() < deadline,
                  f"server {self.name} does not serve")
        os.close(watch.fd)

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-400:]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Served(H.Test):
    """A guest with served devices, and two hosts' worth of servers: it is at hosts[0] first."""

    state = "1M"

    def __init__(self, **settings):
        self.socket_folder = tempfile.mkdtemp(prefix="holdfast-served.")
        self.hosts, self.all = [], []
        count = settings.pop("devices")
        self.state = settings.pop("state", self.state)
        try:
            for host in range(2):
                self.hosts.append([self.serve(f"host{host}-{i}") for i in range(count)])
            for server in self.all:
                server.wait_serving()
            super().__init__(devices=count, device_uri=self.uris(0), **settings)
        except BaseException:
            self.end_servers()
            raise
        self.at = 0

    def serve(self, name, filters=()):
        server = Server(self.socket_folder, name, f"sim:state={self.state}", filters)
        self.all.append(server)
        return server

    def uris(self, host):
        return [f"vfio-user:{server.socket}" for server in self.hosts[host]]

    def machine_at(self, host):
        """The same machine with the devices of that host."""
        machine, uris = [], iter(self.uris(host))
        for word, before in zip(self.machine, [None] + self.machine):
            machine.append(next(uris) if before == "--device" else word)
        return machine

    def other(self, filters=()):
        return self.target("unix", filters, self.machine_at(1 - self.at))

    def assert_moved(self, target, answer):
        self.assert_away(target, answer)
        self.at = 1 - self.at

    def end_servers(self):
        for server in self.all:
            server.kill()

    def end(self):
        super().end()
        self.end_servers()

    def remove(self):
        super().remove()
        shutil.rmtree(self.socket_folder, ignore_errors=True)


def spread(values):
    return f"median {statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def rounds(times, devices, state, **settings):
    """There and back, so many times in a row."""
    def run(test):
        total, downtime = [], []
        for _ in range(2 * times):
            target = test.other()
            answer = test.migrate(target, **{"downtime-limit": 5000})
            test.assert_moved(target, answer)
            total.append(answer["holdfast"]["total-us"] / 1000)
            downtime.append(answer["holdfast"]["downtime-us"] / 1000)
        print(f"# {len(total)} handovers of {devices} devices of {state}: "
              f"{spread(total)} ms, downtime {spread(downtime)} ms", flush=True)
    settings.update(devices=devices, state=state, kind=Served)
    return (f"{devices} served devices of {state}, {times} times there and back", settings, run)


SUITES = {
    "rounds": [rounds(2, 1, "1M"), rounds(2, 4, "1M")],
    "rounds-long": [rounds(20, 1, "64M"), rounds(20, 4, "64M"), rounds(20, 16, "64M")],
}


if __name__ == "__main__":
    sys.exit(H.main(SUITES))
