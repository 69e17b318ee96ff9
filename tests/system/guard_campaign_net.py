# SPDX-License-Identifier: BSD-3-Clause
"""
Proxies of the campaign of guards: on the link between two guards (docs/guard-link.md), between a
QEMU and its guard, and between two QEMUs. Each knows what passes through it, and at one place of
that does what a network or a peer may do. None changes an octet.

A place is a word: on the link a frame ("HELLO"), a record of the session in it ("GO",
docs/stream.md), or an octet of QEMU's streams ("qemu 4"); at a QEMU an octet of one of its
connections ("main 4"), a word of its stream ("main devices"), or a message of its return path
("SHUT"); with ", before", ", inside" or ", behind".
"""
import os
import socket
import struct
import threading

import campaign_proxy

FRAMES = {1: "HELLO", 2: "WELCOME", 3: "OVER", 4: "READY", 5: "OPEN", 6: "DATA", 7: "FIN",
          8: "STATE", 9: "BEAT"}
SESSION, QEMU = 1, 2
RETURN = {1: "SHUT", 2: "PONG", 3: "REQ_PAGES", 4: "REQ_PAGES_ID", 5: "RECV_BITMAP",
          6: "RESUME_ACK", 7: "SWITCHOVER_ACK"}
WORDS = {b"cpu_common": "devices", b'"page_size"': "description"}
CHUNK = 1 << 16


