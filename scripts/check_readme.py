#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_readme.py README HELLO: the program shown is the program tested.

One of README's C blocks must be HELLO to the letter, but for HELLO's licence
line.
"""
import re
import sys
from pathlib import Path

readme, hello = (Path(name).read_text() for name in sys.argv[1:])
hello = re.sub(r"\A/\* SPDX-License-Identifier: .*\*/\n", "", hello).strip()
blocks = re.findall(r"^```c\n(.*?)^```$", readme, re.S | re.M)
if not any(block.strip() == hello for block in blocks):
    sys.exit(f"no C block of {sys.argv[1]} is {sys.argv[2]}")
