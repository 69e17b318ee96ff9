#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Includes point one way (docs/architecture.md), and wire and core are pure: what they include and
what their objects refer to holds no I/O, clock, allocation or thread. Argument: the build folder.
"""
import os
import re
import subprocess
import sys

import tree

# Folder: what its files may include with the project's own names. First match counts; a file may
# always include its neighbours in the same folder.
MAY = [
    ("include/holdfast/", ["holdfast/"]),
    ("lib/base/", ["base/", "holdfast/"]),
    ("lib/wire/", ["base/", "wire/", "holdfast/"]),
    ("lib/core/", ["base/", "wire/", "core/", "holdfast/"]),
    ("lib/backend/", ["base/", "backend/", "holdfast/"]),
    ("lib/engine/", ["base/", "wire/", "core/", "backend/", "engine/", "holdfast/"]),
    ("vmm/thread-guest", ["vmm/", "holdfast/", "guest/pattern.h", "guest/work.h"]),
    ("vmm/", ["vmm/", "holdfast/"]),
    ("guest/", ["guest/", "holdfast/sim.h"]),
    ("guard/", ["guard/", "holdfast/"]),
    ("check/", ["check/", "holdfast/"]),
    ("tools/", ["tools/", "vmm/", "check/", "guard/", "holdfast/"]),
]
OWN = ("base/", "wire/", "core/", "backend/", "engine/", "vmm/", "guest/", "guard/", "check/",
       "tools/", "holdfast/", "lib/", "tests/", "bench/")
PURE = ("lib/wire/", "lib/core/")
PURE_HEADERS = {"assert.h", "errno.h", "endian.h", "inttypes.h", "limits.h", "stdarg.h",
                "stdbool.h", "stddef.h", "stdint.h", "string.h", "sys/uio.h", "xxhash.h"}
# What a pure object may refer to outside the library: the C library's and compiler's pure parts.
PURE_SYMBOLS = re.compile(r"(mem|str)[a-z]+|v?snprintf|__(mem|str|v?snprintf)\w*_chk|__assert_fail|"
                          r"__stack_chk_fail|abort|XXH\w+|hf_\w+|_GLOBAL_OFFSET_TABLE_|"
                          r"__(popcount|clz|ctz)[dst]i2|__(asan|ubsan|tsan|sanitizer|gcov)_\w+|"
                          r"qsort|bsearch")
NOT_PURE_STR = {"strdup", "strndup", "strerror_l", "strtok", "strftime"}


def includes(text):
    code = tree.code_of(text, keep_strings=True)
    for match in re.finditer(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', code, re.M):
        yield tree.line_of(code, match.start()), match.group(1), match.group(2)


def rule_of(path):
    return next((may for folder, may in MAY if path.startswith(folder)), None)


def direction(path, text):
    may = rule_of(path)
    for line, bracket, name in includes(text):
        if name.startswith(".."):
            yield f"{line}: {name}: includes are named from lib/ or the top"
        elif bracket == "<" and not name.startswith("holdfast/"):
            continue
        elif "/" not in name or not name.startswith(OWN):
            neighbour = os.path.join(os.path.dirname(path), name)
            if "guest/" + name in may: # the workload, which the thread guest shares
                continue
            if not os.path.exists(os.path.join(tree.TOP, neighbour)):
                yield f"{line}: {name}: not a file of this folder"
        elif not name.startswith(tuple(may)):
            yield f"{line}: {name}: not from here (may: {', '.join(may)})"


def pure_includes(_path, text):
    for line, bracket, name in includes(text):
        if bracket == "<" and not name.startswith("holdfast/") and name not in PURE_HEADERS:
            yield f"{line}: <{name}> in a pure layer"


def undefined_symbols(listing):
    """From `nm -A` of all pure archives: what no member of them defines, with who refers to it."""
    defined, wanted = set(), {}
    for line in listing.splitlines():
        match = re.match(r"(\S+?):\s*(?:[0-9a-f]+)?\s*([A-Za-z])\s(\S+)$", line)
        if not match:
            continue
        member, kind, symbol = match.groups()
        if kind in "Uw":
            wanted.setdefault(symbol, member)
        else:
            defined.add(symbol)
    return {symbol: member for symbol, member in wanted.items() if symbol not in defined}


def impure(listing):
    for symbol, member in sorted(undefined_symbols(listing).items()):
        name = symbol.split("@")[0]
        if not PURE_SYMBOLS.fullmatch(name) or name in NOT_PURE_STR:
            yield f"{member} refers to {name}"


def archives(build, layers):
    paths = [f"{build}/lib/{layer}/libhf_{layer}.a" for layer in layers]
    listing = subprocess.run(["nm", "-A", *paths], capture_output=True, text=True, check=True)
    return listing.stdout


def main():
    build = sys.argv[1]
    tap = tree.Tap()
    tap.rule("includes point one way", direction,
             lambda path: tree.is_c(path) and rule_of(path) is not None,
             [("lib/base/x.c", '#include "wire/rec.h"\n'),
              ("lib/wire/x.c", '#include "core/source.h"\n'),
              ("lib/core/x.h", '# include "backend/device.h"\n'),
              ("lib/backend/x.c", '#include "core/source.h"\n'),
              ("lib/backend/x.c", '#include "engine/session.h"\n'),
              ("include/holdfast/x.h", '#include "base/error.h"\n'),
              ("vmm/x.c", '#include "base/error.h"\n'),
              ("vmm/x.c", '#include "guest/work.h"\n'),
              ("vmm/x.c", '#include "work.h"\n'),
              ("tools/x.c", '#include "engine/session.h"\n'),
              ("check/x.c", '#include "backend/device/sim/sim.h"\n'),
              ("check/x.c", '#include "vmm/qmp.h"\n'),
              ("guard/x.c", '#include "wire/rec.h"\n'),
              ("guard/x.c", '#include "check/check.h"\n'),
              ("guest/x.c", '#include <holdfast/session.h>\n'),
              ("lib/core/x.c", '#include "../engine/session.h"\n'),
              ("lib/core/x.c", '/* fine */\n#include "no-such-file.h"\n')])
    tap.rule("wire and core include nothing that acts", pure_includes,
             lambda path: tree.is_c(path) and path.startswith(PURE),
             [("lib/core/x.c", "#include <time.h>\n"), ("lib/wire/x.c", "#include <stdlib.h>\n"),
              ("lib/core/x.h", "#include <pthread.h>\n")])
    # base is beneath them and may allocate; what wire and core call of it is among its symbols.
    listing = archives(build, ["base", "wire", "core"])
    pure = "\n".join(line for line in listing.splitlines()
                     if "libhf_base" not in line or not re.search(r"\s[Uw]\s", line))
    tap.test("objects of wire and core refer to nothing that acts", impure(pure))
    planted = "libhf_core.a:x.c.o:                 U malloc\n" \
              "libhf_core.a:x.c.o:                 U clock_gettime\n" \
              "libhf_core.a:x.c.o:                 U strdup\n" \
              "libhf_core.a:x.c.o:                 U memcpy\n" \
              "libhf_core.a:x.c.o:                 U rd_u32\n" \
              "libhf_wire.a:rd.c.o:0000000000000000 T rd_u32\n"
    found = len(list(impure(planted)))
    tap.test("objects: a planted violation is found",
             [] if found == 3 else [f"found {found} of 3"])
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
