# SPDX-License-Identifier: BSD-3-Clause
"""
The ledgers of a run: files (a folder, or a small file system that can be filled), etcd of one node
behind a proxy for each side, or none. What may happen to each is a method.
"""
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import campaign_net

ETCD_START_S = 30
FILE_SYSTEM_KIB = 64


class NoLedger:
    kind, uri = "none", "none"

    def faults(self, name, side):
        raise RuntimeError(f"there is no ledger that could be {name} for {side}")

    def heal(self):
        pass

    def end(self):
        pass


class FileLedger:
    """A folder; on a tmpfs of its own where we may mount."""

    kind = "file"

    def __init__(self, folder, net):
        self.place = os.path.join(folder, "ledger")
        os.mkdir(self.place)
        self.small = net.apart and campaign_net.mount_tmpfs(self.place, FILE_SYSTEM_KIB)
        self.uri = "file:" + os.path.join(self.place, "l")
        os.mkdir(os.path.join(self.place, "l"))
        self.filler, self.away = os.path.join(self.place, "filler"), None

    def faults(self, name, side):
        """full: nothing more can be written; gone: the folder is not there. Both for both sides."""
        if name == "full":
            with open(self.filler, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass  # that is what was wanted
        elif name == "gone":
            self.away = self.uri[5:] + ".away"
            os.rename(self.uri[5:], self.away)
        else:
            raise RuntimeError(f"{name} {side}: not with a file")

    def heal(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)
        if self.away:
            if os.path.isdir(self.uri[5:]):  # somebody has made a new one: it is not the ledger
                shutil.rmtree(self.uri[5:])
            os.rename(self.away, self.uri[5:])
            self.away = None

    def end(self):
        self.heal()


class Road(threading.Thread):
    """From one side to etcd. mode: open, slow, refuse, silent, lose (answers)."""

    def __init__(self, listener, to):
        super().__init__(daemon=True)
        self.listener, self.to, self.mode, self.ended = listener, to, "open", False
        self.lock, self.ends, self.asked, self.plan = threading.Condition(), [], 0, None
        self.start()

    def run(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            if self.mode == "refuse":
                self.reset(near)
                continue
            try:
                far = socket.create_connection(self.to, timeout=20)
                far.settimeout(None)
            except OSError:
                self.reset(near)
                continue
            with self.lock:
                self.ends += [near, far]
            for args in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.carry, args=args, daemon=True).start()

    @staticmethod
    def reset(end):
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already
        end.close()

    def carry(self, source, sink, asks):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if asks and data.startswith(b"POST "):
                    self.count()
                with self.lock:
                    while self.mode == "silent" and not self.ended:
                        self.lock.wait()
                if self.mode == "slow":
                    with self.lock:  # until it is healed, at most
                        self.lock.wait_for(lambda: self.mode != "slow" or self.ended, 0.4)
                if self.mode == "refuse" or self.ended or (self.mode == "lose" and not asks):
                    break
                sink.sendall(data)
        except OSError:
            pass
        self.reset(source)
        self.reset(sink)

    def count(self):
        with self.lock:
            self.asked += 1
            if self.plan and self.asked >= self.plan[0]:
                self.mode, struck, self.plan = self.plan[1], self.plan[2], None
                struck()

    def at_request(self, number, mode, struck):
        """From the number-th request on, counted from now."""
        with self.lock:
            self.asked, self.plan = 0, (number, mode, struck)

    def set(self, mode):
        with self.lock:
            self.mode, self.plan = mode, None
            self.lock.notify_all()

    def end(self):
        with self.lock:
            self.ended = True
            self.lock.notify_all()
        self.listener.close()
        for end in self.ends:
            self.reset(end)


class EtcdLedger:
    """One node, started here, and a road to it for each side."""

    kind = "etcd"

    def __init__(self, folder, net):
        self.folder, self.net = folder, net
        self.port, self.peer_port = (2379, 2380) if net.apart else (free_port(), free_port())
        self.process = None
        self.begin()
        self.roads = {}
        for side in (1, 2) if net.apart else (1,):
            with net.inside(side):
                listener = socket.create_server(("127.0.0.1", 2400 if net.apart else 0))
            self.roads[side] = Road(listener, ("127.0.0.1", self.port))
        self.roads.setdefault(2, self.roads[1])
        self.uri = f"etcd:http://127.0.0.1:{self.roads[1].listener.getsockname()[1]}"

    def begin(self):
        client, peer = (f"http://127.0.0.1:{p}" for p in (self.port, self.peer_port))
        with open(os.path.join(self.folder, "etcd.log"), "ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", "n", "--data-dir", os.path.join(self.folder, "etcd"),
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", f"n={peer}", "--unsafe-no-fsync", "--log-level", "error"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self.net.enter(1))
        deadline = time.monotonic() + ETCD_START_S
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("etcd did not start")
            threading.Event().wait(0.03)  # it tells nobody when it listens

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as link:
                link.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b'"true"' in link.recv(4096)
        except OSError:
            return False

    def faults(self, name, side):
        """slow, refuse, silent, lose: on the road of side (1, 2, 0: both); kill, stop: etcd."""
        if name == "kill":
            self.process.kill()
            self.process.wait()
        elif name == "stop":
            self.process.send_signal(signal.SIGSTOP)
        else:
            for number in (1, 2) if side == 0 else (side,):
                self.roads[number].set(name)

    def heal(self):
        for road in self.roads.values():
            road.set("open")
        if self.process.poll() is not None:
            self.begin()
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        for road in self.roads.values():
            road.end()
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def make(kind, folder, net):
    if kind == "none":
        return NoLedger()
    return FileLedger(folder, net) if kind == "file" else EtcdLedger(folder, net)
