"""Memory that was used for large messages goes back to the system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Blocks as large messages leave them behind: between small ones that stay.
PROGRAM = """
import sys
from pathlib import Path
from openenv_server.operations.memory import return_free_memory

def rss():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

if sys.argv[1] == "returns":
    return_free_memory()
first = bytes(8 << 20)
del first
before = rss()
large, small = [], []
for _ in range(200):
    large.append(bytes(b"x") * (1 << 20))
    small.append(bytes(b"x") * 60_000)
large.clear()
print(rss() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_free_blocks_between_small_ones_are_returned() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    kept = {
        how: float(subprocess.check_output([sys.executable, "-c", PROGRAM, how], env=environment))
        for how in ("keeps", "returns")
    }
    print(f"MiB kept after 200 messages of 1 MiB: {kept}")
    assert kept["returns"] < 30  # the small ones
    assert kept["keeps"] > 100, "glibc returns them by default: the setting is not needed any more"
