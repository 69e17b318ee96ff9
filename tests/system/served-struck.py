#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The server of a guest's device is killed, stopped, slow, or answers rubbish, in each state of the
source and of the target (those that only a lost connection leads to are left out: the devices are
asked for nothing there). Whoever waits for that device does so until its deadline and no longer,
and what must be so then is said in expected(). As served.py, whose guests these are.

  served-struck.py SUITE

Environment: HOLDFAST.
"""
import importlib.util
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


S = load("served")
CASES = load("campaign_cases")
H, check = S.H, S.H.check

LOAD = "mem=16 rate=2000 zero=20 dma=300 dma_len=4096 beat=2000 report=50"
DEVICE_S = 4  # for a reply, and for an arc
LIMITS = {"device-timeout": 1000 * (DEVICE_S + 4), "peer-timeout": 20000, "downtime-limit": 20000}
# From the strike to the end: two arcs of a device that does not answer and one for the host's mood.
END_S = 3 * (DEVICE_S + 4) + 20
HEADER = struct.Struct("<HHIII")
REPLY, DEVICE_FEATURE, MIG_DATA_READ = 1, 16, 17

# How it is struck: fatal if the device never answers rightly again.
WAYS = {"kill": True, "stop": True, "stop 2 s": False, "slow": False, "rubbish header": True,
        "rubbish payload": True}
SLOW = ["delay:device.set_state:300", "delay:device.read_data:30", "delay:device.write_data:30"]


class Middle:
    """Between client and server: carries messages with their descriptors, until told to spoil."""

    def __init__(self, path, server_path):
        self.path, self.server_path = path, server_path
        self.spoil, self.spoilt = None, threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(4)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.server_path)
            for way in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.carry, args=way, daemon=True).start()

    def carry(self, source, sink, replies):
        try:
            while message := self.receive(source):
                data, fds = message
                if replies:
                    data = self.damaged(data)
                socket.send_fds(sink, [data[:1]], fds)
                sink.sendall(data[1:])
                for fd in fds:
                    os.close(fd)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def receive(source):
        """A whole message; None at the end."""
        data, fds = bytearray(), []
        while len(data) < HEADER.size:
            part, more, _, _ = socket.recv_fds(source, HEADER.size - len(data), 16)
            fds += more
            if not part:
                return None
            data += part
        size = HEADER.unpack(data)[2]
        while len(data) < size:
            part = source.recv(min(size - len(data), 1 << 20))
            if not part:
                return None
            data += part
        return bytes(data), fds

    def damaged(self, data):
        """The next reply's header; or each body of a state or of data from now on."""
        name, command, size, flags, error = HEADER.unpack_from(data)
        if not self.spoil or flags & 15 != REPLY:
            return data
        if self.spoil == "header":
            self.spoil = None
            self.spoilt.set()
            return HEADER.pack(name ^ 0x5555, command, size, flags | 0x4000, error) + data[16:]
        if command not in (DEVICE_FEATURE, MIG_DATA_READ) or size <= 24:
            return data
        self.spoilt.set()
        return data[:24] + bytes(octet ^ 0xa5 for octet in data[24:])

    def close(self):
        self.listener.close()


class Struck(S.Served):
    """Its devices have short deadlines; the one to be struck may have somebody in the middle."""

    memory = "64M"

    def __init__(self, **settings):
        self.side, self.way = settings.pop("side"), settings.pop("way")
        self.middle = None
        super().__init__(**settings)

    def serve(self, name, filters=()):
        host = 0 if self.side == "source" else 1
        mine = name == f"host{host}-0"
        return super().serve(name, SLOW if mine and self.way == "slow" else filters)

    def victim(self):
        return self.hosts[0 if self.side == "source" else 1][0]

    def uris(self, host):
        if self.way.startswith("rubbish") and not self.middle:
            path = os.path.join(self.socket_folder, "middle.dev")
            self.middle = Middle(path, self.victim().socket)
            self.victim().socket = path
        return [f"{uri},timeout={DEVICE_S},arc-timeout={DEVICE_S}" for uri in super().uris(host)]

    def strike(self):
        if self.way == "kill":
            self.victim().kill()
        elif self.way.startswith("stop"):
            os.kill(self.victim().process.pid, signal.SIGSTOP)
        elif self.way.startswith("rubbish"):
            self.middle.spoil = self.way.split()[1]
        if self.way == "stop 2 s":
            timer = threading.Timer(2, os.kill, (self.victim().process.pid, signal.SIGCONT))
            timer.start()

    def end(self):
        super().end()
        if self.middle:
            self.middle.close()


BEFORE_PROOF = ["ENTERING", "HELLO", "PRECOPY", "QUIETING", "QUIESCING", "STOPPING", "DRAINING"]
BEHIND_PROOF = ["PROVING", "OFFERING", "COMMITTING"]
WAY_BACK = ["UNDOING", "REVIVING", "RESUMING"]
TARGET_RETURNS = ["LISTENING", "PREPARING", "VERIFYING", "SETTING", "LOADED", "CLAIMING",
                  "STARTING", "REVIVING", "HALTING", "RETURNING"]
TARGET_HAS_IT = ["RECORDING", "RESUMING"]


