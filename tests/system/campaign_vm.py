# SPDX-License-Identifier: BSD-3-Clause
"""One `holdfast run` of a campaign: its process, its control socket, its trace while it happens."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

# A kernel whose workers wait behind vCPUs that spin may take half a minute to free a guest's memory
# slots (synchronize_srcu): hence the priority, and the patience with one that does not answer.
START_S, ANSWER_S, GONE_S, NICE = 120, 120, 120, 5
PASS = re.compile(r"checker: pass=(\d+) clean")
STATE = re.compile(r" TRANSITION (\w+) -> (\w+) \((\w+)\)")


class Trouble(Exception):
    """The run cannot go on, or has not ended as it has to; the text says why."""


class Vm:
    """side 1 is the source, 2 the target, 3 the source that comes back."""

    def __init__(self, run, side, args):
        self.run, self.side = run, side
        self.name = {1: "source", 2: "target", 3: "again"}[side]
        base = os.path.join(run.folder, self.name)
        self.log, self.socket, self.serial = base + ".log", base + ".qmp", base + ".serial"
        self.watched, self.states, self.link, self.buffer = [], [], None, b""
        self.changed, self.stopped, self.told_link = threading.Condition(), False, None
        os.mkfifo(base + ".fifo")
        # Both ends, so that neither side waits for the other to come, or goes when it goes.
        self.fifo = os.open(base + ".fifo", os.O_RDWR | os.O_CLOEXEC)
        self.trace = open(base + ".trace", "wb")
        threading.Thread(target=self.follow, daemon=True).start()
        args = [run.holdfast, "run", "--name", "guest", "--control", self.socket, "--serial",
                "file:" + self.serial, "--trace", base + ".fifo", "--witness",
                f"{side}:{run.witness}", "--ledger", run.ledger.uri, *run.machine, *args]
        with open(self.log, "ab") as log:
            log.write((" ".join(args) + "\n").encode())
            log.flush()
            self.process = subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=run.environment(side),
                preexec_fn=run.net.enter(2 if side == 2 else 1, NICE))
        self.pidfd = os.pidfd_open(self.process.pid)
        self.begun = time.monotonic()

    # ---- the trace, as it happens

    def follow(self):
        data = b""
        while True:
            try:
                more = os.read(self.fifo, 65536)
            except OSError:
                return
            self.trace.write(more)
            self.trace.flush()
            data += more
            *lines, data = data.split(b"\n")
            for line in lines:
                found = STATE.search(line.decode(errors="replace"))
                if found:
                    self.enters(found.group(2))

    def enters(self, state):
        for watch in list(self.watched):
            if watch[0] == state:
                self.watched.remove(watch)
                watch[1]()
        with self.changed:
            self.states.append(state)
            self.changed.notify_all()
        with self.run.moved:
            self.run.moved.notify_all()

    def when(self, state, call):
        """Call it as soon as the trace says that this state was entered."""
        self.watched.append((state, call))

    # ---- signals

    def kill(self):
        self.process.kill()

    def stop(self):
        self.stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def cont(self):
        self.stopped = False
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def alive(self):
        return self.process.poll() is None

    def gone(self):
        """It ends, or has ended."""
        return bool(select.select([self.pidfd], [], [], GONE_S)[0])

    # ---- the control socket

    def connect(self):
        deadline = self.begun + START_S
        while True:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.connect(self.socket)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                link.close()
            # Between bind() and listen() there is no event to wait for: look again, soon.
            if select.select([self.pidfd], [], [], 0.01)[0]:
                raise Trouble(f"the {self.name} ended at its start: {self.log_end()}")
            if time.monotonic() > deadline:
                raise Trouble(f"the {self.name} does not answer at its start")
        self.link, self.buffer = link, b""
        self.read(ANSWER_S)
        self.ask("qmp_capabilities")

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.link], [], [], left)[0]:
                raise Trouble(f"the {self.name} does not answer on its control socket: "
                              f"{self.threads()}")
            data = self.link.recv(65536)
            if not data:
                raise ConnectionError("the control socket was closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, command, **arguments):
        if self.link is None:
            self.connect()
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.link.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.read(ANSWER_S)
            if "error" in answer:
                raise Trouble(f"{self.name}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def tell(self, command, **arguments):
        """On a connection of its own, and without waiting: it may be stopped before it answers."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.connect(self.socket)
        for request in ({"execute": "qmp_capabilities"},
                        {"execute": command, "arguments": arguments}):
            link.sendall(json.dumps(request).encode() + b"\n")
        self.told_link = link

    def told(self):
        """The error that it answered with, or None."""
        if self.told_link is None:
            return None
        data = b""
        self.told_link.settimeout(ANSWER_S)
        try:
            while data.count(b'"return"') < 2 and b'"error"' not in data:
                more = self.told_link.recv(65536)
                if not more:
                    break
                data += more
        except OSError as why:
            if self.alive():
                raise Trouble(f"the {self.name} did not answer: {why}") from why
        self.told_link.close()
        self.told_link = None
        for line in data.split(b"\n"):
            if b'"error"' in line:
                return json.loads(line)["error"]["desc"]
        return None

    def story(self):
        """What it says of itself, or None when it has gone."""
        try:
            if not self.alive():
                return None
            migration = self.ask("query-migrate")
            own = migration.get("holdfast", {})
            return {"status": self.ask("query-status")["status"], "migrate": migration["status"],
                    "outcome": own.get("outcome", "none"), "state": own.get("state", "IDLE"),
                    "error": own.get("error")}
        except OSError:
            # It ended while it was asked; one that lives and has closed its socket is in trouble.
            if not self.gone():
                raise Trouble(f"the {self.name} lives, and its control socket is closed: "
                              f"{self.threads()}") from None
            return None

    def rest(self, seconds):
        """Until something happens in its migration, or it ends."""
        with self.changed:
            self.changed.wait(seconds)

    # ---- what is left of it

    def lines(self):
        try:
            with open(self.serial, "rb") as file:
                return file.read().decode(errors="replace").split("\n")[:-1]
        except FileNotFoundError:
            return []

    def passes(self):
        found = [int(m.group(1)) for m in map(PASS.match, self.lines()) if m]
        return found[-1] if found else 0

    def corrupt(self):
        return [line for line in self.lines() if "CORRUPT" in line]

    def when_traced(self, pattern):
        """When (CLOCK_MONOTONIC, s) it traced the first event that matches, or None."""
        self.trace.flush()
        with open(self.trace.name, encoding="utf-8", errors="replace") as file:
            for line in file:
                if re.search(pattern, line):
                    return float(line.split()[0])
        return None

    def log_end(self):
        with open(self.log, errors="replace") as file:
            return file.read().partition("\n")[2].strip()[-600:]

    def threads(self):
        """What each of its threads is doing, for somebody who has to find out why it hangs."""
        words = []
        for task in sorted(os.listdir(f"/proc/{self.process.pid}/task")):
            for name in ("comm", "wchan", "syscall", "stack"):
                try:
                    with open(f"/proc/{self.process.pid}/task/{task}/{name}",
                              encoding="utf-8") as file:
                        words.append(f"{task} {name}: {file.read().strip()}")
                except OSError:
                    pass  # it has gone, or we may not look
        return words

    def end(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
        if self.link:
            self.link.close()
        os.close(self.pidfd)
