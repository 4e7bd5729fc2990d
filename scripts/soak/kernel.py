"""The kernel's buffers of a process's TCP connections: with cgroup v2 they count as its memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

_MEMORY = re.compile(r"skmem:\(r(\d+),rb\d+,t(\d+),tb\d+,f(\d+),w(\d+),o(\d+)")
"""Received, sent, reserved, waiting to be sent, and options, in bytes; see ss(8)."""


def require() -> None:
    """End with a message if the buffers cannot be measured."""
    if shutil.which("ss") is None:
        sys.exit("The kernel's buffers cannot be measured: there is no ss (package iproute2).")


def buffers(process: int) -> int:
    """Return the bytes of the buffers of a process's connections.

    Args:
        process: its number.

    Raises:
        subprocess.CalledProcessError: if ss fails.
    """
    command = ["ss", "--tcp", "--numeric", "--memory", "--processes", "--no-header", "--oneline"]
    return total(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout, process
    )


def total(lines: str, process: int) -> int:
    """Return the bytes of a process's connections in the output of ss, one a line."""
    owned = (line for line in lines.splitlines() if f"pid={process}," in line)
    found = (_MEMORY.search(line) for line in owned)
    return sum(sum(map(int, each.groups())) for each in found if each)
