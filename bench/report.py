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
    locked   locked instructions a call, on average and at most; these are
             counted, not measured
"""

import argparse
import json
import sys


def number(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def verdict(case):
    """The goal of a case, and whether it was met."""
    if "goal" not in case:
        return ""
    unit = {"R": " R", "base": " x", "locked": " locked",
            "locked_most": " locked ever"}[case["goal_of"]]
    met = "pass" if case["pass"] else "MISSED"
    return f"<= {case['goal']:g}{unit}  {met}"


def judged(case):
    """The number that the goal of a case is about."""
    return case[{"R": "ratio", "base": "base_ratio", "locked": "locked",
                 "locked_most": "locked_most"}[case["goal_of"]]]


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
    return [case["case"], number(case.get("locked")),
            number(case.get("locked_most"), "{:d}"), verdict(case)]


def print_table(heading, rows):
    rows = [heading] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    words = {"case", "candidate", "goal", "of"}
    for row in rows:
        cells = [cell.ljust(width) if title in words else cell.rjust(width)
                 for title, cell, width in zip(heading, row, widths)]
        print("  ".join(cells).rstrip())


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
    if any("locked" in case for case in ran):
        print_table(["case", "average", "most", "goal"],
                    [counted_row(case) for case in ran])
    elif ran:
        print_table(["case", "candidate", "threads", "min ns", "p25 ns",
                     "median ns", "R", "against", "goal", "of"],
                    [measured_row(case) for case in ran])
    for case in cases:
        if "skipped" in case:
            print(f"skipped: {case['case']}, {case['candidate']}: "
                  f"{case['skipped']}")


def print_goals(cases):
    goals = [case for case in cases if "goal" in case]
    print("\n== goals")
    if goals:
        print_table(["case", "measured", "goal"],
                    [[f"{case['bench']}: {case['case']}",
                      number(judged(case)), verdict(case)] for case in goals])
    return bool(goals) and all(case["pass"] for case in goals)


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
        benches.setdefault(case["bench"], []).append(case)
    for name, of_bench in benches.items():
        print_bench(name, of_bench)
    good = print_goals(cases) and not strange
    return 1 if arguments.strict and not good else 0


if __name__ == "__main__":
    sys.exit(main())
