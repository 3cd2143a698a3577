#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_floors.py: every include stays on its floor; see src/README.md.

A file includes headers of its own folder and of lower floors. The adapters,
and everything outside src, see public headers only, but for the tests of the
library's inside. Nothing includes tests.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOOR = {
    "base": 0, "platform": 1, "core": 2, "fixed": 3, "buddy": 3, "layout": 3,
    "arena": 4, "refbuf": 5, "uv": 6, "uring": 6,
}
PUBLIC_ONLY = ("src/uv", "src/uring", "examples", "bench", "tests/package",
               "tests/unit/uv", "include")
PUBLIC_SYSTEM = {"stdbool.h", "stddef.h", "stdint.h", "sys/uio.h", "uv.h",
                 "liburing.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)


def objection(path, mark, header):
    """Why the file at `path`, from the root, may not include `header`."""
    folder, top = path.parent.as_posix(), header.split("/")[0]
    if ".." in header or top == "tests":
        return "leaves its folder"
    if folder == "include/weir" and mark == "<":
        if top != "weir" and header not in PUBLIC_SYSTEM:
            return "a public header shows too much of the system"
    if mark == "<" or top == "weir" or "/" not in header:
        return None  # the system, the public headers, or its own folder
    if folder.startswith(PUBLIC_ONLY):
        return "sees public headers only"
    if top == "support" and folder.startswith("tests"):
        return None
    if top not in FLOOR:
        return "is on no floor"
    own = path.parts[1] if path.parts[0] == "src" else None
    if own and own != top and FLOOR[top] >= FLOOR[own]:
        return "is not below"
    return None


def main():
    failed = False
    for path in sorted(ROOT.glob("*/**/*.[ch]")):
        path = path.relative_to(ROOT)
        if path.parts[0] not in ("include", "src", "tests", "bench",
                                 "examples"):
            continue
        text = (ROOT / path).read_text()
        if path.parts[0] == "src" and (
                len(path.parts) != 3 or path.parts[1] not in FLOOR):
            print(f"{path}: is on no floor")
            failed = True
            continue
        for match in INCLUDE.finditer(text):
            reason = objection(path, *match.groups())
            if reason:
                line = text.count("\n", 0, match.start(1)) + 1
                print(f"{path}:{line}: {match.group(2)}: {reason}")
                failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
