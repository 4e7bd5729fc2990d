"""A short version of scripts/soak.sh: faults under load, limits, and memory."""

from __future__ import annotations

import re
import subprocess
import sys

import lab
import pytest

# These tests need the whole machine: other load would change their results.
pytestmark = [pytest.mark.alone, pytest.mark.slow]

SOAK = lab.ROOT / "scripts" / "soak"


def run(script: str, *arguments: str) -> str:
    """Run a script of the soak test; return what it prints."""
    done = subprocess.run(
        [sys.executable, SOAK / script, *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_faults() -> None:
    """Faults under load lose no request that need not be lost, and cause no wrong answer."""
    table = run("main.py", "0")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    by_name = {row[0]: row for row in rows if row}
    assert len(by_name) == 10, table
    for name in ("rolling restart of two proxies", "clients do not read", "clients send garbage"):
        _, times, requests, errors, lost, wrong, _ = by_name[name]
        assert int(times) > 1
        assert int(requests) > 0
        assert (errors, lost, wrong) == ("0", "0", "0")


def test_limits() -> None:
    """A fiftieth of the limits is filled by all kinds of clients, alone and together."""
    printed = run("limits.py", "0.02")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    each = {row[0]: int(row[3].split()[0]) for row in rows if row and row[-1].endswith(" KiB")}
    assert len(each) == 12, printed
    assert re.search(r"All at once: \d+ of 80 connections, \d+ of 20 requests, .*: pass", printed)


def test_memory() -> None:
    """Memory grows by less than 10 % in a short run; only a long one shows no growth."""
    printed = run("memory.py", "2000", "1")
    assert re.search(r"2000 requests, 1 GiB of artifacts: resident memory .* 1\.0\d\d ", printed)
