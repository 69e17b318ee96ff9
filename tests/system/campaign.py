#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The system campaign: handovers of real guests between shipped binaries, to each of which one thing
is done (campaign_cases.py), each judged by what the guest itself said to a witness outside both
processes (campaign_referee.py) and by its promised ends (campaign_judge.py).

  campaign.py [--runs N] [--seed S] [--jobs J] [--table FILE] [--match REGEX] [--keep DIR]
  campaign.py --one CASE --seed S [--keep DIR]      one run, by the number of its case
  campaign.py --planted                             a broken promise, which has to be found
  campaign.py --list

The last line counts; the status is 1 if a count is not 0, or fewer runs were made than asked for.
Environment: HOLDFAST, HOLDFAST_TEST_CLOCK_LIB (campaign-clock.so).
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import campaign_cases
import campaign_table

HERE = os.path.dirname(os.path.abspath(__file__))
RUN_S, AGAIN_MAX = 900, 3
COUNTS = ("lost", "executed after another", "unpromised", "unexplained")


def shared_memory():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


# ---- one run, in a process of its own ----------------------------------------------------------


def one(options):
    """The facts and the verdict, as a line of JSON."""
    import campaign_judge
    import campaign_run

    case = campaign_cases.PLANTED if options.planted else \
        campaign_cases.all_cases()[options.one]
    folder = options.folder or tempfile.mkdtemp(prefix="holdfast-campaign.", dir=shared_memory())
    run = None
    try:
        run = campaign_run.Run(case, options.seed, folder, options.holdfast, options.guest,
                               options.clock)
        facts = run.play()
        facts.update(witness=run.witness, do=case["do"], lost_case=case.get("lost", False),
                     ledger_filter="ledger." in "".join(case["source_filters"]
                                                        + case["target_filters"]))
        end, said = campaign_judge.judge(facts)
    except Exception as why:  # pylint: disable=broad-except # whatever it is, it is told
        facts = dict(run.facts if run else {}, trouble=f"{type(why).__name__}: {why}")
        facts["log"] = {vm.name: vm.log_end() for vm in
                        (run.source, run.target, run.again) if vm} if run else {}
        end, said = "trouble", {}
    result = {"end": end, "said": said, "facts": facts}
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, default=str)
    if options.planted:
        found = said.get("executed after another", [])
        print("\n".join(found + facts["notes"]) if end != "trouble" else facts["trouble"])
        shutil.rmtree(folder, ignore_errors=True)
        return 0 if found else 1
    if options.folder is None:
        print(json.dumps(result, indent=1, default=str))
        print(f"# files: {folder}")
    return 0 if end != "trouble" and not any(said.values()) else 1


# ---- the campaign ------------------------------------------------------------------------------


