# SPDX-License-Identifier: BSD-3-Clause
"""
One run of the campaign: a guest, its handover, what the case does to it, the world healed again,
an operator where one is promised to be needed, and then the facts for campaign_judge.py.
"""
import mmap
import os
import random
import shutil
import struct
import subprocess
import threading
import time

import socket

import campaign_ledger
import campaign_net
import campaign_proxy
from campaign_vm import Trouble, Vm
from wait import Watch

LOAD = "mem=8 rate=1500 zero=20 dma=200 dma_len=1024 beat=2000 report=50 witness=2000"
LIMITS = {"peer-timeout": 1500, "device-timeout": 1500, "ledger-timeout": 1000,
          "doubt-timeout": 2000, "deadline": 20}
PASS_S, STRIKE_S, SETTLE_S = 150, 12, 100  # a restart has doubt-timeout as it is, 60 s
SOURCE_ENDS, TARGET_ENDS = ("home", "away", "lost", "waiting"), ("running", "waiting", "failed")


class Run:
    """Facts are gathered in `facts`; nothing here judges them."""

    def __init__(self, case, seed, folder, holdfast, guest, clock):
        self.case, self.random, self.folder = case, random.Random(seed), folder
        self.holdfast, self.clock = holdfast, clock
        self.witness = os.path.join(folder, "witness")
        self.net = campaign_net.Net()
        pick = self.random.choice
        kinds = case.get("ledgers") or ["file", "etcd", "none"]
        if not shutil.which("etcd"):
            kinds = [kind for kind in kinds if kind != "etcd"]
        self.kind = pick(kinds)
        self.transport = case.get("transport") or pick(["unix", "tcp"])
        self.channels, self.vcpus = pick([1, 2, 3]), pick([1, 1, 2])
        self.devices = max(case.get("devices", 0), pick([0, 1, 2]))
        self.machine = ["--memory", "48M", "--vcpus", str(self.vcpus), "--guest", guest]
        for _ in range(self.devices):
            self.machine += ["--device", "sim:state=256K"]
        self.struck, self.moved = threading.Event(), threading.Condition()
        self.facts = {"case": case["name"], "family": case["family"], "ledger": self.kind,
                      "transport": self.transport, "apart": self.net.apart, "killed": [],
                      "notes": []}
        if not self.net.apart:
            self.facts["notes"].append(f"no network namespaces ({self.net.why})")
        self.ledger = campaign_ledger.make(self.kind, folder, self.net)
        self.source = self.target = self.again = self.proxy = self.clock_map = None
        self.keep = os.path.join(folder, "keep")

    def note(self, words):
        self.facts["notes"].append(f"{time.monotonic() - self.begun:.3f} {words}")

    def environment(self, side):
        env = dict(os.environ)
        if self.case["do"] == "clock" and self.case["who"] == {1: "source", 2: "target"}.get(side):
            path = os.path.join(self.folder, "clock")
            with open(path, "wb") as file:
                file.write(bytes(8))
            env["LD_PRELOAD"], env["HOLDFAST_TEST_CLOCK"] = self.clock, path
            with open(path, "r+b") as file:
                self.clock_map = mmap.mmap(file.fileno(), 8)
        return env

    # ---- what happens

    def strike(self, words):
        self.note(words)
        self.struck.set()
        with self.moved:
            self.moved.notify_all()

    def arm(self):
        """Returns the faults for the proxy; sets the others on what they wait for."""
        case, faults = self.case, []
        if "cut" in case:
            cut = dict(case["cut"])
            if case["do"] == "cut":
                cut.setdefault("scope", self.random.choice(["one", "all"]))
                cut["deaf"] = self.random.choice(["one", "both"])
                cut["nth"] = self.random.choice([1, 1, 2]) if cut["type"] == "PAGES" else 1
            faults.append(cut)
        if case["do"] == "road":
            self.ledger.roads[case["who"]].at_request(
                case["number"], case["mode"], lambda: self.strike("the road to etcd"))
        elif "at" in case and case["do"] != "cut":
            side, state = case["at"]
            vm = self.source if side == "source" else self.target
            if state in vm.states:
                self.act()
            else:
                vm.when(state, self.act)
        return faults

    def act(self):
        case, do = self.case, self.case["do"]
        if do == "signal" and case["who"] == "etcd":
            self.ledger.faults(case["how"], 0)
        elif do == "signal":
            vm = self.source if case["who"] == "source" else self.target
            if case["how"] == "kill":
                vm.kill()
                self.facts["killed"].append(case["who"])
            else:
                vm.stop()
        elif do == "ledger":
            self.ledger.faults(case["what"], case["who"])
        elif do == "link":
            self.net.link(False)
        elif do == "clock":
            self.clock_map[:8] = struct.pack("<q", case["step"] * 1000000000)
        elif do == "cancel":
            threading.Thread(target=self.cancel, daemon=True).start()
            return
        self.strike(case["name"])

    def cancel(self):
        done = subprocess.run([self.holdfast, "cancel", self.source.socket], timeout=20,
                              capture_output=True, text=True, check=False)
        self.strike(f"cancel: {done.returncode} {(done.stdout + done.stderr).strip()}")

    def heal(self):
        if self.proxy:
            self.proxy.heal()
        for vm in (self.source, self.target):
            vm.cont()
        if self.case["do"] == "link" and self.net.apart:
            self.net.link(True)
        self.ledger.heal()
        self.note("healed")

    # ---- the handover

    def wait_pass(self, vm, wanted, seconds=PASS_S):
        watch, deadline = Watch(self.folder), time.monotonic() + seconds
        try:
            while vm.passes() < wanted:
                if vm.corrupt() or not vm.alive():
                    return False
                if time.monotonic() > deadline:
                    return False
                watch.wait(min(deadline, time.monotonic() + 1))
            return True
        finally:
            os.close(watch.fd)

    def begin(self):
        keep = ["--keep", self.keep] if self.case.get("keep") else []
        if keep:
            os.mkdir(self.keep)
        filters = [["--filter=" + spec for spec in self.case[side + "_filters"]]
                   for side in ("source", "target")]
        self.boot = ["--kernel", "checker", "--append", LOAD, *keep]
        self.source = Vm(self, 1, self.boot + filters[0])
        self.target = Vm(self, 2, ["--incoming", "defer"] + filters[1])
        self.source.connect()
        self.target.connect()
        if not self.wait_pass(self.source, 1):
            raise Trouble(f"no first pass at the source: {self.source.corrupt()} "
                          f"{self.source.log_end()}")
        self.facts["side"] = {}
        for vm in (self.source, self.target):
            self.facts["side"][vm.name] = vm.ask("query-guest")["side"]
            vm.ask("migrate-set-parameters", **LIMITS)

    def listen(self):
        """The target listens; returns the URI for the source, with the proxy between."""
        if self.transport == "unix":
            uri = "unix:" + os.path.join(self.folder, "t.sock")
        else:
            uri = f"tcp:{campaign_net.TARGET_IP if self.net.apart else '127.0.0.1'}:0"
        self.target.ask("migrate-incoming", uri=uri)
        deadline = time.monotonic() + 20
        while True:
            own = self.target.ask("query-migrate").get("holdfast", {})
            if own.get("listening"):
                uri = own["uri"]
                break
            if time.monotonic() > deadline:
                raise Trouble("the target does not listen")
            self.target.rest(0.02)
        faults = self.arm()
        if self.case.get("direct") and self.net.apart:
            return uri
        return self.between(uri, faults)

    def between(self, uri, faults):
        if self.transport == "unix":
            path, to = os.path.join(self.folder, "p.sock"), uri[5:]
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(32)

            def connect():
                far = socket.socket(socket.AF_UNIX)
                far.connect(to)
                return far
            near = "unix:" + path
        else:
            host, port = uri[4:].rsplit(":", 1)
            listener = socket.create_server(("127.0.0.1", 0))

            def connect():
                far = socket.create_connection((host, int(port)), timeout=10)
                far.settimeout(None)
                return far
            near = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        self.proxy = campaign_proxy.Proxy(listener, connect, faults, self.cut_struck)
        return near

    def cut_struck(self, fault):
        if self.case["do"] == "cut":
            self.strike(f"{fault['how']} {fault['place']} {fault['type']} "
                        f"({fault.get('scope')}, {fault.get('deaf', '')})")
        else:
            self.note("cut, to get there")

    def go(self):
        uri = self.listen()
        self.facts["begun"] = True
        self.facts["seen"] = self.source.passes()
        try:
            self.source.tell("migrate", uri=uri, channels=self.channels)
        except OSError as why:  # it was killed meanwhile: that is the case
            self.note(f"migrate: {why}")

    # ---- and its end

    def stories(self):
        source = self.again or self.source
        return source.story(), self.target.story()

    def settled(self):
        """(is it, source's story, target's story)"""
        source, target = self.stories()
        done = source is None or source["outcome"] in SOURCE_ENDS or self.facts["refused"]
        over = target is None or target["outcome"] in TARGET_ENDS or \
            (done and target["state"] in ("LISTENING", "IDLE"))
        return done and over, source, target

    def wait_settled(self, seconds=SETTLE_S):
        deadline = time.monotonic() + seconds
        while True:
            begun = time.monotonic()
            done, source, target = self.settled()
            # An answer that took long is of another time than the deadline: ask once more.
            if done or begun > deadline:
                return done, source, target
            (self.target if self.source.states and self.target.alive()
             else self.source).rest(0.05)

    def wait_strike(self):
        deadline = time.monotonic() + STRIKE_S
        while not self.struck.is_set() and time.monotonic() < deadline:
            if not self.source.alive() or not self.target.alive():
                break
            if self.case["do"] == "nothing" or {"HOME", "AWAY", "LOST", "WAITING"} & \
                    set(self.source.states) and {"RUNNING", "FAILED"} & set(self.target.states):
                break
            with self.moved:
                self.moved.wait_for(self.struck.is_set, 0.1)

    def hold(self):
        hold = self.case.get("hold")
        if hold is None:
            hold = self.random.choice([0.3, 5.0]) if self.case["do"] == "ledger" or \
                self.case.get("cut", {}).get("how") == "silence" else 0.1
        if self.struck.is_set():
            threading.Event().wait(hold)  # the length of the trouble is the case

    def restart(self):
        """The source was killed with its guest standing still, and is started again."""
        self.source.process.wait()
        if not os.path.exists(os.path.join(self.keep, "control")):
            self.note("nothing was kept: it was killed before, or behind its end")
            return
        self.note("the source is started again")
        self.again = Vm(self, 3, self.boot)
        try:
            self.again.connect()
            self.facts["side"]["again"] = self.again.ask("query-guest")["side"]
        except (OSError, Trouble) as why:
            if not self.again.gone():
                raise
            self.note(f"it ended at once: {why}")

    def ran_there(self):
        """What an operator without a ledger has to find out before he gives his word."""
        with open(self.witness, "rb") as file:
            data = file.read()
        return any(data[at:at + 1] == b"\2" for at in range(0, len(data) - 15, 16))

    def operate(self, target):
        """The source waits for an operator, who may do what holdfast-resolve(1) says."""
        source = self.again or self.source
        words = [[]]
        if self.kind == "none":
            words = [["--let-go"] if self.ran_there() else ["--take-back"]]
            if target and target["outcome"] == "none" and \
                    target["state"] not in ("LISTENING", "IDLE"):
                self.note("the operator waits for the target, which is not at its end")
                return
            if self.case.get("lie"):
                words = [["--take-back"]]
        elif target is None:
            words.append(["--take-back"])
        for word in words:
            done = subprocess.run([self.holdfast, "resolve", *word, source.socket], timeout=60,
                                  capture_output=True, text=True, check=False,
                                  preexec_fn=self.net.enter(1))
            self.note(f"resolve {' '.join(word)}: {done.returncode} "
                      f"{(done.stdout + done.stderr).strip()}")
            self.facts["operator"] = " ".join(["resolve", *word])
            if done.returncode != 3:
                return

    def end_of_story(self):
        done, source, target = self.wait_settled()
        if source and source["outcome"] == "waiting":
            self.facts["waited"] = source
            for _ in range(4):
                self.operate(target)
                done, source, target = self.wait_settled(15)
                if not source or source["outcome"] != "waiting":
                    break
        self.facts.update(settled=done, source=source, target=target)

    def look(self):
        """Who runs, does it make progress, and what says the ledger?"""
        facts, here = self.facts, self.again or self.source
        vms = {"source": here, "target": self.target}
        facts["running"] = [name for name in vms if facts[name]
                            and facts[name]["status"] == "running"]
        seen = max(vm.passes() for vm in (self.source, self.target, here))
        facts["progress"] = {name: self.wait_pass(vms[name], seen + 2)
                             for name in facts["running"]}
        facts["corrupt"] = sum((vm.corrupt() for vm in {self.source, self.target, here}), [])
        if self.kind != "none":
            done = subprocess.run([self.holdfast, "ledger", "show", "--json", "--ledger",
                                   self.ledger.uri, "guest"], timeout=60, capture_output=True,
                                  text=True, check=False, preexec_fn=self.net.enter(1))
            facts["record"] = done.stdout if done.returncode == 0 else \
                f"error: {done.stderr.strip()}"
        facts["exit"], facts["log"] = {}, {}
        for vm in (self.source, self.target, self.again):
            if vm:
                facts["exit"][vm.name] = vm.process.poll()
                facts["log"][vm.name] = vm.log_end()
                facts.setdefault("states", {})[vm.name] = vm.states
        facts["struck"] = self.struck.is_set()
        # Did the target write down why, while the source could still read it?
        told = self.target.when_traced(r" LEDGER (RETURN|NOTE): done")
        read = here.when_traced(r" -> UNDOING ")
        facts["told"] = self.kind != "none" and (
            told is not None and read is not None and told < read or
            here.when_traced(r" -> UNDOING \(LEDGER_HOME\)") is not None)

    def play(self):
        self.begun = time.monotonic()
        try:
            self.begin()
            self.go()
            self.wait_strike()
            self.hold()
            self.heal()
            self.facts["refused"] = self.source.told()
            if self.case.get("keep") and "source" in self.facts["killed"]:
                self.restart()
            self.end_of_story()
            self.look()
            self.facts["again"] = self.again is not None
        finally:
            self.end()
        self.facts["seconds"] = round(time.monotonic() - self.begun, 2)
        return self.facts

    def end(self):
        for vm in (self.source, self.target, self.again):
            if vm:
                vm.end()
        if self.proxy:
            self.proxy.end()
        self.ledger.end()
