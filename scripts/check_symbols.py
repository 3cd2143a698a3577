#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_symbols.py BUILD: the names of the libraries in BUILD/src.

A shared library exports just what its headers declare with WEIR_API, no more
and no less, and a static one has no global name but with weir_ or wr_. libweir calls no
allocator but its own.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"/\*.*?\*/", re.S)
DECLARED = re.compile(r"WEIR_API\b[^;{]*?\b(weir_\w+)\s*\(")


ALLOCATORS = {"malloc", "calloc", "realloc", "reallocarray", "free",
              "posix_memalign", "aligned_alloc", "memalign", "valloc",
              "strdup", "strndup", "asprintf", "vasprintf"}


def calls(library, *options):
    """The names that `library` wants from others."""
    text = subprocess.run(["nm", "--undefined-only", *options, library],
                          check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in text.splitlines()
            if " U " in line}


def check_calls(library):
    if "uv" in library.name:
        return []
    options = ["-D"] if library.suffix == ".so" else []
    return [f"{name} is called" for name in
            sorted(calls(library, *options) & ALLOCATORS)]


def symbols(library, *options):
    """The names that `library` defines; version nodes (type A) are none."""
    lines = subprocess.run(["nm", "--defined-only", *options, library],
                           check=True, capture_output=True, text=True).stdout
    fields = [line.split() for line in lines.splitlines()]
    return {f[2].split("@")[0] for f in fields if len(f) == 3 and f[1] != "A"}


def headers_of(library):
    name = library.stem.removeprefix("lib").removeprefix("weir_")
    return ["weir.h", "heap.h"] if name == "weir" else [name + ".h"]


def check_shared(library):
    headers = headers_of(library)
    text = "".join((ROOT / "include/weir" / header).read_text()
                   for header in headers)
    declared = set(DECLARED.findall(COMMENT.sub("", text)))
    exported = symbols(library, "-D")
    where = " or ".join(headers)
    return ([f"{name} is exported and not in {where}"
             for name in sorted(exported - declared)] +
            [f"{name} is in {where} and not exported"
             for name in sorted(declared - exported)])


def check_static(library):
    return [f"{name} has no prefix" for name in sorted(symbols(library, "-g"))
            if not name.startswith(("weir_", "wr_"))]


def main():
    folder = Path(sys.argv[1], "src")
    found = [(library, error) for check, pattern in
             ((check_shared, "lib*.so"), (check_static, "lib*.a"))
             for library in sorted(folder.glob(pattern))
             for error in check(library) + check_calls(library)]
    for library, error in found:
        print(f"{library}: {error}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
