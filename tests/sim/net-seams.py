#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The nets replace what blocks, tells the time or fails. Is anything missing?

Every function that the library calls and does not define must be replaced (net-wrap.txt) or stand
in net-harmless.txt. What the nets do not link (kinds of devices, of dirty pages and of ledgers) is
left out.

    net-seams.py NM WRAP HARMLESS LIBRARY...
"""
import re
import subprocess
import sys

LEFT_OUT = re.compile(r"[/:](memory|ledger|device)_[^/:]*\.o:")
# With -D_FORTIFY_SOURCE the same functions have other names.
FORTIFIED = re.compile(r"^__(\w+?)_chk$")
SANITIZERS = re.compile(r"^(__asan|__ubsan|__tsan|__lsan|__sanitizer|__gcov|__llvm|__stack_chk)")


def words(path):
    with open(path, encoding="ascii") as file:
        return {line.split()[0] for line in file if line.strip() and line[0] != "#"}


def names(nm, option, libraries, left_out):
    out = subprocess.run([nm, "-A", option, *libraries], check=True, capture_output=True,
                         text=True).stdout
    return {line.split()[-1].split("@")[0]: line for line in out.splitlines()
            if line.strip() and not (left_out and left_out.search(line)) and not line.endswith(":")}


def main():
    nm, wrap, harmless, *libraries = sys.argv[1:]
    used = names(nm, "--undefined-only", libraries, LEFT_OUT)
    own = names(nm, "--defined-only", libraries, None)
    wrapped, allowed = words(wrap), words(harmless)
    missing = sorted(name for name in used
                     if name not in own and name not in wrapped
                     and FORTIFIED.sub(r"\1", name) not in allowed
                     and not SANITIZERS.match(name))
    both = sorted(wrapped & allowed)
    print("1..2")
    for name in missing:
        print(f"# neither replaced nor harmless: {used[name]}")
    print(f"{'not ' if missing or not used else ''}ok 1 - {len(used)} functions that are used are "
          "replaced, or harmless")
    for name in both:
        print(f"# replaced, and harmless: {name}")
    print(f"{'not ' if both else ''}ok 2 - nothing is called both")
    return bool(missing or both or not used)


sys.exit(main())
