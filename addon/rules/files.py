"""Files that people keep for the proxy: read whole, and looked at for changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

Signature = tuple[str, int, int, int] | None
"""Differs between two states of a file; None if there is no file."""


def read(path: Path, most: int) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or longer.
    """
    # Opening or reading a pipe or a device may block for ever.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError("expected a regular file")
        with open(file, "rb", closefd=False) as opened:
            data = opened.read(most + 1)
    finally:
        os.close(file)
    if len(data) > most:
        raise ValueError(f"expected {most // 1024} KiB at most")
    return data


def signature(path: Path) -> Signature:
    """Return the state of a file, also if a link to it changes (as of Kubernetes)."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name with a zero byte.
        return None
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns
