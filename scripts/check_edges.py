#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_edges.py: every edge of the memory order has a name and two ends.

An edge is declared under "Edges" at the top of a file, ` *   [slot]  give,
release -> take, acquire`, and both its ends carry the name: `/* [slot] */`.
Fails on a name that is declared and unused, used and undeclared or has one end
only, and on an acquire or a release without a name. A folder declares the edges
it uses; the other end may be in another folder that declares it too.
"""
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECLARED = re.compile(r"^ \*   \[(\w+)\]  ", re.M)
OPERATION = re.compile(
    r"\bwr_(?:\w+_(?:acquire|release|acq_rel|seq)|publish|observe)(?=\()")
NAMES = re.compile(r"\[(\w+)\]")
ENDS = {"acquire": {"in"}, "release": {"out"},
        "observe": {"in"}, "publish": {"out"}}


def statements(text):
    """(line, code, comments) of each statement; a comment behind its `;` or
    `{` on the same line is the statement's own."""
    pattern = re.compile(r"(?:/\*.*?\*/|[^;{}/]|/(?!\*))*"
                         r"[;{}](?:[ \t]*/\*.*?\*/)?", re.S)
    for match in pattern.finditer(text):
        comments = " ".join(re.findall(r"/\*.*?\*/", match.group(), re.S))
        code = re.sub(r"/\*.*?\*/", "", match.group(), flags=re.S)
        yield text.count("\n", 0, match.end()) + 1, code, comments


def check_folder(folder, operations, all_ends):
    """Errors of one folder; adds the ends it has to `all_ends`."""
    declared, ends, errors = set(), defaultdict(set), []
    for path in sorted(folder.glob("*.[ch]")):
        if path.name == "atomic.h":
            continue
        text = path.read_text()
        name = path.relative_to(ROOT)
        declared.update(DECLARED.findall(text))
        for line, code, comments in statements(text):
            found = operations.intersection(OPERATION.findall(code))
            edges = NAMES.findall(comments) if found else []
            if found and not edges:
                errors.append(f"{name}:{line}: {min(found)} without an edge")
            for edge in edges:
                for operation in found:
                    order = operation.rsplit("_", 1)[1]
                    ends[edge] |= ENDS.get(order, {"in", "out"})
    name = folder.relative_to(ROOT)
    errors += [f"{name}: [{e}] is declared and unused" for e in
               sorted(declared - ends.keys())]
    errors += [f"{name}: [{e}] is used and undeclared" for e in
               sorted(ends.keys() - declared)]
    for edge, sides in ends.items():
        all_ends[edge] |= sides
    return errors


def main():
    atomic = (ROOT / "src/base/atomic.h").read_text()
    operations = set(OPERATION.findall(atomic))
    ends = defaultdict(set)
    errors = [e for folder in sorted((ROOT / "src").iterdir())
              if folder.is_dir()
              for e in check_folder(folder, operations, ends)]
    errors += [f"[{e}] has one end" for e in sorted(ends) if len(ends[e]) == 1]
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
