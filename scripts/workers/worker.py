"""One of the processes that main.py keeps running."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence

INTERVAL = 0.1
"""Seconds between two checks of a process that starts."""


class Worker:
    """A worker's process, and its successors on the same port."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.name = f"worker{number}"
        self._port = kept_port()
        host, port = self._port.getsockname()
        self.address = f"{host}:{port}"
        self._command = [part.replace("{worker}", str(number)) for part in command]
        self._command += ["--listen-host", host, "--listen-port", str(port)]
        self.process: Process | None = None
        self.leaving = False
        """Whether it was told to stop."""
        self.back = asyncio.Event()
        """Set when it serves after a restart."""

    async def start(self) -> None:
        """Start a process."""
        self.leaving = False
        self.process = await run(self._command)

    def terminate(self) -> None:
        """Let it drain; if it is draining already, it ends at once."""
        self.leaving = True
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()

    async def waits_for(self, is_there: Callable[[Worker], Awaitable[bool]]) -> bool:
        """Wait until a condition holds; return False if the process ends before that."""
        while self.process is not None and self.process.returncode is None:
            if await is_there(self):
                return True
            await asyncio.sleep(INTERVAL)
        return False

    async def answers(self) -> bool:
        """Return whether it serves."""
        return await asyncio.to_thread(self._asked)

    def _asked(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz/local", timeout=5):
                return True
        except OSError:
            return False


def kept_port() -> socket.socket:
    """Return a socket that keeps a free port of 127.0.0.1 while it is open.

    `mitmdump.py` can listen there, again and again. Another user never can: a program in place
    of a worker would get requests with credentials.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


async def run(
    command: Sequence[str], *, stdout: int | None = None, stderr: int | None = None
) -> Process:
    """Start a program in its own session, so that Ctrl-C in a terminal only reaches us."""
    return await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
    )
