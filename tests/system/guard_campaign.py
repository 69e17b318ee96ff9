#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The campaign of guards: guests of unmodified QEMUs are handed over, to each handover one thing is
done (CASES), and each is judged by what the guest itself said: was it run by one side after the
other had run it, is it whole, does it run where the ledger says, was a reason given? With --alone
the same is done to the two QEMUs without guards, and only counted.

  guard_campaign.py [--runs N | --seconds S] [--seed S] [--match REGEX] [--jobs J] [--alone]
                    [--table FILE]
  guard_campaign.py --planted            QEMUs that are known to run a guest twice: it must be found
  guard_campaign.py --list

The last line counts; the status is 1 if a count is not 0.
Environment: HOLDFAST, CHECKER; QEMU (default: this host's).
"""
import argparse
import concurrent.futures
import ctypes
import os
import random
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import campaign_ledger
import guard
import guard_campaign_net as net
import qemu_vm
from guard import DOUBT, Damaged, Failure, Guard, Pair
from qemu_vm import DEADLINE_S, Skip

LINK_S, DOUBT_S, DEADLINE_COPY_S, HEAL_S = 4, 4, 15, 25
COUNTS = ("lost", "executed after another", "unpromised", "unexplained")


# ---- cases ------------------------------------------------------------------------------------

RECORDS = ["HELLO", "DEVICES", "ACCEPT", "PRIMED", "END", "LOADED", "GO", "STARTED", "ROUND",
           "CHANNEL_END"]
ENDS = ("before", "inside", "behind")
LINK = [f"{name}, {place}" for name in
        ["WELCOME", "READY", "OPEN", "FIN", "STATE", *RECORDS] for place in ENDS] + [
            f"qemu {n}" for n in (0, 1, 4, 100, 65536, 1 << 20)] + [
            f"qemu {word}" for word in net.WORDS.values()] + [
            f"PONG, {place}" for place in ENDS]
MAIN = [f"main {n}" for n in (0, 1, 4, 7, 8, 100, 65536, 1 << 20)] + [
    f"main {word}" for word in net.WORDS.values()]
MULTIFD = [f"multifd {n}" for n in (0, 4, 100, 65536)]
BACK = [f"PONG, {place}" for place in ENDS]
SHUT = [f"SHUT, {place}" for place in ENDS]
LINK_ACTS = ("cut", "cut for 3 s", "cut for good", "silent for 3 s", "silent for good")
SOCKET_ACTS = ("cut", "silent for 3 s", "silent for good")
PROCESSES = {"source's guard": "source", "target's guard": "target", "source's QEMU": "source",
             "target's QEMU": "target"}
PROCESS_ACTS = ("killed", "stopped for 2 s", "stopped for 12 s")
SWAPS = {"source": ["OFFERED", "HOME"], "target": ["CLAIMED", "AWAY", "HOME"]}
LEDGER_STATES = ["source OFFERING", "source COMMITTING", "target CLAIMING", "target RECORDING"]


def cases():
    """Family, where, place, act; what they leave open the seed chooses."""
    for place in LINK:
        for act in LINK_ACTS:
            yield f"link {act}", "link", place, act
    for where in ("source", "target"):
        # The source's guard says SHUT; the target's keeps it back.
        for place in [*MAIN, *MULTIFD, *BACK, *SHUT]:
            for act in SOCKET_ACTS:
                yield f"{where}'s QEMU's socket {act}", where, place, act
    for process, role in PROCESSES.items():
        for state in guard.STATES if role == "source" else guard.TARGET_STATES:
            for act in PROCESS_ACTS:
                yield f"{process} {act}", process, state, act
    for role, states in SWAPS.items():
        for state in states:
            for act in ("EIO", "after", "slow"):
                yield f"ledger: {role}'s answer {act}", "ledger", f"{role} {state}", act
    for state in LEDGER_STATES:
        for act in ("gone", "kill", "stop", "refuse", "silent", "lose"):
            yield f"ledger {act}", "ledger process", state, act


CASES = list(cases())
# What there is of it without guards.
ALONE = [(f"{'link or socket'} {act}", "link", place, act)
         for place in [*MAIN, *MULTIFD, *BACK, *SHUT] for act in SOCKET_ACTS] + [
             (f"{side}'s QEMU {act}", side, state, act) for side in ("source", "target")
             for state in ("setup", "active", "device", "completed") for act in PROCESS_ACTS]


# ---- the witness ------------------------------------------------------------------------------


class Order(threading.Thread):
    """In which order the two guests' serial ports were written: the kernel's (inotify(7))."""

    def __init__(self, paths):
        super().__init__(daemon=True)
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        self.names = {}
        for name, path in paths.items():
            with open(path, "ab"):
                pass
            self.names[libc.inotify_add_watch(self.fd, path.encode(), 2)] = name # IN_MODIFY
        self.said, self.wrong = [], None
        self.over = os.eventfd(0)
        self.start()

    def end(self):
        """What was written until now has been looked at then."""
        os.eventfd_write(self.over, 1)
        self.join()
        os.close(self.fd)
        os.close(self.over)
        return self.wrong

    def run(self):
        while True:
            ready = select.select([self.fd, self.over], [], [])[0]
            if self.fd not in ready:
                return
            data, at = os.read(self.fd, 65536), 0
            while at < len(data):
                watch, _, _, length = struct.unpack_from("iIII", data, at)
                at += 16 + length
                self.note(self.names.get(watch))

    def note(self, name):
        if name and (not self.said or self.said[-1] != name):
            if name in self.said:
                self.wrong = f"the {name} ran it after the {self.said[-1]} had"
            self.said.append(name)


# ---- one run ----------------------------------------------------------------------------------


class Apart:
    """For campaign_ledger: everything is on one host."""
    apart = False

    @staticmethod
    def inside(_side):
        return tempfile.TemporaryFile() # a context in which nothing is otherwise

    @staticmethod
    def enter(_side):
        return None


class Run:
    """One handover with its fault; what became of it is in facts."""

    def __init__(self, case, seed, folder):
        self.family, self.where, self.place, self.act = case
        self.random = random.Random(seed)
        self.folder, self.met, self.operator, self.notes = folder, False, False, []
        self.timers, self.roads, self.killed, self.reasons = [], [], None, []
        kinds = ["file", "etcd"] if campaign_ledger_etcd() else ["file"]
        if self.act in ("kill", "stop", "refuse", "silent", "lose"):
            kinds = ["etcd"]
        elif self.act == "gone":
            kinds = ["file"]
        os.mkdir(os.path.join(folder, "of-the-ledger"))
        self.ledger = campaign_ledger.make(self.random.choice(kinds),
                                           os.path.join(folder, "of-the-ledger"), Apart)
        self.multifd = 2 if "multifd" in self.place else self.random.choice([0, 0, 2])
        self.runs = self.random.random() < 0.8

    # -- what is done

    def later(self, seconds, do):
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        timer.start()
        self.timers.append(timer)

    def strike_road(self, road):
        self.met = True
        if self.act == "cut":
            road.cut()
        elif self.act.startswith("cut"):
            road.cut(False)
        else:
            road.silence()
        if self.act.endswith(" 3 s"):
            self.later(3, road.heal)

    def strike_process(self, process, name):
        self.met = True
        if self.act == "killed":
            self.killed = name
            process.kill()
            return
        process.send_signal(signal.SIGSTOP)
        self.later(int(self.act.split()[2]), lambda: process.send_signal(signal.SIGCONT))

    def road(self, make, *arguments):
        box = []
        road = make(*arguments, (self.place, lambda _what: self.strike_road(box[0])))
        box.append(road)
        self.roads.append(road)
        return road

    def filters(self, role):
        """So slow that every state is met, and what a case of the ledger is about."""
        specs = ["delay:ledger.swap:60", "delay:device.set_state:30", "delay:machine.run:100"]
        if self.where == "ledger" and self.place.startswith(role):
            state = self.place.split()[1]
            specs.append(f"delay:ledger.swap={state}:1500" if self.act == "slow" else
                         f"fault:ledger.swap={state}:1:{self.act}")
            if state == "HOME" and role == "target":
                specs.append("fault:device[0].set_state=RUNNING:1")
        if role == "source" and (self.where in ("source", "target") or self.wants_home("source")):
            specs.append("delay:device[0].set_state=PRE_COPY:400")
        if self.wants_home(role):
            specs.append("fault:ledger.swap=OFFERED:1")
        return [word for spec in specs for word in ("--filter", spec)]

    def wants_home(self, role):
        return self.where == "ledger" and self.place == "source HOME" and role == "source"

    def options(self, role):
        words = [*self.filters(role), "--link-deadline", str(LINK_S), "--device-deadline", "15",
                 "--doubt", str(DOUBT_S)]
        if role == "source":
            words += ["--deadline", str(DEADLINE_COPY_S)] # a QEMU that hears nothing waits for ever
        if role == "source" and self.multifd:
            words += ["--multifd", str(self.multifd)]
        return words

    # -- the handover

    def hand_over(self, it):
        target = it.guard_target(*self.options("target"))
        uri = f"tcp:127.0.0.1:{it.port}"
        if self.where == "link":
            uri = "tcp:127.0.0.1:%d" % self.road(net.link, it.port).listener.getsockname()[1]
        source = Guard("source", *it.common(it.source), *self.options("source"), "source",
                       it.source.qmp, uri)
        guards = {"source": source, "target": target}
        try:
            self.interfere(it, guards)
        except Failure as why: # it ended before the place was met
            self.notes.append(str(why))
        until = time.monotonic() + HEAL_S
        for one in guards.values():
            try:
                one.process.wait(max(0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass # what it waits for comes when the world is well again
        self.heal()
        for one in guards.values():
            one.end()
        self.reasons += [one.reason() for one in guards.values() if one is guards["source"]]
        return guards

    def interfere(self, it, guards):
        if self.where == "source":
            guards["source"].wait("link up")
            self.road(net.at_socket, f"{it.source.dir}/qemu")
        elif self.where == "target":
            guards["target"].wait("device", "qemu: .* -> RESUMING")
            self.road(net.at_socket, f"{it.target.dir}/qemu")
        elif self.where in PROCESSES:
            role = PROCESSES[self.where]
            guards[role].wait("transition", f"-> {self.place} ")
            host = it.source if role == "source" else it.target
            self.strike_process(guards[role].process if "guard" in self.where
                                else host.qemu.process, self.where)
        elif self.where == "ledger process":
            role, state = self.place.split()
            guards[role].wait("transition", f"-> {state} ")
            self.ledger.faults(self.act, 0)
            self.met = True
        elif self.where == "ledger":
            self.met = True

    def heal(self):
        for timer in self.timers:
            if not timer.finished.is_set():
                timer.cancel()
                timer.function()
        for road in self.roads:
            road.heal()
        self.ledger.heal()

    def restart(self, it, role):
        one = it.restart(role)
        self.operator = True
        if role == "source":
            self.reasons.append(one.reason())
        return one

    def settle(self, it):
        """What an operator is promised to have to do; the states in the end."""
        until = time.monotonic() + 2 * DEADLINE_S
        resolved = False
        while True:
            states = (it.source.status(), it.target.status())
            quiet = [state in ("running", "gone") for state in states]
            if all(quiet) or (not self.runs and states in (("paused", "gone"), ("gone", "paused"),
                                                           ("postmigrate", "gone"))):
                return states
            if time.monotonic() > until:
                raise Failure(f"it does not settle: {states}; {self.notes} {self.reasons}")
            if states[1] in ("paused", "inmigrate", "prelaunch", "finish-migrate"):
                one = self.restart(it, "target")
                if "nothing to go on from" in str(one):
                    if states[0] in ("running", "gone", "paused", "postmigrate"):
                        return states[0], "gone"
                    self.restart(it, "source")
                continue
            code = self.restart(it, "source").process.returncode
            if code == DOUBT and states[1] == "gone" and not resolved:
                resolved = True
                subprocess.run([guard.HOLDFAST, "resolve", "--ledger", it.ledger, "--take-back",
                                "guest"], check=False, capture_output=True)

    def judge(self, it, guards, states):
        said = {count: [] for count in COUNTS}
        running = [name for name, state in zip(("source", "target"), states) if state != "gone"]
        if len(running) > 1:
            said["executed after another"].append(f"both are there: {states}")
        died = self.killed and "QEMU" in self.killed
        if not running and not died:
            ends = [f"{host.name}'s QEMU ended with {host.qemu.process.poll()}: {host.qemu.ends()}"
                    for host in (it.source, it.target)]
            said["lost"].append(f"nobody has it: {ends} {self.reasons} {guards['source']} "
                                f"{guards['target']}")
        for name in running:
            host = it.source if name == "source" else it.target
            self.check_whole(host, said)
        self.check_record(it, running, said)
        if running == ["source"] and self.killed != "source's guard" and \
                not any(self.reasons):
            said["unexplained"].append(f"no reason: {guards['source']}")
        end = {"source": "home", "target": "away"}[running[0]] if running else "died"
        return end, said

    def check_whole(self, host, said):
        try:
            if host.status() != "running":
                host.qemu.ask("cont")
            host.works()
        except Damaged:
            raise
        except (Failure, OSError) as why:
            said["lost"].append(f"{host.name}: {why}")

    def check_record(self, it, running, said):
        done = subprocess.run([guard.HOLDFAST, "ledger", "show", "--json", "--ledger", it.ledger,
                               "guest"], capture_output=True, text=True, check=False)
        owner = re.search(r'"owner": ?"[^"]*?\.(\d+)\.\d+"', done.stdout)
        if not running or not owner:
            return
        host = it.source if running[0] == "source" else it.target
        if int(owner.group(1)) != host.qemu.process.pid:
            said["unpromised"].append(f"the {running[0]} has it, and the ledger says "
                                      f"{done.stdout.strip()}")

    def play(self):
        try:
            with Pair(self.folder, ledger=self.ledger.uri) as it:
                if not self.runs:
                    it.source.qemu.ask("stop")
                order = Order({"source": it.source.serial, "target": it.target.serial})
                guards = self.hand_over(it)
                states = self.settle(it)
                end, said = self.judge(it, guards, states)
                said["executed after another"] += filter(None, [order.end()])
                return {"end": end, "said": said, "met": self.met, "operator": self.operator,
                        "family": self.family}
        finally:
            for road in self.roads:
                road.end()
            self.ledger.end()


def campaign_ledger_etcd():
    return any(os.access(os.path.join(folder, "etcd"), os.X_OK)
               for folder in os.environ["PATH"].split(":"))


# ---- QEMU alone -------------------------------------------------------------------------------


class Alone(Run):
    """The same without guards: what the two QEMUs make of it by themselves."""

    PATIENCE_S = 20

    def interfere_alone(self, it):
        want = {"device": "finish-migrate"}.get(self.place, self.place)
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            if want == "finish-migrate":
                met = it.source.qemu.ask("query-status")["status"] in (want, "postmigrate")
            else:
                status = it.source.qemu.ask("query-migrate").get("status", "none")
                met = status == want or status in ("completed", "failed")
            if met:
                break
            select.select([], [], [], 0.002)
        host = it.source if self.where == "source" else it.target
        self.strike_process(host.qemu.process, f"{self.where}'s QEMU")

    def states_alone(self, it):
        """In the end; QEMU itself says when nothing more comes of it."""
        until, last = time.monotonic() + self.PATIENCE_S, None
        while time.monotonic() < until:
            now = tuple(host.status() for host in (it.source, it.target))
            calm = all(state in ("running", "gone", "postmigrate", "paused") for state in now)
            if now == last and calm:
                return now
            last = now
            select.select([], [], [], 1)
        return last

    def play(self):
        self.runs = True
        listen, path = f"unix:{self.folder}/b", f"{self.folder}/a"
        with Pair(self.folder) as it:
            try:
                order = Order({"source": it.source.serial, "target": it.target.serial})
                names = ["return-path", *(["multifd"] if self.multifd else [])]
                for host in (it.source, it.target):
                    host.qemu.capabilities(names)
                it.target.qemu.ask("migrate-incoming", uri=listen)
                road = self.road(net.between, path, f"{self.folder}/b")
                it.source.qemu.ask("migrate", uri=f"unix:{path}")
                if self.where in ("source", "target"):
                    self.interfere_alone(it)
                states = self.watch(it)
                self.heal()
                states = self.states_alone(it) or states
                end = self.end_of(states, order.end())
                return {"end": "died" if self.killed and end == "nobody runs it" else end,
                        "said": {}, "met": self.met,
                        "operator": False, "family": self.family}
            finally:
                road.end()

    def watch(self, it):
        """Until both are calm, or the deadline that a guard would have been given has passed."""
        until = time.monotonic() + 3 * LINK_S
        while time.monotonic() < until:
            if self.met and self.killed:
                break
            if it.source.qemu.process.poll() is None and not self.stopped(it):
                status = it.source.qemu.ask("query-migrate").get("status", "none")
                if status in ("completed", "failed") and not self.act.endswith("good"):
                    break
            select.select([], [], [], 0.2)

    def stopped(self, it):
        """A QEMU that is stopped, or waits for its peer in its main loop, does not answer."""
        return self.met and self.where == "source" or (
            self.met and self.act.startswith("silent"))

    @staticmethod
    def end_of(states, wrong):
        running = [name for name, state in zip(("home", "away"), states) if state == "running"]
        if len(running) == 2 or wrong:
            return "runs twice"
        if running:
            return running[0]
        return "nobody runs it"


# ---- the campaign -----------------------------------------------------------------------------


def one(kind, case, seed, until):
    """None: the time was over before it began."""
    begun = time.monotonic()
    if begun > until:
        return None
    return {**tried(kind, case, seed), "seconds": time.monotonic() - begun}


def tried(kind, case, seed):
    with tempfile.TemporaryDirectory(prefix="hf-guard-") as folder:
        for _ in range(3):
            try:
                return kind(case, seed, tempfile.mkdtemp(dir=folder)).play()
            except Damaged as why:
                again = f"damaged by TCG: {why}"
            except Skip as why:
                again = str(why)
            except (Failure, OSError, RuntimeError) as why:
                return {"end": "trouble", "met": False, "operator": False, "family": case[0],
                        "said": {"unpromised": [f"{type(why).__name__}: {why}"]}}
        return {"end": "skipped", "met": False, "operator": False, "family": case[0], "said": {},
                "why": again}


class Campaign:
    """Many runs, some at a time."""

    def __init__(self, options):
        self.options, self.results, self.done = options, [], []
        self.kind, self.cases = (Alone, ALONE) if options.alone else (Run, CASES)
        self.counts = dict.fromkeys(COUNTS, 0)
        self.order = [case for case in self.cases
                      if re.search(options.match, " / ".join(case)) and self.possible(case)]
        random.Random(options.seed).shuffle(self.order)
        if options.spread:
            seen = {}
            self.order.sort(key=lambda case: self.turn(seen, case))

    @staticmethod
    def turn(seen, case):
        seen[case[0]] = seen.get(case[0], 0) + 1
        return seen[case[0]]

    @staticmethod
    def possible(case):
        return case[3] not in ("kill", "stop", "refuse", "silent", "lose") or \
            campaign_ledger_etcd()

    def take(self, number, case, result):
        self.results.append(result)
        self.done.append((case, number))
        bad = [(count, words) for count in COUNTS for words in result["said"].get(count, [])]
        for count in COUNTS:
            self.counts[count] += bool(result["said"].get(count))
        if bad or self.options.verbose:
            print(f"{'FAILED ' if bad else ''}run {number}: {' / '.join(case)}: {result['end']}"
                  f"{'' if result['met'] else ' (not met)'}, {result['seconds']:.0f} s", flush=True)
        for count, words in bad:
            print(f"  {count}: {words[:2000]}", flush=True)

    def play(self):
        runs = self.options.runs or len(self.order)
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(max_workers=self.options.jobs) as pool:
            until = begun + self.options.seconds if self.options.seconds else float("inf")
            begun_with = {pool.submit(one, self.kind, case, self.options.seed * 1000003 + n, until):
                          (n, case) for n, case in
                          ((n, self.order[n % len(self.order)]) for n in range(runs))}
            for done in concurrent.futures.as_completed(begun_with):
                if done.result():
                    self.take(*begun_with[done], done.result())
        return self.tell(time.monotonic() - begun)

    def tell(self, seconds):
        ends = {}
        for result in self.results:
            ends[result["end"]] = ends.get(result["end"], 0) + 1
        if self.options.table:
            write_table(self.options, self.results)
        print(f"{len({case for case, _ in self.done})} of {len(self.cases)} cases; "
              f"{sum(result['met'] for result in self.results)} of {len(self.results)} met their "
              f"fault, {sum(result['operator'] for result in self.results)} needed a restart or an "
              f"operator; {', '.join(f'{end} {n}' for end, n in sorted(ends.items()))}; "
              f"{seconds:.0f} s")
        for why in {result["why"] for result in self.results if "why" in result}:
            print(f"skipped: {why}")
        if self.options.alone:
            print(f"QEMU alone: runs {len(self.results)}, runs twice {ends.get('runs twice', 0)}, "
                  f"nobody runs it {ends.get('nobody runs it', 0)}")
            return 1 if ends.get("trouble") else 0
        print(f"runs {len(self.results)}, lost {self.counts['lost']}, executed after another "
              f"{self.counts['executed after another']}, unpromised ends "
              f"{self.counts['unpromised']}, unexplained {self.counts['unexplained']}", flush=True)
        return 1 if any(self.counts.values()) else 0


def write_table(options, results):
    columns = ("away", "home", "died", "runs twice", "nobody runs it") if options.alone else (
        "away", "home", "died")
    families = {}
    for result in results:
        families.setdefault(result["family"], []).append(result)
    with open(options.table, "w", encoding="utf-8") as file:
        file.write(f"| what is done | runs | met | {' | '.join(columns)}"
                   f"{'' if options.alone else ' | restarted | against a promise'} |\n")
        file.write("| --- |" + " ---: |" * (len(columns) + (2 if options.alone else 4)) + "\n")
        for family, some in [*sorted(families.items()), ("**all**", results)]:
            row = [len(some), sum(result["met"] for result in some)]
            row += [sum(result["end"] == end for result in some) for end in columns]
            if not options.alone:
                row += [sum(result["operator"] for result in some),
                        sum(any(result["said"].values()) for result in some)]
            file.write(f"| {family} | " + " | ".join(map(str, row)) + " |\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=0, help="default: every case once")
    parser.add_argument("--seconds", type=int, default=0, help="begin none later than this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--match", default="", help="only cases that match")
    parser.add_argument("--spread", action="store_true", help="cases of different families first")
    parser.add_argument("--alone", action="store_true", help="QEMU without guards")
    parser.add_argument("--table", help="write a table for docs/reliability.md")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for case in ALONE if options.alone else CASES:
            print(" / ".join(case))
        return 0
    if not qemu_vm.QEMU:
        print("qemu-system-x86_64 is not there (Debian: qemu-system-x86)")
        return 77
    if qemu_vm.fastest()[1]:
        print(f"# no KVM ({qemu_vm.fastest()[1]}): QEMU emulates, and damages a guest now and then")
    if options.planted:
        options.alone, options.match = True, "SHUT, inside / cut$"
        campaign = Campaign(options)
        campaign.play()
        found = [result["end"] for result in campaign.results]
        return 0 if found and all(end == "runs twice" for end in found) else 1
    return Campaign(options).play()


if __name__ == "__main__":
    sys.exit(main())