def expected(side, state, way):
    """
    What must be so, as a set of: "home" (the guest is at the source, unharmed), "lost" (at the
    source, its device is dead, and the reason says so), "away" (at the target, unharmed), "dead"
    (at the target, and its device is dead).
    """
    refused = state in WAY_BACK if side == "source" else state in ("HALTING", "RETURNING")
    if not WAYS[way]:
        return {"home"} if refused else {"away"}
    if side == "source":
        if state in BEHIND_PROOF:
            return {"away"}
        if way == "rubbish payload":  # the target finds it, or the source; or it was read already
            return {"home", "lost", "away"}
        # In DRAINING all of its state may have been read.
        return {"lost", "away"} if state == "DRAINING" else {"lost"}
    if state in TARGET_HAS_IT:
        return {"dead"}
    if way == "rubbish payload" and state in ("CLAIMING", "STARTING", "REVIVING"):
        return {"home", "dead"}  # only the last reply may be a damaged one
    return {"home"}


def wait_end(test):
    """Its answer, which must come in time; the control connection is served all the while."""
    began = time.monotonic()
    answer = test.source.qmp.wait_status(("completed", "failed", "cancelled"), END_S)
    print(f"# it ended {time.monotonic() - began:.1f} s behind the strike", flush=True)
    return answer


def assert_lost(test, target, answer):
    """The guest is here, paused as it was; which device, and why, is said."""
    text = answer.get("error-desc", "")
    check(answer["status"] == "failed", f"not at the source: {answer}")
    check("vfio-user0" in text, f"the reason does not name the device: {text}")
    check(text.count("reset in ERROR") < 2, f"what it came home because of is lost: {text}")
    check(test.source.process.poll() is None, f"the source ended: {test.source.log_end()}")
    check(not target.passes(), "the guest ran at the target")
    check(test.source.status() == "paused", f"the source is {test.source.status()}")


def assert_dead(test, target, answer):
    check(answer["status"] == "completed", f"not away: {answer}")
    check(test.source.status() == "postmigrate", test.source.status())
    check(target.process.poll() is None, f"the target ended: {target.log_end()}")
    target.wait_status("paused")


def judge(test, target, answer, allowed):
    print(f"# {answer['status']}: {answer.get('error-desc', '')}", flush=True)
    if answer["status"] == "completed":
        check(allowed & {"away", "dead"}, f"away, and not {allowed}")
        if "dead" in allowed:
            assert_dead(test, target, answer)
        else:
            test.assert_away(target, answer, paused="lost" in allowed)
        return
    check(allowed & {"home", "lost"}, f"at the source, and not {allowed}: {answer}")
    if "lost" in allowed and ("home" not in allowed or "reset" in answer.get("error-desc", "")):
        assert_lost(test, target, answer)
    else:
        test.assert_home(None, answer, paused=bool(allowed & {"lost", "dead"}))
        check(not target.passes(), "the guest ran at the target")


def struck(side, state, way):
    source, target_filters = (CASES.AT_SOURCE if side == "source" else CASES.AT_TARGET)[state]
    slow = {"source": source, "target": target_filters}
    slow = {key: [spec.replace("%d", "1500") for spec in specs] for key, specs in slow.items()}

    def run(test):
        target = test.other(slow["target"])
        if expected(side, state, way) & {"lost", "dead"}:
            test.source.qmp.execute("stop")  # a guest that runs sees that its device is dead
        if state == "LISTENING":
            test.strike()
        test.source.qmp.execute("migrate", uri=target.uri, channels=2, filters=slow["source"],
                                **LIMITS)
        if state != "LISTENING":
            wait_state(test.source if side == "source" else target, state)
            test.strike()
        judge(test, target, wait_end(test), expected(side, state, way))
    devices = 2 if state == "HALTING" else 1
    return (f"{way}: the {side}'s server in {state}",
            {"kind": Struck, "side": side, "way": way, "devices": devices,
             "load": LOAD}, run)


def wait_state(vm, state):
    deadline = time.monotonic() + H.MIGRATE_S
    while True:
        own = vm.qmp.execute("query-migrate").get("holdfast", {})
        if own.get("state") == state:
            return
        check(own.get("outcome", "none") == "none", f"not seen in {state}: {own}")
        check(time.monotonic() < deadline, f"never in {state}: {own}")
        select.select([vm.qmp.link], [], [], 0.005)


def everywhere(way):
    # In RESUMING nothing is asked of a device any more: one that dies then is the guest's matter.
    return [struck(side, state, way)
            for side, states in (("source", BEFORE_PROOF + BEHIND_PROOF + WAY_BACK),
                                 ("target", TARGET_RETURNS + TARGET_HAS_IT)) for state in states
            if state != "RESUMING" or not WAYS[way]]


SUITES = {
    "sample": [struck("source", "PRECOPY", "kill"), struck("source", "STOPPING", "stop"),
               struck("source", "PROVING", "kill"), struck("source", "PRECOPY", "stop 2 s"),
               struck("source", "UNDOING", "rubbish header"),
               struck("target", "VERIFYING", "stop"), struck("target", "SETTING", "rubbish header"),
               struck("target", "STARTING", "kill"), struck("target", "PREPARING", "slow")],
    **{way.replace(" ", "-"): everywhere(way) for way in WAYS},
}


if __name__ == "__main__":
    sys.exit(H.main(SUITES))
