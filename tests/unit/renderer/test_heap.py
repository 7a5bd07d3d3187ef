"""What was freed goes back to the machine."""

from __future__ import annotations

import subprocess
import sys

HOLDS = """
import numpy as np
from renderer.capture.heap import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

np.ones(30_000_000, np.uint8)  # freed at once: from now on the C library keeps arrays of this size
held = [np.ones(1_000_000, np.uint8) for _ in range(60)]
last = held[-1]  # lies behind them
del held
before = resident()
give_back()
print(before - resident())
"""


def test_arrays_that_were_freed_are_given_back() -> None:
    given = subprocess.run([sys.executable, "-c", HOLDS], capture_output=True, text=True, check=True)
    assert int(given.stdout) > 40_000_000
