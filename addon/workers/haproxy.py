"""HAProxy in front of the workers."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import shutil
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import haproxy_config, log, process

_ADMINISTRATORS = ("/usr/sbin", "/usr/local/sbin")


class HAProxy:
    """A process of HAProxy, and the commands that it takes on its socket.

    The commands are in https://docs.haproxy.org/2.6/management.html#9.3.

    Args:
        program: its path.
        folder: for its configuration and its socket.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._config = folder / "haproxy.cfg"
        self._socket = folder / "haproxy.sock"
        self._process: Process | None = None
        self._output: asyncio.Task[None] | None = None

    async def start(self, listen: str, workers: Sequence[str]) -> None:
        """Start it, and wait until it runs.

        Args:
            listen: the address for clients, "0.0.0.0:8080".
            workers: the addresses of worker1, worker2, ...

        Raises:
            FailedError: it does not start.
        """
        text = haproxy_config.config(listen, workers, socket=self._socket)
        self._config.write_text(text, encoding="utf-8")
        command = [self._program, "-db", "-f", str(self._config)]
        self._process = started = await process.start(command, stdout=PIPE, stderr=STDOUT)
        self._output = asyncio.create_task(_forward_output(started))
        while not await self._answers():
            if started.returncode is not None:
                raise process.FailedError("HAProxy does not start")
            await asyncio.sleep(process.INTERVAL)

    async def wait(self) -> int:
        """Return its exit code once it has ended."""
        if self._process is None:
            raise process.FailedError("HAProxy has not started")
        return await self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it has started and not ended."""
        return self._process is not None and self._process.returncode is None

    async def sends_to(self, worker: str) -> bool:
        """Return whether it sends requests to the worker of this name."""
        rows = csv.DictReader((await self._ask("show stat")).removeprefix("# ").splitlines())
        return any(r["svname"] == worker and r["status"].startswith("UP") for r in rows)

    async def ignore_health(self, workers: Iterable[str]) -> None:
        """Send requests to these workers whatever their health checks answer from now on."""
        with contextlib.suppress(OSError):  # It has ended in the meantime.
            for worker in workers:
                await self._ask(f"disable health workers/{worker}")

    def terminate(self) -> None:
        """End it at once."""
        if self._process is not None and self.is_running:
            self._process.terminate()

    async def stop(self) -> None:
        """End it once it has sent its last bytes, and wait for that."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)
            await self._process.wait()
        if self._output is not None:
            await self._output

    async def _answers(self) -> bool:
        try:
            return bool(await self._ask("show info"))
        except OSError:
            return False

    async def _ask(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(command.encode() + b"\n")
        answer = await reader.read()
        writer.close()
        return answer.decode()


def find() -> str:
    """Return the path of HAProxy.

    Raises:
        FailedError: it is not installed; the message says how to get it.
    """
    # A user's PATH often lacks the folders for programs of administrators.
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ADMINISTRATORS))
    if (found := shutil.which("haproxy", path=places)) is None:
        raise process.FailedError(
            "HAProxy (2.6 or newer) is not on PATH; install the package haproxy, which Debian, "
            "Ubuntu, Fedora and Alpine have"
        )
    return found


async def _forward_output(started: Process) -> None:
    # Read all the time: HAProxy must never wait for a reader.
    while started.stdout and (output := await started.stdout.read(65536)):
        log.forward(output)
