"""How the last reading of the rules ended, for `mlflow-proxy reload`.

A proxy keeps it in a file in memory (memfd_create(2)), which others find in /proc/PID/fd. So it
needs neither a port nor a path, it ends with the process, and the kernel shows it only to the
user of the proxy and to root.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "mlflow-proxy-rules"
_LIMIT = 2**20
"""Bytes that are read from another process."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a rules file."""

    began: float
    """By `time.monotonic`, whose clock all processes of a machine share (clock_gettime(2))."""
    path: str
    """The rules file."""
    problem: str | None
    """Why the rules were refused; None if they are in force."""


class LastRead:
    """Shows the last reading to other processes."""

    def __init__(self) -> None:
        self._file: int | None = None

    def put(self, reading: Reading) -> None:
        """Show a reading. Where the system has no files in memory, nothing happens."""
        if not hasattr(os, "memfd_create"):
            return
        # A new file each time, so that nobody reads half of the old one and half of the new one.
        before, self._file = self._file, os.memfd_create(NAME)
        os.write(self._file, json.dumps(asdict(reading)).encode())
        if before is not None:
            os.close(before)

    def close(self) -> None:
        """Show nothing any more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def of(pid: int) -> Reading | None:
    """Return the last reading of a process; None if it is no proxy, or not ours to ask."""
    found = []
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError, ValueError, LookupError, TypeError):
                if str(file.readlink()) == f"/memfd:{NAME} (deleted)":
                    found.append(_read(file))
    return max(found, key=lambda reading: reading.began, default=None)


def _read(file: Path) -> Reading:
    # Root must not wait for a process that shows something else under this name.
    opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ValueError("expected a regular file")
        values = json.loads(os.pread(opened, _LIMIT, 0))
    finally:
        os.close(opened)
    return Reading(float(values["began"]), str(values["path"]), values["problem"])
