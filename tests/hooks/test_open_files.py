"""How many files may be open, and how many clients that allows."""

from __future__ import annotations

import subprocess
import sys

import pytest

from addon.hooks import open_files


@pytest.mark.parametrize(
    ("wanted", "files", "expected"),
    [
        (10_000, None, 10_000),
        (10_000, 2**20, 10_000),
        (10_000, 20_200, 10_000),
        (10_000, 20_199, 9_999),
        (10_000, 1024, 412),
        (100, 1024, 100),
        # With few open files, half of them are kept for other uses.
        (10_000, 64, 16),
        (10_000, 3, 1),
        (1, 1024, 1),
    ],
)
def test_clients(wanted: int, files: int | None, expected: int) -> None:
    """Each client may need two open files, and some files are kept for other uses."""
    assert open_files.clients(wanted, files) == expected


def test_soft_limit() -> None:
    """The soft limit is raised to the hard one, so that it is what is allowed."""
    code = (
        "import resource; from addon.hooks import open_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 100))\n"
        "before = open_files.allowed(); open_files.allow_many()\n"
        "print(before, open_files.allowed())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["64", "100"]
