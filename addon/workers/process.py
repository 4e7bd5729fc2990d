"""Programs that run until they are told to stop."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence

INTERVAL = 0.1
"""Seconds between two checks of a process that starts."""


class FailedError(Exception):
    """A worker or HAProxy cannot start, or HAProxy has ended."""


async def start(
    command: Sequence[str], *, stdout: int | None = None, stderr: int | None = None
) -> Process:
    """Start a program in its own session, so that Ctrl-C in a terminal only reaches us."""
    return await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
    )
