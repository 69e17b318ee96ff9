# SPDX-License-Identifier: BSD-3-Clause
"""
A proxy between source and target that knows where records begin (docs/stream.md, 3 and 4) and, at
one place of one of them, does what a network may do: ends the connection by FIN or RST, or carries
nothing more until it is told to go on. It never changes an octet.
"""
import socket
import struct
import threading

TYPES = {
    "HELLO": 0x1, "REGIONS": 0x2, "DEVICES": 0x3, "SHAPE": 0x4, "DEVICE_CONFIG": 0x5,
    "MACHINE_STATE": 0x6, "END": 0x7, "GO": 0x8, "ACCEPT": 0x11, "PRIMED": 0x12, "LOADED": 0x13,
    "STARTED": 0x14, "RETURNED": 0x15, "ABORT": 0x21, "BYE": 0x22, "KEEPALIVE": 0x80000023,
    "ATTACH": 0x31, "PAGES": 0x32, "ROUND": 0x33, "DEVICE_DATA": 0x34, "DEVICE_END": 0x35,
    "CHANNEL_END": 0x36, "HEADER": 0,
}
NAMES = {number: name for name, number in TYPES.items()}
HEADER_BYTES, CONTROL, BULK = 32, 1, 2
CHUNK = 1 << 18


class Parser:
    """Where records begin and end in one direction of one connection."""

    def __init__(self):
        self.left, self.head, self.kind, self.channel = HEADER_BYTES, bytearray(), 0, 0
        self.at_header = True  # the stream header is under way
        self.rest = 0  # octets at the end of the data that are the beginning of a record header

    def cut(self, data, wanted):
        """
        Go over data. wanted(name, kind) -> None or 'before', 'inside', 'after'. Returns the
        octets of data to be carried before the place, or None. The last `rest` octets have not
        been looked at then, and are to be given again with those that follow.
        """
        at, self.rest = 0, 0
        while at < len(data):
            if self.at_header:
                take = min(HEADER_BYTES - len(self.head), len(data) - at)
                self.head += data[at:at + take]
                at += take
                if len(self.head) < HEADER_BYTES:
                    return None
                self.kind, self.channel = self.head[12], int.from_bytes(self.head[14:16], "little")
                self.at_header, self.left = False, 0
                self.head = bytearray()
                continue
            if self.left:
                take = min(self.left, len(data) - at)
                self.left -= take
                at += take
                continue
            if len(data) - at < 8:
                self.rest = len(data) - at
                return None
            number, length = struct.unpack_from("<II", data, at)
            at += 8
            self.left = length + (-length) % 8
            place = wanted(NAMES.get(number, "?"), self.kind)
            if place == "before":
                return at - 8
            if place == "inside":
                return at + self.left // 2 if self.left else at - 4
            if place == "after":
                return at + self.left
        return None


