"""When the rules are read again: after the file has changed, or on SIGHUP.

The file is checked twice a second, by its path. That finds a file that was written in place, one
that was renamed over it, and one behind a symbolic link that now points to another folder, which is
how Kubernetes updates a ConfigMap. Kernel notifications miss the third, and do not cross mounts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from .files import Signature, signature

logger = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds between two checks."""


async def watch(
    path: Callable[[], Path], seen: Signature, changed: Callable[[], Awaitable[None]]
) -> None:
    """Call `changed` whenever a file has changed and then stayed the same for one interval.

    Args:
        path: returns the path of the file.
        seen: its state when it was last read.
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


def _end() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGHUP)


def on_sighup(call: Callable[[], None], end: Callable[[], None] = _end) -> bool:
    """Call a function on SIGHUP, which would otherwise end the process.

    Args:
        call: for a signal that was sent on purpose.
        end: called when the terminal in which the process was started has closed.

    Returns:
        whether SIGHUP does so from now on.
    """
    in_terminal = os.isatty(0)

    def heard() -> None:
        # The kernel sends the signal after it has taken the terminal away.
        if in_terminal and not os.isatty(0):
            end()
        else:
            call()

    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, heard)
    except (NotImplementedError, RuntimeError):
        logger.debug("no signals here: SIGHUP reads no rules")  # As for SIGTERM, see `drain`.
        return False
    return True
