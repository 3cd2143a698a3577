#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what the benches measured, for people.

    for bench in build/release/bench/bench_*; do $bench; done | bench/report.py
    bench/report.py [--strict] [FILE...]

Reads the benches' JSON lines from FILE, or standard input, and prints one
table a bench, then every goal with the number it was held against. With
--strict the exit status is 1 if a goal was missed, if there was none, or if a
line is not a bench's.

    ns       minimum, lower quartile and median of the windows
    R        lower quartile, in units of one lock xadd of the same run
    against  lower quartile, compared with that of the case in the last column
    average  locked instructions an operation, and the most in one; shared:
             writes to cache lines that another thread writes too; moved: those
             to a line that the other one wrote last; all counted, not measured
    told     looked up: sizes, or how often something happened
"""

import argparse
import json
import sys


def number(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


UNITS = {"R": " R", "ns": " ns", "base": " x", "more ns": " ns more",
         "locked": " locked", "most": " locked ever",
         "shared": " to shared lines"}


def wanted(goal):
    """The limit of a goal, in words."""
    sign = ">=" if goal["least"] else "<="
    unit = UNITS.get(goal["of"], f" {goal['of']}")
    return f"{sign} {goal['limit']:g}{unit}"


def verdict(case):
    """The goals of a case, and whether they were met."""
    return "; ".join(f"{wanted(goal)}  {'pass' if goal['pass'] else 'MISSED'}"
                     for goal in case.get("goals", []))


def measured_row(case):
    return [case["case"], case["candidate"], str(case["threads"]),
            number(case.get("min_ns")), number(case.get("p25_ns")),
            number(case.get("median_ns")), number(case.get("ratio")),
            number(case.get("base_ratio")), verdict(case),
            short(case)]


def short(case):
    """What a case is compared with, as far as it does not say so itself."""
    base = case.get("base")
    if not base:
        return ""
    name, candidate = base.rsplit(": ", 1)
    return candidate if name == case["case"] else name


def counted_row(case):
    return [case["case"], number(case.get("locked"), "{:.3f}"),
            number(case.get("locked_most"), "{:d}"),
            number(case.get("shared"), "{:.3f}"),
            number(case.get("moved"), "{:.3f}"), verdict(case)]


def told_row(case):
    return [case["case"], f"{case['value']:g} {case['unit']}", verdict(case)]


def print_table(heading, rows):
    rows = [heading] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    words = {"case", "candidate", "goal", "of", "wanted", "verdict"}
    for row in rows:
        cells = [cell.ljust(width) if title in words else cell.rjust(width)
                 for title, cell, width in zip(heading, row, widths)]
        print("  ".join(cells).rstrip())


MEASURED = ["case", "candidate", "threads", "min ns", "p25 ns", "median ns",
            "R", "against", "goal", "of"]
COUNTED = ["case", "average", "most", "shared", "moved", "goal"]


def print_bench(name, cases):
    ran = [case for case in cases if "skipped" not in case]
    first = ran[0] if ran else cases[0]
    about = [f"weir at {first.get('commit', 'unknown')}"]
    if "machine" in first:
        about += [first["machine"], f"linked {first['linked']}",
                  f"load {first['load']}"]
    if first.get("quick"):
        about.append("QUICK: NOT FOR COMPARING")
    print(f"\n== {name}: " + ", ".join(about))
    kinds = [("p25_ns", MEASURED, measured_row),
             ("locked", COUNTED, counted_row),
             ("value", ["case", "told", "goal"], told_row)]
    for key, heading, row in kinds:
        rows = [row(case) for case in ran if key in case]
        if rows:
            print_table(heading, rows)
    for case in cases:
        if "skipped" in case:
            print(f"skipped: {case['case']}, {case['candidate']}: "
                  f"{case['skipped']}")


def rank(name):
    """G2 comes before G10, and what has no number last."""
    digits = name[1:]
    return (0, int(digits)) if digits.isdigit() else (1, 0)


def goal_row(case, goal):
    candidate = case.get("candidate", "weir")
    who = "" if candidate == "weir" else f", {candidate}"
    linked = ", shared" if case.get("linked") == "shared" else ""
    return [goal["goal"] or "-", f"{case['bench']}{linked}: {case['case']}{who}",
            number(goal["value"], "{:.3f}"), wanted(goal),
            "pass" if goal["pass"] else "MISSED"]


def print_goals(cases):
    goals = [(case, goal) for case in cases for goal in case.get("goals", [])]
    goals.sort(key=lambda pair: rank(pair[1]["goal"]))
    print("\n== goals")
    if goals:
        print_table(["goal", "case", "measured", "wanted", "verdict"],
                    [goal_row(case, goal) for case, goal in goals])
    missed = sum(not goal["pass"] for _, goal in goals)
    print(f"{len(goals) - missed} of {len(goals)} met")
    return bool(goals) and missed == 0


def parse(line):
    """The case that `line` holds, or None."""
    try:
        case = json.loads(line)
    except ValueError:
        return None
    return case if isinstance(case, dict) and "bench" in case else None


def read(files):
    """The cases, and how many lines were none."""
    cases, strange = [], 0
    for file in files:
        for line in file:
            case = parse(line)
            if case:
                cases.append(case)
            else:
                strange += 1
                print(f"not a bench's line: {line.rstrip()}", file=sys.stderr)
    return cases, strange


def main():
    parser = argparse.ArgumentParser(
        description="prints what the benches measured")
    parser.add_argument("--strict", action="store_true",
                        help="exit 1 if a goal was missed")
    parser.add_argument("files", nargs="*", type=argparse.FileType("r"))
    arguments = parser.parse_args()
    cases, strange = read(arguments.files or [sys.stdin])

    benches = {}
    for case in cases:
        name = case["bench"]
        if case.get("linked") == "shared":
            name += ", weir in a shared library"
        benches.setdefault(name, []).append(case)
    for name, of_bench in benches.items():
        print_bench(name, of_bench)
    good = print_goals(cases) and not strange
    return 1 if arguments.strict and not good else 0


if __name__ == "__main__":
    sys.exit(main())
