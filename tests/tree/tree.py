# SPDX-License-Identifier: BSD-3-Clause
"""
What the tree tests share: which files there are, C without its comments, and TAP.

A rule is a function of (path, text) that yields "line: what is wrong". Every rule comes with a text
that it must find something in: a rule that cannot fail is no rule.
"""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files():
    """Paths of the files under version control; in a tarball of all but build folders."""
    listing = None
    if os.path.exists(os.path.join(TOP, ".git")):
        listing = subprocess.run(["git", "-C", TOP, "ls-files", "-z"], capture_output=True,
                                 check=False)
    if listing and listing.returncode == 0 and listing.stdout:
        paths = listing.stdout.decode().split("\0")[:-1]
        return sorted(path for path in paths if os.path.isfile(os.path.join(TOP, path)))
    found = []
    for folder, names, leaves in os.walk(TOP):
        names[:] = [name for name in names if not re.match(r"\.git$|build|__pycache__", name)]
        found += [os.path.relpath(os.path.join(folder, leaf), TOP) for leaf in leaves]
    return sorted(found)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="replace") as file:
        return file.read()


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def code_of(text, keep_strings=False):
    """C with comments (and the inside of strings) as spaces: columns and lines stay."""
    def replace(match):
        token = match.group(0)
        if token[0] == "/":
            return blank(token)
        return token if keep_strings else token[0] + blank(token[1:-1]) + token[-1]
    return TOKEN.sub(replace, text)


def is_c(path):
    return path.endswith((".c", ".h"))


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def find_all(regex, text, words):
    """A problem for each match; words may use its groups as {0}, {1}."""
    for match in re.finditer(regex, text, re.M):
        yield f"{line_of(text, match.start())}: " + words.format(match.group(0), *match.groups())


class Tap:
    """Prints one test after another; status() at the end."""

    def __init__(self):
        self.count = 0
        self.failures = 0

    def test(self, name, problems, shown=40):
        problems = list(problems)
        self.count += 1
        self.failures += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}")
        for problem in problems[:shown]:
            print(f"# {problem}")
        if len(problems) > shown:
            print(f"# and {len(problems) - shown} more")

    def skip(self, name, why):
        self.count += 1
        print(f"# {why}\nok {self.count} - {name} # SKIP {why}")

    def status(self):
        print(f"1..{self.count}")
        sys.stdout.flush()
        return 1 if self.failures else 0

    def rule(self, name, rule, wanted, planted):
        """
        The rule holds in all files that wanted(path) takes; and it finds what is planted, a list of
        (path, text).
        """
        self.test(name, (f"{path}:{problem}" for path in files() if wanted(path)
                         for problem in rule(path, read(path))))
        blind = [f"not seen in {path}: {text!r}" for path, text in planted
                 if not (wanted(path) and list(rule(path, text)))]
        self.test(f"{name}: a planted violation is found", blind)
