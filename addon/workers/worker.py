"""One of the processes behind HAProxy."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence

from . import process


class Worker:
    """A worker's process, and its successors on the same port.

    Args:
        number: 1 for the first.
        command: the command line; {worker} in it becomes the number.
    """

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.name = f"worker{number}"
        self._port = reserve_port()
        host, port = self._port.getsockname()
        self.address = f"{host}:{port}"
        self._command = [part.replace("{worker}", str(number)) for part in command]
        self._command += ["--listen-host", host, "--listen-port", str(port)]
        self.process: Process | None = None
        self.stopping = False
        """Whether it was told to stop."""
        self.restarted = asyncio.Event()
        """Set when it serves after a restart."""

    async def start(self) -> None:
        """Start a process."""
        self.stopping = False
        self.process = await process.start(self._command)

    def terminate(self) -> None:
        """Let it drain; if it is draining already, it ends at once."""
        self.stopping = True
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()

    async def wait_until(self, condition: Callable[[Worker], Awaitable[bool]]) -> bool:
        """Wait until a condition holds; return False if the process ends before that."""
        while self.process is not None and self.process.returncode is None:
            if await condition(self):
                return True
            await asyncio.sleep(process.INTERVAL)
        return False

    async def answers(self) -> bool:
        """Return whether it serves."""
        return await asyncio.to_thread(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz/local", timeout=5):
                return True
        except OSError:
            return False


def reserve_port() -> socket.socket:
    """Return a socket that keeps a free port of 127.0.0.1 while it is open.

    `mitmdump.py` can listen there, again and again. Another user never can: a program in place of a
    worker would get requests with credentials.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
