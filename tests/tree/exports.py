#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
What the library exports is what the public headers declare; each function has a comment above it
(or above the group it stands in), and stands in a manual page. Arguments: the library's file.
"""
import re
import subprocess
import sys

import tree

DECLARATION = re.compile(r"^(?!\s|#)[\w \t*]*?\b(hf_\w+)\(", re.M)


def declared(text):
    """{function: offset} of the functions a header declares."""
    code = re.sub(r"^\s*#.*?(?<!\\)$", lambda match: tree.blank(match.group(0)),
                  tree.code_of(text), flags=re.M | re.S)
    return {match.group(1): match.start() for match in DECLARATION.finditer(code)}


def uncommented(text):
    """Functions in a paragraph that does not begin with a comment."""
    for name, offset in declared(text).items():
        paragraph = text[:offset].rpartition("\n\n")[2]
        if "*/" not in paragraph:
            yield f"{tree.line_of(text, offset)}: {name} has no comment"


def exported(library):
    listing = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True,
                             text=True, check=True).stdout
    names = [line.split()[2].split("@")[0] for line in listing.splitlines()
             if line.split()[1] != "A"]
    return set(names)


def differences(library_has, headers_have):
    for name in sorted(library_has - headers_have):
        yield f"{name} is exported, and no public header declares it"
    for name in sorted(headers_have - library_has):
        yield f"{name} is declared, and the library does not export it"


def main():
    tap = tree.Tap()
    headers = [path for path in tree.files() if re.match(r"include/holdfast/[\w-]+\.h$", path)]
    names = {name for path in headers for name in declared(tree.read(path))}

    tap.test("exported is what is declared", differences(exported(sys.argv[1]), names))
    tap.test("exported: differences are found",
             [] if len(list(differences({"hf_a", "x"}, {"hf_a", "hf_b"}))) == 2 else ["blind"])
    tap.test("each function has a comment",
             (f"{path}:{problem}" for path in headers for problem in uncommented(tree.read(path))))
    planted = "/* a */\nint hf_a(void);\n\nint hf_b(int\n\t x);\n#define hf_c(x) (x)\n"
    tap.test("comments: a function without is found",
             [] if [p.split()[1] for p in uncommented(planted)] == ["hf_b"] else ["blind"])

    pages = [path for path in tree.files() if re.search(r"\.3\.scd$", path)]
    if pages:
        text = "\n".join(tree.read(path) for path in pages)
        tap.test("each function stands in a manual page",
                 (f"{name}" for name in sorted(names)
                  if not re.search(rf"\b{name}\b", text.replace("\\_", "_"))))
    else:
        tap.skip("each function stands in a manual page", "there are no pages of section 3 yet")
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
