#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""count_tests.py BUILD...: what the tests of these builds came to.

Reads BUILD/junit.xml, as CTest writes it. A program of Criterion counts as the
cases it ran, any other as one. The last line is `N passed, M failed, K
skipped`. Fails when a test failed, when there was none, or when a build left
no result: it did not compile.
"""
import re
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

SYNTHESIS = re.compile(r"Synthesis: Tested: (\d+) \| Passing: (\d+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def count(case):
    """(passed, failed, skipped) of one program."""
    status = case.get("status")
    if status == "notrun":
        # Exit 77 is a skip; a program that is not there is a failure.
        why = [note.get("message", "") for note in case.iter("skipped")]
        return (0, 0, 1) if "SKIP_RETURN_CODE=77" in why else (0, 1, 0)
    failed = status != "run"
    output = COLOUR.sub("", case.findtext("system-out") or "")
    synthesis = SYNTHESIS.findall(output)
    if not synthesis:
        return (0, 1, 0) if failed else (1, 0, 0)
    tested, passed = map(int, synthesis[-1])
    # A program that passes its cases and fails, as under ASan, has failed.
    return passed, max(tested - passed, int(failed)), 0


def count_build(build):
    """The sum of a build, and a line for each program that failed."""
    results = Path(build, "junit.xml")
    if not results.exists():
        print(f"{build}: no results")
        return 0, 1, 0
    total = [0, 0, 0]
    for case in xml.parse(results).getroot().iter("testcase"):
        counts = count(case)
        total = [a + b for a, b in zip(total, counts)]
        if counts[1]:
            print(f"{build}: {case.get('name')} failed")
        if counts[2]:
            print(f"{build}: {case.get('name')} skipped")
    print(f"{build}: " + "{} passed, {} failed, {} skipped".format(*total))
    return total


def main():
    totals = [count_build(build) for build in sys.argv[1:]]
    passed, failed, skipped = map(sum, zip(*totals))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
