"""Type Ctrl-C at a pseudo terminal, which Wine makes a console: ``ctrl_c.py PYTHON SCRIPT``."""

import re
import sys
import time

import pexpect

program = pexpect.spawn(
    sys.argv[1], sys.argv[2:], encoding="utf-8", timeout=90, dimensions=(50, 200)
)
program.expect("ready")
time.sleep(1.5)  # the map waits
program.sendcontrol("c")
try:
    program.expect("the end")
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", program.before)
except (pexpect.EOF, pexpect.TIMEOUT):
    told = f"no end\n{program.before}"
program.close(force=True)
print("Ctrl-C at the console:", " ".join(told.split()))
if not re.search(r"interrupted, True\s+workers [12] and [12]", told) or "Traceback" in told:
    sys.exit("windows.sh: Ctrl-C did not end the map as it should")
