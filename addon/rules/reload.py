"""When the rules are read again: the file has changed, or somebody says so with SIGHUP.

The file is looked at twice a second, by its path: that finds a file that was written in place, one
that was renamed over it, and one behind a symbolic link that was turned to another folder, which is
how Kubernetes updates a ConfigMap. Notifications of the kernel miss the third, and do not cross
mounts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

logger = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds between two looks."""

Signature = tuple[str, int, int, int] | None
"""What tells one state of a file from another; None where there is no file."""


def signature(path: Path) -> Signature:
    """The state of a file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # No file can have a name with a zero byte.
        return None
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns


async def watch(
    path: Callable[[], Path], seen: Signature, changed: Callable[[], Awaitable[None]]
) -> None:
    """Call `changed` whenever a file has changed and was then left alone for one interval.

    Args:
        path: tells which file it is.
        seen: its state when it was read.
        changed: reads it again.
    """
    pending = seen
    while True:
        await asyncio.sleep(INTERVAL)
        now = signature(path())
        if now == pending != seen:
            seen = now
            await changed()
        pending = now


def upon_sighup(call: Callable[[], None]) -> None:
    """Take the place of the end that SIGHUP means otherwise.

    A proxy that a person runs in a terminal ends with the terminal, as ever.
    """
    if os.isatty(0):
        return
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, call)
    except (NotImplementedError, RuntimeError):
        logger.debug("no signals here: SIGHUP reads no rules")  # As for SIGTERM, see `drain`.
