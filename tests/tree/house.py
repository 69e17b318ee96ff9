#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The rules of docs/style.md that a program can check by reading. A call that is banned and right all
the same says why on its line: "allowed: REASON" in a comment.
"""
import os
import re
import sys

import tree

PRODUCT = ("lib/", "vmm/", "tools/", "guest/", "guard/", "check/", "include/")

# Calls that are never right here, and what is.
BANNED = {
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "alloca": "a buffer with a limit",
    "strtok": "a parser", "atoi": "strtoul with its checks", "atol": "strtoul with its checks",
    "gets": "fgets", "tmpnam": "mkostemp", "mktemp": "mkostemp",
    "sleep": "waiting for an event with a deadline",
    "usleep": "waiting for an event with a deadline",
}
# The same in what is shipped; tests may.
BANNED_IN_PRODUCT = {
    "strcpy": "a bounded copy", "strcat": "a bounded copy", "strncpy": "a bounded copy",
    "system": "posix_spawn", "popen": "posix_spawn", "accept": "accept4 with SOCK_CLOEXEC",
    "pipe": "pipe2 with O_CLOEXEC", "epoll_create": "epoll_create1 with EPOLL_CLOEXEC",
    "creat": "open with O_CLOEXEC", "dup": "fcntl with F_DUPFD_CLOEXEC",
    "dup2": "dup3 with O_CLOEXEC, or posix_spawn's file actions",
}
# The library does not print, exit or touch signals (it may keep them off its own threads).
NOT_IN_LIB = ["printf", "fprintf", "vfprintf", "puts", "putchar", "fputs", "perror", "exit",
              "_exit", "signal", "sigaction", "setenv", "chdir", "umask", "fork", "srand", "rand",
              "random"]
CLOEXEC = {"open": "O_CLOEXEC", "openat": "O_CLOEXEC", "socket": "SOCK_CLOEXEC",
           "socketpair": "SOCK_CLOEXEC", "accept4": "SOCK_CLOEXEC", "eventfd": "EFD_CLOEXEC",
           "epoll_create1": "EPOLL_CLOEXEC", "memfd_create": "MFD_CLOEXEC", "pipe2": "O_CLOEXEC",
           "timerfd_create": "TFD_CLOEXEC", "signalfd": "SFD_CLOEXEC",
           "inotify_init1": "IN_CLOEXEC", "mkostemp": "O_CLOEXEC", "dup3": "O_CLOEXEC"}


def call(names):
    return r"(?<![\w.>])(" + "|".join(names) + r")\s*\("


def banned_calls(path, text):
    banned = BANNED | (BANNED_IN_PRODUCT if product(path) else {})
    code, lines = tree.code_of(text), text.split("\n")
    for match in re.finditer(call(banned), code):
        name, line = match.group(1), tree.line_of(code, match.start())
        if not re.search(r"/\* allowed: \S+ \S+", lines[line - 1]):
            yield f"{line}: {name}(): use {banned[name]}"


def lib_calls(_path, text):
    return tree.find_all(call(NOT_IN_LIB), tree.code_of(text), "{1}() in the library")


def cloexec(_path, text):
    code = tree.code_of(text)
    for match in re.finditer(call(CLOEXEC), code):
        end = code.find(";", match.end())
        statement = code[match.start():end if end >= 0 else None]
        flag = CLOEXEC[match.group(1)]
        if flag not in statement:
            yield f"{tree.line_of(code, match.start())}: {match.group(1)}() without {flag}"
    for match in re.finditer(r'\bfopen\s*\([^;]*?,\s*"([^"]*)"', tree.code_of(text, True)):
        if "e" not in match.group(1):
            yield f"{tree.line_of(text, match.start())}: fopen() without \"e\""


def line_comments(_path, text):
    return tree.find_all(r"//.*", re.sub(r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"",
                                         lambda match: tree.blank(match.group(0)), text,
                                         flags=re.S), "{0}: /* */ is for what stays")


def typedefs(_path, text):
    return tree.find_all(r"\btypedef\s+(struct|union|enum)\b", tree.code_of(text), "typedef {1}")


def off_t(_path, text):
    # Casting to it is what a system call may want; keeping it is what we do not.
    return tree.find_all(r"(?<!\()\b(off_t)\s+\w+\s*[;,=)]", tree.code_of(text), "{1} as a type")


def has_header(path):
    """A file whose header, which says it, stands beside it."""
    return path.endswith(".c") and os.path.exists(os.path.join(tree.TOP, path[:-1] + "h"))


def license_line(path, text):
    head = "\n".join(text.split("\n")[:3])
    if "SPDX-License-Identifier: BSD-3-Clause" not in head:
        yield "1: no SPDX-License-Identifier: BSD-3-Clause"
    elif tree.is_c(path) and not re.match(r"/\* SPDX.*\*/\n/\*", text) and not has_header(path):
        yield "2: no comment that says what the file is for"


def open_ends(_path, text):
    for problem in tree.find_all(r"\b(FIXME|XXX)\b", text, "{1}: name what is wrong and mend it"):
        yield problem
    for match in re.finditer(r"\bTODO\b:?([^\n]*)", text):
        if len(match.group(1).split()) < 3:
            yield f"{tree.line_of(text, match.start())}: TODO without its reason"


# In pieces, since this file is read as well.
FOREIGN = "|".join([r"\.\./" + "shared", "/work" + "/", "/tmp/" + "hf/", "/home" + r"/\w+/"])


def foreign_paths(_path, text):
    return tree.find_all(FOREIGN, text, "{0}: a path of somebody's machine")


def unformatted(text):
    """The text without what stands between clang-format off and on: tables are aligned by hand."""
    return re.sub(r"clang-format off.*?clang-format on",
                  lambda match: "\n" * match.group(0).count("\n"), text, flags=re.S)


def long_lines(path, text):
    for number, line in enumerate(unformatted(text).split("\n"), 1):
        if len(line.expandtabs(8)) > 100 and not re.search(r"https?://\S{60}", line):
            yield f"{number}: {len(line.expandtabs(8))} columns"


def trailing_space(_path, text):
    yield from tree.find_all(r"[ \t]+$", text, "space at the end of the line")
    if text and not text.endswith("\n"):
        yield f"{text.count(chr(10)) + 1}: no newline at the end"


def functions(text):
    """(first line of the body, number of lines of it) of each function."""
    start = None
    for number, line in enumerate(tree.code_of(text).split("\n"), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number - start - 1
            start = None


FUNCTION_LINES, FUNCTION_LINES_NEVER = 70, 100


def long_functions(_path, text):
    for line, count in functions(text):
        if count > FUNCTION_LINES_NEVER:
            yield f"{line}: a function of {count} lines"


def long_files(_path, text):
    if text.count("\n") > 700:
        yield f"1: {text.count(chr(10))} lines: is it still one idea?"


def conditional_code(_path, text):
    """#if inside of functions."""
    inside = False
    for number, line in enumerate(tree.code_of(text).split("\n"), 1):
        if line.startswith(("{", "}")):
            inside = line.startswith("{")
        elif inside and re.match(r"\s*#\s*if", line):
            yield f"{number}: #if inside of a function: a file per variant, or a stub"


