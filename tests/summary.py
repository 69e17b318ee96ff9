#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
summary.py KIND=TESTLOG.JSON...: count what Meson recorded, and end with one line:

  N passed, N failed, N skipped

A program that speaks TAP counts with each of its tests, any other program as one test. A program
that died, hung or broke its plan counts as a failure of its own. What failed and what was skipped
is named, with the reason, as far as it is the line behind it. A log that is missing is a failure
too. Status 0 if something passed and nothing failed.
"""
import json
import re
import sys

TAP_LINE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$")
TAP_SKIP = re.compile(r"#\s*SKIP\b\s*(.*)$", re.IGNORECASE)
REASON_MAX = 400  # characters


class Count:
    """Results of one build."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def add(self, run):
        """One program's run, as in a line of testlog.json."""
        output = (run.get("stdout") or "") + "\n" + (run.get("stderr") or "")
        name = run["name"].rpartition(":")[2]
        failed_before = len(self.failed)
        spoke_tap = self.add_tap(name, output) if re.search(r"^1\.\.\d", output, re.M) else False
        result = run["result"]
        if result == "OK":
            if not spoke_tap:
                self.passed += 1
        elif result == "EXPECTEDFAIL":
            self.passed += 1
        elif result == "SKIP":
            if not spoke_tap:
                self.skipped.append(f"{name}: {reason_of(output)}")
        elif len(self.failed) == failed_before:
            self.failed.append(f"{name}: {result} (status {run.get('returncode')})")

    def add_tap(self, name, output):
        """The tests of a TAP program. True if there was at least one."""
        said, any_test, reasonless = "", False, False
        for line in output.splitlines():
            test = TAP_LINE.match(line)
            if not test:
                said = line.strip(" #\t") or said
                if reasonless and line.startswith("#") and line.strip(" #\t"):
                    self.failed[-1] += ": " + line.strip(" #\t")[:REASON_MAX]
                    reasonless = False
                continue
            any_test = True
            reasonless = bool(test.group(1))
            what = test.group(3)
            skip = TAP_SKIP.search(what)
            if test.group(1):
                self.failed.append(f"{name}: {what}")
            elif skip:
                what = (what[:skip.start()] + skip.group(1)).strip()
                self.skipped.append(f"{name}: {what}: {said}")
            else:
                self.passed += 1
        return any_test


def reason_of(output):
    """What a program said before it ended with 77."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith("SKIP")]
    return (marked or lines or ["no reason given"])[-1]


def count_log(path):
    count = Count()
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                count.add(json.loads(line))
    except FileNotFoundError:
        count.failed.append("no record of a test run: it was not built, or did not start")
    return count


def main():
    if len(sys.argv) < 2:
        raise SystemExit("usage: summary.py KIND=TESTLOG.JSON...")
    counts = {}
    for word in sys.argv[1:]:
        kind, _, path = word.partition("=")
        counts[kind] = count_log(path)

    print()
    for what in ("skipped", "failed"):
        for kind, count in counts.items():
            for line in getattr(count, what):
                print(f"{what} ({kind}): {line}")
    for kind, count in counts.items():
        print(f"{kind}: {count.passed} passed, {len(count.failed)} failed, "
              f"{len(count.skipped)} skipped")
    passed = sum(count.passed for count in counts.values())
    failed = sum(len(count.failed) for count in counts.values())
    skipped = sum(len(count.skipped) for count in counts.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
