#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The control sockets of guards: `holdfast status`, `migrate`, `cancel` and `quit` with --via-guard,
and the events. Guards and QEMUs are those of guard.py. Results are TAP.

Environment: HOLDFAST, CHECKER; QEMU (default: this host's).
"""
import json
import os
import socket
import subprocess
import sys

import guard
import qemu_vm
from guard import AWAY, HOME, Guard, Pair, check
from qemu_vm import DEADLINE_S


def holdfast(it, command, *arguments, status=0):
    """A command with --via-guard; what it has printed."""
    done = subprocess.run([guard.HOLDFAST, command, "--via-guard", "guest", *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S,
                          check=False, env=guard.runtime(it.folder))
    check(done.returncode == status, f"{command}: status {done.returncode}: {done.stdout}")
    return done.stdout


def status_of(it):
    return json.loads(holdfast(it, "status", "--json"))


class Client:
    """One at a guard's control socket."""

    def __init__(self, it, role):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(f"{it.folder}/holdfast/guest.guard-{role}.qmp")
        self.lines = self.socket.makefile("r")
        check("QMP" in json.loads(self.lines.readline()), "no greeting")
        self.events = []
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        text = json.dumps({"execute": command, "arguments": arguments})
        self.socket.sendall(text.encode() + b"\n")
        while "event" in (answer := json.loads(self.lines.readline())):
            self.events.append(answer)
        return answer

    def event(self, name, **data):
        """Until that event comes, with these members among its data."""
        while True:
            for event in self.events:
                if event["event"] == name and data.items() <= event["data"].items():
                    return event
            line = self.lines.readline()
            check(line, f"it left before {name} {data}")
            self.events.append(json.loads(line))

    def close(self):
        self.lines.close()
        self.socket.close()


def stand(it, *options):
    source = Guard("source", *it.common(it.source), *options, "source", it.source.qmp)
    source.wait("stands")
    return source


def uri(it):
    return f"tcp:127.0.0.1:{it.port}"


def asked(folder):
    """A guard that stands hands over when it is asked to: first in vain, then well."""
    with Pair(folder) as it:
        source = stand(it)
        now = status_of(it)
        check(now["status"] == {"running": True, "status": "running"}, f"{now}")
        check(now["migration"]["status"] == "none" and "guarded" in now["guest"]["description"],
              f"{now}")
        it.guard_target("--filter", "fault:device[0].set_state=STOP:1")
        said = holdfast(it, "migrate", uri(it), status=HOME)
        check("RESUMING -> STOP" in said and "as it was before" in said, said)
        source.wait("stands")
        now = status_of(it)
        check(now["migration"]["status"] == "failed", f"{now}")
        check(now["migration"]["holdfast"]["outcome"] == "home", f"{now}")
        it.is_home()
        it.target = it.host(incoming=True)
        target = it.guard_target()
        said = json.loads(holdfast(it, "migrate", "--json", uri(it)).splitlines()[-1])
        check(said["outcome"] == "away" and said["bytes"] > 1 << 20, f"{said}")
        source.end(AWAY)
        target.end(0)
        it.is_away()


def events(folder):
    """Both sides' sockets tell the handover; and who follows it hears its end."""
    with Pair(folder) as it:
        stand(it)
        target = it.guard_target()
        one, other = Client(it, "source"), Client(it, "target")
        wanted = {"running": False, "status": "inmigrate"}
        check(other.ask("query-status")["return"] == wanted, "the target's status")
        check("return" in one.ask("migrate", uri=uri(it)), "migrate")
        one.event("MIGRATION", status="setup")
        one.event("VFIO_MIGRATION", **{"device-id": "qemu", "device-state": "pre-copy"})
        other.event("VFIO_MIGRATION", **{"device-id": "qemu", "device-state": "stop"})
        for client in (one, other):
            client.event("MIGRATION", status="completed")
            answer = client.ask("query-migrate")["return"]
            check(answer["status"] == "completed", f"{answer}")
            lines = client.ask("query-timeline")["return"]
            check(any("STARTED" in line["text"] for line in lines), f"{lines}")
            client.close()
        target.end(0)
        it.is_away()


def cancelled(folder):
    with Pair(folder) as it:
        source = stand(it, "--bandwidth", "100K")
        it.guard_target()
        holdfast(it, "migrate", "--no-wait", uri(it))
        source.wait("transition", "-> PRECOPY ")
        check(status_of(it)["migration"]["status"] == "active", "it is not under way")
        said = holdfast(it, "migrate", uri(it), status=1)
        check("under way" in said, said)
        holdfast(it, "cancel")
        source.wait("stands")
        check(status_of(it)["migration"]["status"] == "cancelled", f"{status_of(it)}")
        it.is_home()
        holdfast(it, "quit")
        source.end(HOME)
        it.source.works()


def refusals(folder):
    """What is not to be had is refused in words, and the guest runs on."""
    with Pair(folder) as it:
        source = stand(it)
        second = Guard("source", *it.common(it.source), "source", it.source.qmp)
        second.end(1)
        check("another process listens" in str(second), str(second))
        said = holdfast(it, "migrate", "--capture", folder, "tcp:127.0.0.1:1", status=1)
        check("'capture'" in said, said)
        said = holdfast(it, "migrate", "no-uri", status=HOME)
        check("no-uri" in said, said)
        source.wait("stands")
        client = Client(it, "source")
        answer = client.ask("migrate", uri="tcp:127.0.0.1:1", channels=17)
        check("'channels'" in answer["error"]["desc"], f"{answer}")
        client.close()
        guard_of_target = it.guard_target()
        client = Client(it, "target")
        answer = client.ask("migrate", uri="tcp:127.0.0.1:1")
        check("target's" in answer["error"]["desc"], f"{answer}")
        client.close()
        source.kill(15)
        source.end(HOME)
        guard_of_target.kill(15)
        guard_of_target.end(1)
        check("not reached" in holdfast(it, "status", status=1), "a guard that is gone answers")
        it.source.works()


TESTS = {
    "asked for a handover": asked,
    "events of both sides": events,
    "cancelled, and told to leave": cancelled,
    "refusals": refusals,
}

if __name__ == "__main__":
    os.environ.pop("XDG_RUNTIME_DIR", None)
    sys.exit(qemu_vm.run_tests(TESTS, "hf-guard-", guard.AT_ONCE))
