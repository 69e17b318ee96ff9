#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""json-get.py PATH [FILE]: print the value at PATH (.a.b[0]) of a JSON text; see functions.sh."""
import json
import re
import sys


def value_at(value, path):
    """The value at .a.b[0]; None where something on the way is missing."""
    if path != "." and not re.fullmatch(r"(\.[\w-]+|\[\d+\])+", path):
        raise SystemExit(f"json: not a path: {path}")
    for name, index in re.findall(r"\.([\w-]+)|\[(\d+)\]", path):
        if name:
            value = value.get(name) if isinstance(value, dict) else None
        else:
            inside = isinstance(value, list) and int(index) < len(value)
            value = value[int(index)] if inside else None
    return value


def text_of(value):
    """Strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: json-get.py PATH [FILE]")
    if len(sys.argv) == 3:
        with open(sys.argv[2], encoding="utf-8") as file:
            text = file.read()
    else:
        text = sys.stdin.read()
    try:
        value = json.loads(text)
    except ValueError as why:
        raise SystemExit(f"json: {why}: {text[:200]!r}") from why
    print(text_of(value_at(value, sys.argv[1])))


if __name__ == "__main__":
    main()
