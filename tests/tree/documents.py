#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Documents fit the code: each record, with its number, stands in docs/stream.md; links between
Markdown files lead somewhere.
"""
import os
import re
import sys

import tree

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.M)


def prose(text):
    """Markdown without its code: no links live there."""
    text = re.sub(r"^(```|~~~).*?^\1", lambda match: tree.blank(match.group(0)), text,
                  flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", lambda match: tree.blank(match.group(0)), text)


def anchors(text):
    """Names of headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*?)\s*#*$", re.sub(r"^```.*?^```", "", text,
                                                          flags=re.M | re.S), re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")
        while name in found:
            name += "-1"
        found.add(name)
    return found


def dead_links(path, text):
    for match in LINK.finditer(prose(text)):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z]+:", target):
            continue
        line = tree.line_of(text, match.start())
        file, _, anchor = target.partition("#")
        other = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        if not os.path.exists(os.path.join(tree.TOP, other)):
            yield f"{line}: {target}: no such file"
        elif anchor and other.endswith(".md"):
            there = text if other == path else tree.read(other)
            if anchor not in anchors(there):
                yield f"{line}: {target}: no such heading"


def named_documents(_path, text):
    """Files of docs/ that a text names."""
    for match in re.finditer(r"\bdocs/[\w./-]*\w\.(?:md|txt|scd)\b", text):
        if not os.path.exists(os.path.join(tree.TOP, match.group(0))):
            yield f"{tree.line_of(text, match.start())}: {match.group(0)}: no such file"


def records():
    """{name: number} of the record types, from REC_LIST."""
    rows = re.finditer(r"^\s*X\((\w+),\s*(0x[0-9a-fA-F]+)", tree.read("lib/wire/rec.h"), re.M)
    return {match.group(1): int(match.group(2), 16) for match in rows}


def has_number(line, number):
    """Bit 31 (may be skipped) may be set in it."""
    return any(int(word, 16) & 0x7fffffff == number
               for word in re.findall(r"\b0x[0-9a-fA-F]+\b", line))


def without_section(found, text):
    for name, number in found.items():
        if not re.search(rf"\b{name}\b", text):
            yield f"{name} is not in docs/stream.md"
        elif not any(has_number(line, number) for line in text.splitlines()
                     if re.search(rf"\b{name}\b", line)):
            yield f"no line of docs/stream.md has {name} and its number {number:#x}"


def main():
    tap = tree.Tap()
    tap.rule("links between documents lead somewhere", dead_links,
             lambda path: path.endswith(".md"),
             [("docs/x.md", "[a](no-such-file.md)"), ("README.md", "[a](#no-such-heading)"),
              ("docs/x.md", "# B c\n[a](#b-d)")])
    tap.rule("documents that are named exist", named_documents,
             lambda path: path.endswith((".c", ".h", ".sh", ".py", ".md", "meson.build")) and
             not path.startswith("tests/tree/"),
             [("lib/x.c", "/* docs/no-such-file.md */"), ("README.md", "`docs/no-such.txt`")])
    found = records()
    tap.test("there are records", [] if len(found) >= 20 else [f"found {len(found)}"])
    if os.path.exists(os.path.join(tree.TOP, "docs/stream.md")):
        text = tree.read("docs/stream.md")
        tap.test("each record stands in docs/stream.md", without_section(found, text))
        planted = {"NO_SUCH_RECORD": 1, "HELLO": 0x77}
        tap.test("records: a missing one and a wrong number are found",
                 [] if len(list(without_section(planted, text))) == 2 else ["blind"])
    else:
        tap.test("each record stands in docs/stream.md", ["there is no docs/stream.md"])
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