class Campaign:
    """Many runs, a few at a time, each a process group that can be ended."""

    def __init__(self, options):
        self.options, self.running, self.results, self.again = options, {}, [], {}
        self.counts = dict.fromkeys(COUNTS, 0)
        self.begun, self.kept = time.monotonic(), None
        self.cases = campaign_cases.all_cases()
        self.order = [number for number, case in enumerate(self.cases)
                      if re.search(options.match, case["name"] + " / " + case["family"])
                      and self.possible(case)]
        random.Random(options.seed).shuffle(self.order)
        if options.spread:
            self.spread()

    def possible(self, case):
        if case.get("ledgers") == ["etcd"] and not self.options.etcd:
            return False
        return self.options.apart or not (case["do"] == "link" or case.get("who") in (1, 2))

    def spread(self):
        """For samples: one case of each family first, then one more of each."""
        families, turn = {}, []
        for number in self.order:
            family = self.cases[number]["family"]
            families[family] = families.get(family, 0) + 1
            turn.append((families[family], len(turn), number))
        self.order = [number for _, _, number in sorted(turn)]

    def command(self, case, seed):
        return [sys.executable, os.path.abspath(__file__), "--one", str(case), "--seed", str(seed),
                "--guest", self.options.guest]

    def start(self, index):
        case = self.order[index % len(self.order)]
        seed = self.options.seed * 1000003 + index
        folder = tempfile.mkdtemp(prefix="holdfast-campaign.", dir=shared_memory())
        with open(os.path.join(folder, "run.log"), "wb") as log:
            process = subprocess.Popen(self.command(case, seed) + ["--folder", folder],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        self.running[os.pidfd_open(process.pid)] = (process, index, case, seed, folder,
                                                    time.monotonic() + RUN_S)

    def reap(self):
        """Wait until one ends, and take its result."""
        import select
        deadline = min(entry[5] for entry in self.running.values())
        ready = select.select(list(self.running), [], [],
                              max(0, deadline - time.monotonic()))[0]
        if not ready:
            ready = [fd for fd, entry in self.running.items() if entry[5] <= time.monotonic()]
        for fd in ready:
            process, index, case, seed, folder, _ = self.running.pop(fd)
            os.close(fd)
            self.end_group(process)
            self.take(index, case, seed, folder)

    @staticmethod
    def end_group(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def take(self, index, case, seed, folder):
        try:
            with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
                result = json.load(file)
        except (OSError, ValueError):
            result = {"end": "trouble", "said": {}, "facts": {"trouble": "the run gave no result"}}
        if result["end"] == "trouble" and not result["facts"].get("begun") and \
                self.again.get(index, 0) < AGAIN_MAX:
            # The host did not even get to the handover (etcd or the guest did not start in time).
            self.again[index] = self.again.get(index, 0) + 1
            print(f"run {index} could not begin, once more: {result['facts'].get('trouble')}"[:300],
                  flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            self.start(index)
            return
        result["case"], result["family"] = self.cases[case]["name"], self.cases[case]["family"]
        self.results.append(result)
        if self.options.results:
            with open(self.options.results, "a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        bad = [(count, words) for count in COUNTS for words in result["said"].get(count, [])]
        for count in COUNTS:
            self.counts[count] += bool(result["said"].get(count))
        if result["end"] == "trouble":
            bad.append(("no verdict", result["facts"].get("trouble")))
            self.counts["unpromised"] += 1
        if bad:
            place = self.keep(folder, index)
            print(f"FAILED run {index}: {result['case']} ({result['facts'].get('ledger')}, "
                  f"{result['facts'].get('transport')})")
            for count, words in bad:
                print(f"  {count}: {str(words)[:400]}")
            print(f"  files {place}; again: {' '.join(self.command(case, seed))}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        if len(self.results) % 50 == 0:
            seconds = time.monotonic() - self.begun
            print(f"{len(self.results)} runs in {seconds:.0f} s: " + ", ".join(
                f"{name} {count}" for name, count in self.counts.items()), flush=True)

    def keep(self, folder, index):
        if self.kept is None:
            self.kept = self.options.keep or tempfile.mkdtemp(prefix="holdfast-campaign-failed.")
            os.makedirs(self.kept, exist_ok=True)
        place = os.path.join(self.kept, f"run-{index}")
        shutil.copytree(folder, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(
            "*.fifo", "*.sock", "*.qmp", "keep", "etcd", "ram*"))
        return place

    def play(self):
        begun = 0
        try:
            while begun < self.options.runs or self.running:
                while begun < self.options.runs and len(self.running) < self.options.jobs:
                    self.start(begun)
                    begun += 1
                self.reap()
        finally:
            for process, _, _, _, folder, _ in self.running.values():
                self.end_group(process)
                shutil.rmtree(folder, ignore_errors=True)
        return self.tell()

    def tell(self):
        counts = self.counts
        if self.options.table:
            campaign_table.write(self.options, self.results, self.cases, counts)
        struck = sum(bool(result["facts"].get("struck")) for result in self.results)
        apart = sum(bool(result["facts"].get("apart")) for result in self.results)
        print(f"{len({result['case'] for result in self.results})} of {len(self.cases)} cases; "
              f"{struck} runs in which the fault was met, {apart} in network namespaces; "
              f"{time.monotonic() - self.begun:.0f} s")
        print(f"runs {len(self.results)}, lost {counts['lost']}, executed after another "
              f"{counts['executed after another']}, unpromised ends {counts['unpromised']}, "
              f"unexplained {counts['unexplained']}", flush=True)
        return 1 if any(counts.values()) or len(self.results) < self.options.runs else 0


def interrupted(number, _frame):
    sys.exit(128 + number)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(4, 2 * (os.cpu_count() or 1)))
    parser.add_argument("--table", help="write the table of docs/reliability.md")
    parser.add_argument("--match", default="", help="only cases that match")
    parser.add_argument("--spread", action="store_true", help="cases of different families first")
    parser.add_argument("--keep", help="where the files of failed runs go")
    parser.add_argument("--guest", default="auto", help="kvm, thread or auto")
    parser.add_argument("--results", help="write the facts of every run, a line of JSON each")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.holdfast = os.path.abspath(os.environ.get(
        "HOLDFAST", os.path.join(HERE, "../../build/holdfast")))
    options.clock = os.environ.get("HOLDFAST_TEST_CLOCK_LIB", os.path.join(
        os.path.dirname(options.holdfast), "tests/system/campaign-clock.so"))
    if options.list:
        for number, case in enumerate(campaign_cases.all_cases()):
            print(number, case["name"])
        return 0
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(name, interrupted)
    if options.one is not None or options.planted:
        return one(options)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) and options.guest == "auto":
        print("no /dev/kvm here: the guest's vCPUs are threads", flush=True)
    options.etcd = shutil.which("etcd") is not None
    if not options.etcd:
        print("no etcd here: ledgers are files, or there is none", flush=True)
    options.apart = subprocess.run(["unshare", "-n", "-m", "true"], check=False,
                                   capture_output=True).returncode == 0
    if not options.apart:
        print("no network namespaces here: loopback, and neither links that go down nor ledgers "
              "that one side alone cannot reach", flush=True)
    return Campaign(options).play()


if __name__ == "__main__":
    sys.exit(main())