class Pipe(threading.Thread):
    """One direction of one connection."""

    def __init__(self, link, outward, source, sink):
        super().__init__(daemon=True)
        self.link, self.outward, self.source, self.sink = link, outward, source, sink
        self.parser, self.stop_after, self.carried = Parser(), None, 0
        self.fault, self.held = None, b""

    def wanted(self, name, kind):
        fault = self.link.proxy.meets("out" if self.outward else "in", name, kind)
        if fault:
            self.fault = fault
            return fault["place"]
        return None

    def send(self, data):
        proxy = self.link.proxy
        while data:
            if not proxy.gate(self.link, self.outward):
                return False
            n = self.sink.send(data[:CHUNK])
            data = data[n:]
            self.carried += n
        return True

    def carry(self, data):
        """False when this direction is over."""
        data, self.held = self.held + data, b""
        if self.stop_after is None and self.fault is None:
            place = self.parser.cut(data, self.wanted)
            if place is not None:
                self.stop_after = place
            elif self.parser.rest:
                data, self.held = data[:-self.parser.rest], data[-self.parser.rest:]
        if self.stop_after is not None:
            if self.stop_after > len(data):
                self.stop_after -= len(data)
                return self.send(data)
            if not self.send(data[:self.stop_after]):
                return False
            data, self.stop_after = data[self.stop_after:], None
            if not self.link.proxy.strike(self.fault, self.link):
                return False
        return self.send(data)

    def head(self):
        """The stream header first, whole: HEADER is a place like a record."""
        data = b""
        while len(data) < HEADER_BYTES:
            more = self.source.recv(HEADER_BYTES - len(data))
            if not more:
                return self.send(data) and False
            data += more
        fault = self.link.proxy.meets("out" if self.outward else "in", "HEADER", data[12])
        self.link.kind = data[12] if self.outward else self.link.kind
        self.parser.cut(data, self.wanted)
        if fault:
            keep = {"before": 0, "inside": HEADER_BYTES // 2, "after": HEADER_BYTES}[fault["place"]]
            if not self.send(data[:keep]) or not self.link.proxy.strike(fault, self.link):
                return False
            data = data[keep:]
        return self.send(data)

    def run(self):
        try:
            more = self.head()
            while more:
                data = self.source.recv(CHUNK)
                if not data:
                    self.send(self.held)
                    # A silent network does not carry the end of a connection either.
                    if self.link.proxy.gate(self.link, self.outward):
                        self.sink.shutdown(socket.SHUT_WR)
                    return
                more = self.carry(data)
        except OSError:
            pass
        self.link.close()


class Link:
    """One connection of the source, and the one to the target that belongs to it."""

    def __init__(self, proxy, near, far):
        self.proxy, self.near, self.far, self.kind, self.closed = proxy, near, far, 0, False
        self.pipes = [Pipe(self, True, near, far), Pipe(self, False, far, near)]
        for pipe in self.pipes:
            pipe.start()

    def close(self, how="fin"):
        with self.proxy.lock:
            if self.closed:
                return
            self.closed = True
            self.proxy.lock.notify_all()
        for end in (self.near, self.far):
            try:
                if how == "rst" and end.family != socket.AF_UNIX:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif how != "rst":
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already
            end.close()


class Proxy(threading.Thread):
    """
    Listens at `listener`, connects by `connect()`. A fault is a dict: way (out, in), type, kind
    (control, bulk), nth, place (before, inside, after), how (fin, rst, silence, call), scope
    (one, all), deaf (one, both: which directions are silent), call (for how=call).
    """

    def __init__(self, listener, connect, faults, struck):
        super().__init__(daemon=True)
        self.listener, self.connect, self.faults, self.struck = listener, connect, faults, struck
        self.lock, self.links, self.seen = threading.Condition(), [], {}
        self.mute, self.ended = [], False  # of (link or None, outward or None)
        self.start()

    def run(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = self.connect()
            except OSError:
                near.close()
                continue
            if near.family != socket.AF_UNIX:
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.links.append(Link(self, near, far))

    def meets(self, way, name, kind):
        with self.lock:
            key = (way, name, kind)
            self.seen[key] = self.seen.get(key, 0) + 1
            for fault in self.faults:
                if fault.get("done") or fault["way"] != way or fault["type"] != name:
                    continue
                if kind != (CONTROL if fault.get("kind", "control") == "control" else BULK):
                    continue
                if self.seen[key] >= fault.get("nth", 1):
                    fault["done"] = True
                    return fault
        return None

    def strike(self, fault, link):
        """At its place, in the pipe's thread. False: nothing more is to be carried here."""
        self.struck(fault)
        how = fault["how"]
        if how == "call":
            fault["call"]()
            return True
        links = [link] if fault.get("scope", "one") == "one" else list(self.links)
        if how == "silence":
            outward = None if fault.get("deaf", "both") == "both" else fault["way"] == "out"
            with self.lock:
                self.mute += [(each, outward) for each in links]
                if fault.get("scope") == "all":
                    self.mute.append((None, outward))
            return True
        for each in links:
            each.close(how)
        return False

    def silence(self, outward=None):
        with self.lock:
            self.mute.append((None, outward))

    def gate(self, link, outward):
        """Wait while nothing is carried here; False: the connection or the run is over."""
        with self.lock:
            while not link.closed and not self.ended and \
                    any(who in (None, link) and which in (None, outward)
                        for who, which in self.mute):
                self.lock.wait()
            return not link.closed and not self.ended

    def heal(self):
        with self.lock:
            self.mute.clear()
            self.lock.notify_all()

    def end(self):
        with self.lock:
            self.ended = True
            self.lock.notify_all()
        self.listener.close()
        for link in self.links:
            link.close()
