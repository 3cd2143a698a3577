#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutate.py BUILD: breaks the library in every way of mutants.txt and requires
that the model notices.

BUILD is where CMake built weir_model; `rules.json` there says of what, and how. Each mutant is built from a copy of the file it changes. It is refuted
when a case fails. Exit 1 if one is not, or if one is that mutants.txt says
cannot be.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SRC = HERE.parents[2] / "src"
SOURCE = re.compile(r"/src/(\w+/\w+\.c)\.o$")
PART = re.compile(r"/(library_\w+\.c)\.o$")  # which is of one of src


def find_source(built):
    """What an object was built from, and which file of src that is."""
    match = SOURCE.search(built)
    if match:
        return SRC / match.group(1), match.group(1)
    source = HERE / PART.search(built).group(1)
    return source, re.search(r'"(\w+/\w+\.c)"', source.read_text()).group(1)


class Mutant:
    """One block of mutants.txt: a name, a file and what to change there."""

    def __init__(self, block):
        head, self.file, *rest = block.splitlines()
        self.name, self.what = head.split(": ", 1)
        self.reason, self.changes = None, []
        old, new = [], []
        for line in rest + ["-"]:
            if line[0] == "=":
                self.reason = line[1:]
            elif line[0] == "+":
                new.append(line[1:])
            else:
                if new:
                    self.changes.append(("\n".join(old), "\n".join(new)))
                    old, new = [], []
                old.append(line[1:])

    def apply(self):
        """The file's text, broken."""
        text = (SRC / self.file).read_text()
        for old, new in self.changes:
            if text.count(old) != 1:
                raise SystemExit(f"{self.name}: {self.file} has no such text, "
                                 f"or more than one:\n{old}")
            text = text.replace(old, new)
        return text


def build(mutant, rules, folder):
    """The program with the mutant in it."""
    shutil.rmtree(folder, ignore_errors=True)  # of an older run
    copy = folder / "src" / mutant.file
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(mutant.apply())
    everywhere = mutant.file.endswith(".h")
    objects = list(rules["simulator"])
    for old in rules["library"]:
        source, file = find_source(old)
        if file != mutant.file and not everywhere:
            objects.append(old)
            continue
        if file == mutant.file and source == SRC / file:
            source = copy
        new = str(folder / (re.sub(r"\W", "_", file) + ".o"))
        subprocess.run([rules["compiler"], f"-I{HERE}/under",
                        f"-I{folder}/src", *rules["flags"], "-c", str(source),
                        "-o", new], check=True)
        objects.append(new)
    program = folder / "weir_model"
    subprocess.run([rules["compiler"], *objects, "-o", str(program)],
                   check=True)
    return program


def judge(mutant, rules, folder):
    """What the case that fails says; None: none does."""
    run = subprocess.run([build(mutant, rules, folder / mutant.name), "refute"],
                         capture_output=True, text=True)
    if run.returncode not in (0, 1):
        return f"exit {run.returncode}: {run.stdout[-200:]}"
    return run.stdout.strip() or None


def main():
    folder = Path(sys.argv[1])
    rules = json.loads((folder / "rules.json").read_text())
    text = re.sub(r"^#.*\n", "", (HERE / "mutants.txt").read_text(), flags=re.M)
    wanted = sys.argv[2:]
    mutants = [Mutant(block) for block in text.strip().split("\n\n")]
    mutants = [m for m in mutants if not wanted or m.name in wanted]

    bad = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = pool.map(lambda m: judge(m, rules, folder / "mutants"),
                            mutants)
        for mutant, verdict in zip(mutants, verdicts):
            good = (verdict is None) == (mutant.reason is not None)
            bad += not good
            told = verdict or f"not refuted: {mutant.reason or 'why?'}"
            print(f"{'ok' if good else 'BAD':4} {mutant.name:26} {told}",
                  flush=True)
    print(f"{len(mutants)} mutants tried")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
