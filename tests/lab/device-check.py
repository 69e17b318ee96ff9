#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
device-check.py [--write] CARD DOCS FOLDER KERNEL...: compares what device-check.sh has left in
FOLDER with DOCS/device-check-CARD.md, which says of each kernel and way how many checks end how and
explains every one that does not pass, and with the reports in full, DOCS/device-check/. Prints what
differs. --write puts the numbers into the document and the reports beside it first, which leaves
the explanations to be compared.
"""
import json
import os
import re
import sys

KERNELS = {"iommufd": "with iommufd and cdev", "debian": "as Debian ships it",
           "next": "Debian's newest", "next-iommufd": "Debian's newest with iommufd and cdev"}
GROUPS_ONLY = {"debian", "next"}  # no cdev; and the DMA log cannot be read
LINUX = {"iommufd": r"on Linux {}", "debian": r"on Linux {}", "next": r"newest is Linux {}",
         "next-iommufd": r"newest is Linux {}"}
NUMBER = r"[0-9.]*[0-9]"
VERDICTS = ("pass", "fail", "warn", "known-quirk", "skip")  # in the order of the table
NO_CDEV = "| {} | cdev | | | | | | 4: it has no cdev | |"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
VERDICT = re.compile(rf"^({'|'.join(VERDICTS)}) +(?:must|should|info) +(\S+)")
# What is another one each time: how long a check and an arc took, how often an arc was asked for.
TIMES = ((r"^((?:\S+ +){3})[0-9.]+ ms\b", r"\1"), (r"^([A-Z_0-9]+ +-> [A-Z_0-9]+) .*", r"\1"),
         (r"^(save|load) +[0-9]+ MB/s$", r"\1"))
EXPLAINED = re.compile(r"^\| ((?:`[a-z0-9.-]+`(?:, )?)+) \| (known quirk|warning) \| .+ \|$", re.M)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def timeless(report):
    """The lines of a report, without what is another one each time."""
    lines = []
    for line in report.splitlines():
        for pattern, put in TIMES:
            line = re.sub(pattern, put, line)
        lines.append(" ".join(line.split()))
    return lines


class Run:
    """One run of the check; report is None where the device could not be opened."""

    def __init__(self, card, folder, kernel, way):
        place = os.path.join(folder, f"{kernel}-{way}")
        self.kernel, self.way, self.report = kernel, way, None
        self.file = f"device-check/{card}-{kernel}-{way}.txt"  # in the documents
        self.status = int(read(place + ".status"))
        self.text = re.sub(UUID, "UUID", read(place + ".txt"))
        text = read(place + ".json")
        if text:
            self.report = json.loads(text)
            self.verdicts = {check["name"]: check["verdict"] for check in self.report["checks"]}

    def expected_failure(self):
        return self.kernel in GROUPS_ONLY and (self.way, self.status) == ("cdev", 4)

    def row(self):
        if self.report is None:
            own = f"| {self.kernel} | {self.way} | {self.status} |"
            return NO_CDEV.format(KERNELS[self.kernel]) if self.expected_failure() else own
        counts = " | ".join(str(self.report["verdicts"][verdict]) for verdict in VERDICTS)
        return (f"| {KERNELS[self.kernel]} | {self.way} | {counts} | {self.status} "
                f"| [report]({self.file}) |")

    def not_explained(self, explained):
        """What does not pass, and the document does not say so; and what it says in vain."""
        if self.report is None:
            if not self.expected_failure():
                yield f"no report, status {self.status}"
            return
        if self.report["hung"]:
            yield "a check hung"
        for check, verdict in self.verdicts.items():
            wanted = explained.get(check, "pass")
            if verdict not in (wanted, "skip"):
                yield f"{check}: {verdict}, and the document says {wanted}"
        for check in explained:
            no_log = self.kernel in GROUPS_ONLY and check.startswith("log.")
            if self.verdicts.get(check, "skip") == "skip" and not no_log:
                yield f"{check}: not checked, and the document explains it"

    def other_lines(self, kept):
        """Where the report is not the one that is kept: verdicts, reasons, arcs, in their order."""
        ours, theirs = timeless(self.text), timeless(kept)
        for number in range(max(len(ours), len(theirs))):
            now = ours[number] if number < len(ours) else "nothing"
            then = theirs[number] if number < len(theirs) else "nothing"
            if now != then:
                yield f"line {number + 1} is \"{now}\", and \"{then}\" in {self.file}"
                return
        in_text = {match[2]: match[1] for match in map(VERDICT.match, ours) if match}
        if in_text != self.verdicts:
            yield "the report as text has other verdicts than the one as JSON"

    def differences(self, document, explained, kept):
        """Whatever is not as the documents have it."""
        yield from self.not_explained(explained)
        if self.row() + "\n" not in document:
            yield f"this row is not in the document: {self.row()}"
        if self.report is not None:
            yield from self.other_lines(kept)


def explained_in(document):
    explained = {}
    for names, verdict in EXPLAINED.findall(document):
        verdict = {"known quirk": "known-quirk", "warning": "warn"}[verdict]
        explained.update({name: verdict for name in re.findall(r"`([^`]+)`", names)})
    return explained


def document_of(text, runs, folder):
    """The document with what was measured, where it has a row for that."""
    for run in runs:
        release = re.match(NUMBER, read(os.path.join(folder, run.kernel + "-release")))[0]
        words = LINUX[run.kernel]
        text = re.sub(words.format(NUMBER), words.format(release), text)
        text = re.sub(rf"^\| {KERNELS[run.kernel]} \| {run.way} \| .*$", run.row(), text,
                      flags=re.M)
    return text


def planted(run, document, explained, kept):
    """A difference that would not be found: one planted in each thing that is compared."""
    lines = [number for number, line in enumerate(kept.splitlines()) if line.startswith("pass ")]
    for number in lines[:1] + lines[-1:]:
        for verdict in ("skip", "fail"):
            other = kept.splitlines()
            other[number] = other[number].replace("pass", verdict, 1)
            yield run.differences(document, explained, "\n".join(other))
        other = kept.splitlines()
        del other[number]
        yield run.differences(document, explained, "\n".join(other))
    yield run.differences(document, explained, re.sub("(?m)^STOP +-> RUNNING .*\n", "", kept))
    yield run.differences(document.replace(run.row(), ""), explained, kept)
    yield run.differences(document, {**explained, "info.flags": "warn"}, kept)
    for name in list(explained)[:1]:
        less = {check: verdict for check, verdict in explained.items() if check != name}
        if run.verdicts.get(name) != "skip":
            yield run.differences(document, less, kept)


def main():
    words = [word for word in sys.argv[1:] if word != "--write"]
    card, docs, folder, *kernels = words
    path = os.path.join(docs, f"device-check-{card}.md")
    runs = [Run(card, folder, kernel, way) for kernel in kernels for way in ("group", "cdev")]
    document = read(path)
    if "--write" in sys.argv:
        document = document_of(document, runs, folder)
        write(path, document)
        for run in runs:
            if run.report is not None:
                write(os.path.join(docs, run.file), run.text)
    explained, different = explained_in(document), []
    for run in runs:
        file = os.path.join(docs, run.file)
        kept = read(file) if run.report is not None and os.path.exists(file) else ""
        found = list(run.differences(document, explained, kept))
        different += [f"{run.kernel}, {run.way}: {line}" for line in found]
        if run.report is not None and not found:
            blind = [number for number, lines in enumerate(planted(run, document, explained, kept))
                     if not list(lines)]
            different += [f"planted difference {number} was not found" for number in blind]
    for line in different:
        print(f"device-check: {line}", file=sys.stderr)
    if different:
        print(f"{path} and the reports are made new by tests/lab/device-check.sh {card} --write "
              f"{' '.join(kernels)}", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