def script_sleeps(path, text):
    if path.endswith(".py"):
        return tree.find_all(r"\btime\.sleep\s*\(", text, "sleep: wait for the event")
    return tree.find_all(r"^\s*(sleep|usleep)\s+[0-9$]", text, "sleep: wait for the event")


def product(path):
    return tree.is_c(path) and path.startswith(PRODUCT)


def text_file(path):
    return not path.endswith((".bin", ".png", ".raw", ".hfs")) and \
        not path.startswith(("tests/vectors/", "tests/fuzz/corpus/"))


def licensed(path):
    return path.endswith((".c", ".h", ".S", ".ld", ".sh", ".py", ".pml", ".supp", "meson.build",
                          "Makefile"))


def formatted(path):
    return path.endswith((".c", ".h", ".S", ".sh", ".py", ".pml", "meson.build"))


BODY = "void f(void)\n{\n%s}\n"


def main():
    tap = tree.Tap()
    tap.rule("no banned calls", banned_calls,
             lambda path: tree.is_c(path) and not path.startswith("tests/tree"),
             [("lib/x.c", "\tsprintf(a, b);\n"), ("lib/x.c", "\tstrcpy(a, b);\n"),
              ("tests/unit/x.c", "\t(void)usleep(5);\n"),
              ("vmm/x.c", "x = atoi (s);\n"), ("tools/x.c", "\tfd = dup2(1, 2);\n")])
    tap.rule("the library does not print, exit or touch signals", lib_calls,
             lambda path: tree.is_c(path) and path.startswith("lib/"),
             [("lib/engine/x.c", "\tfprintf(stderr, x);\n"), ("lib/base/x.c", "\texit(1);\n")])
    tap.rule("descriptors are closed on exec", cloexec, product,
             [("lib/x.c", "\tfd = open(path,\n\t\tO_RDONLY);\n"), ("vmm/x.c", "socket(1, 2, 0);"),
              ("tools/x.c", 'f = fopen(p, "r");')])
    tap.rule("comments that stay are /* */", line_comments, tree.is_c,
             [("lib/x.c", "\ta = b; // why\n"), ("lib/x.h", '"x"; //y\n')])
    tap.rule("structs have no typedef", typedefs, product, [("lib/x.h", "typedef struct a b;\n")])
    tap.rule("sizes are fixed width, not off_t", off_t, product, [("lib/x.h", "\toff_t at;\n")])
    tap.rule("each file says its licence, and what it is for", license_line, licensed,
             [("lib/x.c", "int x;\n"), ("x.sh", "#!/bin/sh\n"),
              ("lib/x.c", "/* SPDX-License-Identifier: BSD-3-Clause */\n#include <x>\n")])
    tap.rule("what is open says why", open_ends,
             lambda path: text_file(path) and path != "tests/tree/house.py",
             [("lib/x.c", "/* TO" "DO */"), ("docs/x.md", "FIX" "ME: later"), ("a", "XX" "X")])
    tap.rule("the tree stands alone", foreign_paths, text_file,
             [("docs/x.md", "see ../" "shared/x"), ("a.sh", "cd /work" "/main")])
    tap.rule("lines of at most 100 columns", long_lines, formatted,
             [("lib/x.c", "\t" * 12 + "12345\n"), ("x.sh", "#" * 101)])
    tap.rule("no space at the ends of lines", trailing_space,
             lambda path: formatted(path) or path.endswith((".md", ".scd")),
             [("lib/x.c", "int a; \n"), ("x.sh", "a\n\t\n"), ("x.py", "a")])
    tap.rule(f"functions of at most {FUNCTION_LINES_NEVER} lines", long_functions, tree.is_c,
             [("lib/x.c", BODY % ("\tx++;\n" * 101))])
    tap.rule("files of at most 700 lines", long_files, tree.is_c, [("lib/x.c", "\n" * 701)])
    tap.rule("no #if inside of functions", conditional_code, product,
             [("lib/x.c", BODY % "\ta();\n#ifdef X\n\tb();\n#endif\n")])
    tap.rule("tests do not sleep", script_sleeps,
             lambda path: path.startswith("tests/") and path.endswith((".sh", ".py"))
             and path != "tests/tree/house.py",
             [("tests/x.sh", "\tsleep 1\n"), ("tests/x.py", "time.sleep(" "3)")])
    for path in tree.files():
        for line, count in functions(tree.read(path)) if tree.is_c(path) else ():
            if FUNCTION_LINES < count <= FUNCTION_LINES_NEVER:
                print(f"# to be looked at: {path}:{line}: a function of {count} lines")
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