def places_of(name, start, end):
    """A thing with a beginning and an end: (offset, place)."""
    return [(start, f"{name}, before"), ((start + end) // 2, f"{name}, inside"),
            (end, f"{name}, behind")]


class Octets:
    """A stream of which only numbers and words matter."""

    def __init__(self, name, numbers):
        self.name, self.numbers, self.at, self.tail = name, list(numbers), 0, b""

    def feed(self, data):
        found = []
        for number in self.numbers:
            if self.at <= number < self.at + len(data):
                found.append((number - self.at, f"{self.name} {number}"))
        both = self.tail + data
        for word, what in WORDS.items():
            place = both.find(word)
            if place >= 0:
                found.append((max(0, place - len(self.tail)), f"{self.name} {what}"))
        self.at += len(data)
        self.tail = both[-16:]
        return found


class Return:
    """QEMU's return path: big-endian type, length, and so many octets."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        found, at = [], -len(self.rest)
        self.rest += data
        while len(self.rest) >= 4:
            kind, length = struct.unpack_from(">HH", self.rest)
            if len(self.rest) < 4 + length:
                break
            found += places_of(RETURN.get(kind, "?"), at, at + 4 + length)
            self.rest, at = self.rest[4 + length:], at + 4 + length
        return [(max(0, place), what) for place, what in found]


class Frames:
    """One direction of one connection of the link."""

    def __init__(self, outward):
        self.outward, self.head, self.left, self.kind, self.stream = outward, b"", 0, None, None
        self.sessions, self.qemu = {}, {}

    def inner(self, base, data):
        """What a frame carries; base: where that is in what came."""
        if self.stream[0] == SESSION:
            parser = self.sessions.setdefault(self.stream[1], Records())
            return [(base + place, what) for place, what in parser.feed(data)]
        # The first octet of the index-th connection, and those behind it.
        stream = self.qemu.setdefault(self.stream[1], Octets("qemu", [0, 1, 4, 100, 65536, 1 << 20])
                                      if self.outward else Return())
        return [(base + place, what) for place, what in stream.feed(data)]

    def feed(self, data):
        found, at = [], 0
        while at < len(data):
            if self.left:
                take = min(self.left, len(data) - at)
                if self.kind == 6:
                    found += self.inner(at, data[at:at + take])
                self.left -= take
                at += take
                continue
            want = 24 if self.kind == 6 and len(self.head) >= 8 else 8
            take = min(want - len(self.head), len(data) - at)
            self.head += data[at:at + take]
            at += take
            if len(self.head) < want:
                continue
            self.kind, length = struct.unpack_from("<II", self.head)
            if self.kind == 6 and want == 8:
                continue
            if self.kind == 6:
                self.stream = struct.unpack_from("<II", self.head, 8)
                self.left = length - 16
            else:
                self.left = length
                found += places_of(FRAMES.get(self.kind, "?"), max(0, at - 8), at + length)
            self.head = b""
        return found


class Records(campaign_proxy.Parser):
    """The session's records, without what is to happen to them."""

    def __init__(self):
        super().__init__()
        self.pending = b""

    def feed(self, data):
        found, names, base = [], [], -len(self.pending)
        data, self.pending = self.pending + data, b""

        def wanted(name, _kind):
            names.append(name)
            return "before"

        while data:
            place = self.cut(data, wanted)
            if place is None:
                if self.rest:
                    self.pending = data[-self.rest:]
                break
            start = base + place
            found += places_of(names[-1], max(0, start), max(0, start + 8 + self.left))
            base, data = base + place + 8, data[place + 8:]
        return found


class Way(threading.Thread):
    """One direction of one connection."""

    def __init__(self, road, watch, source, sink):
        super().__init__(daemon=True)
        self.road, self.watch, self.source, self.sink = road, watch, source, sink
        self.start()

    def pass_on(self, data):
        return self.road.gate(self) and (self.sink.sendall(data) or True)

    def run(self):
        try:
            while data := self.source.recv(CHUNK):
                at = 0
                for place, what in sorted(self.watch.feed(data)):
                    place = min(place, len(data))
                    if not self.road.meets(what):
                        continue
                    if not self.pass_on(data[at:place]):
                        return
                    at = place
                    self.road.strike(what)
                if not self.pass_on(data[at:]):
                    return
            if self.road.meets("end"):
                self.road.strike("end")
            if self.road.gate(self):
                self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.road.both(self)


class Road(threading.Thread):
    """Listens, connects, carries. fault: None or (place, act); act() may call cut() and more."""

    def __init__(self, listener, connect, watches, fault=None):
        super().__init__(daemon=True)
        self.listener, self.connect, self.watches, self.fault = listener, connect, watches, fault
        self.lock = threading.Condition()
        self.pairs, self.open, self.mute, self.ended = [], True, False, False
        self.met = False
        self.start()

    def run(self):
        index = 0
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = None
            if self.open:
                try:
                    far = self.connect()
                except OSError:
                    pass
            if far is None:
                near.close()
                continue
            with self.lock:
                self.pairs.append((near, far))
            outward, inward = self.watches(index)
            index += 1
            Way(self, outward, near, far)
            Way(self, inward, far, near)

    def meets(self, what):
        with self.lock:
            if self.met or not self.fault or self.fault[0] != what:
                return False
            self.met = True
            return True

    def strike(self, what):
        self.fault[1](what)

    def gate(self, way):
        """Wait while nothing is carried; False: it is over."""
        with self.lock:
            while self.mute and not self.ended:
                self.lock.wait()
            return not self.ended and any(way.source in pair for pair in self.pairs)

    def both(self, way):
        """A direction failed: so does the other."""
        with self.lock:
            ends = [pair for pair in self.pairs if way.source in pair]
        self.shut(ends)

    @staticmethod
    def shut(pairs):
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self, again=True):
        """All connections are lost; again: others may be made."""
        with self.lock:
            pairs, self.pairs, self.open = self.pairs, [], again
            self.lock.notify_all()
        self.shut(pairs)

    def silence(self):
        with self.lock:
            self.mute = True

    def heal(self):
        with self.lock:
            self.open, self.mute = True, False
            self.lock.notify_all()

    def end(self):
        with self.lock:
            self.ended = True
            self.lock.notify_all()
        self.listener.close()
        self.shut(self.pairs)


def link(port, fault):
    """In front of the target's guard."""
    return Road(socket.create_server(("127.0.0.1", 0)),
                lambda: socket.create_connection(("127.0.0.1", port)),
                lambda _index: (Frames(True), Frames(False)), fault)


def connected(path):
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    return end


def at_socket(path, fault):
    """In the place of a UNIX socket that somebody listens at, from now on."""
    os.rename(path, path + ".real")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    return Road(listener, lambda: connected(path + ".real"), streams, fault)


def between(path, to, fault):
    """A way to a QEMU that listens, with a name of its own."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    return Road(listener, lambda: connected(to), streams, fault)


def streams(index):
    numbers = [0, 1, 4, 7, 8, 100, 65536, 1 << 20]
    name = "main" if index == 0 else "multifd"
    return Octets(name, numbers), Return() if index == 0 else Octets("back", [])
