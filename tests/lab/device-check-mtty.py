#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
device-check-mtty.py [--write] DOCUMENT FOLDER KERNEL...: compares what device-check-mtty.sh has
left in FOLDER with docs/device-check-mtty.md, which says of each kernel and way how many checks end
how, and explains every one that does not pass. Prints what differs. --write puts the numbers and
the report into the document first, which leaves the explanations to be compared.
"""
import json
import os
import re
import sys

KERNELS = {"iommufd": "with iommufd and cdev", "debian": "as Debian ships it",
           "next": "Debian's newest"}
REPORTED = "iommufd"  # whose report is in the document
LINUX = {"iommufd": r"on Linux {}", "debian": r"on Linux {}", "next": r"newest is Linux {}"}
NUMBER = r"[0-9.]*[0-9]"
VERDICTS = ("pass", "fail", "warn", "known-quirk", "skip")  # in the order of the table
NO_CDEV = "| {} | cdev | | | | | | 4: it has no cdev |"
REPORT_LINE = re.compile(r"^(pass|fail|warn|known-quirk|skip) +(?:must|should|info) +(\S+)", re.M)
REPORT = re.compile(r"(## The report.*?\n```\n).*?(\n```\n)", re.S)
EXPLAINED = re.compile(r"^\| ((?:`[a-z0-9.-]+`(?:, )?)+) \| (known quirk|warning) \| .+ \|$", re.M)


class Run:
    """One run of the check; report is None where the device could not be opened."""

    def __init__(self, folder, kernel, way):
        place = os.path.join(folder, f"{kernel}-{way}")
        self.kernel, self.way, self.report = kernel, way, None
        self.status = int(read(place + ".status"))
        text = read(place + ".json")
        if text:
            self.report = json.loads(text)
            self.verdicts = {check["name"]: check["verdict"] for check in self.report["checks"]}

    def row(self):
        if self.report is None:
            own = f"| {self.kernel} | {self.way} | {self.status} |"
            expected = self.kernel != REPORTED and (self.way, self.status) == ("cdev", 4)
            return NO_CDEV.format(KERNELS[self.kernel]) if expected else own
        counts = " | ".join(str(self.report["verdicts"][verdict]) for verdict in VERDICTS)
        return f"| {KERNELS[self.kernel]} | {self.way} | {counts} | {self.status} |"

    def differences(self, explained):
        """Whatever is not as the document explains."""
        name = f"{self.kernel}, {self.way}"
        if self.report is None:
            return
        if self.report["hung"]:
            yield f"{name}: a check hung"
        for check, verdict in self.verdicts.items():
            wanted = explained.get(check, "pass")
            if verdict not in (wanted, "skip"):
                yield f"{name}: {check}: {verdict}, and the document says {wanted}"
        for check in explained:
            # Without iommufd the DMA log cannot be read; then there is nothing to check.
            no_log = self.kernel != REPORTED and check.startswith("log.")
            if self.verdicts.get(check, "skip") == "skip" and not no_log:
                yield f"{name}: {check}: not checked, and the document explains it"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def document_of(text, runs, folder):
    """The document with what was measured, where it has a row for that."""
    for run in runs:
        release = re.match(NUMBER, read(os.path.join(folder, run.kernel + "-release")))[0]
        words = LINUX[run.kernel]
        text = re.sub(words.format(NUMBER), words.format(release), text)
        text = re.sub(rf"^\| {KERNELS[run.kernel]} \| {run.way} \| .*$", run.row(), text,
                      flags=re.M)
    if runs[0].kernel != REPORTED:
        return text
    report = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID",
                    read(os.path.join(folder, "report.txt")).strip())
    return REPORT.sub(lambda match: match[1] + report + match[2], text)


def compare(text, runs):
    explained = {}
    for names, verdict in EXPLAINED.findall(text):
        verdict = {"known quirk": "known-quirk", "warning": "warn"}[verdict]
        explained.update({name: verdict for name in re.findall(r"`([^`]+)`", names)})
    for run in runs:
        yield from run.differences(explained)
        if run.row() + "\n" not in text:
            yield f"this row is not in the document: {run.row()}"
    if runs[0].kernel != REPORTED:
        return
    report = {name: verdict for verdict, name in REPORT_LINE.findall(REPORT.search(text)[0])}
    measured = runs[0].verdicts
    for name in sorted(report.keys() | measured.keys()):
        if report.get(name) != measured.get(name):
            yield f"{name}: {measured.get(name)}, and {report.get(name)} in the document's report"


def main():
    write = sys.argv[1] == "--write"
    path, folder, *kernels = sys.argv[2 if write else 1:]
    runs = [Run(folder, kernel, way) for kernel in kernels for way in ("group", "cdev")]
    text = read(path)
    if write:
        text = document_of(text, runs, folder)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    different = list(compare(text, runs))
    for line in different:
        print(f"device-check-mtty: {line}", file=sys.stderr)
    if different:
        print(f"{path} is made new by tests/lab/device-check-mtty.sh --write", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
