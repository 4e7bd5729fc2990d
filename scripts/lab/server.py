"""A server process on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self


class StartError(RuntimeError):
    """A server did not start; the message has the end of its log."""


_reserved: list[socket.socket] = []


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1 that the system gives to no other program."""
    reserved = socket.socket()
    # With this option a server that sets it as well can still listen there.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _reserved.append(reserved)
    return int(reserved.getsockname()[1])


class Server:
    """A server process with its children, in its own session.

    So Ctrl-C in the terminal does not reach it, and the starting program stops it in order.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        url: str,
        log: Path,
        env: Mapping[str, str] = {},
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.url = url
        self.stop_signal = stop_signal
        self.log = log
        self.command = [str(part) for part in command]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(env),
                start_new_session=True,
            )

    def wait(self, path: str = "/", *, seconds: float = 60, progress: bool = False) -> Self:
        """Wait until it answers HTTP on a path, with any status.

        Raises:
            StartError: it has ended, or the time is over.
        """
        return self._wait(lambda: self._answers(path), seconds, progress)

    def wait_for_port(self, *, seconds: float = 60) -> Self:
        """Wait until it accepts connections, for servers with an untrusted certificate."""
        return self._wait(self._accepts, seconds, False)

    def _wait(self, is_up: Callable[[], bool], seconds: float, progress: bool) -> Self:
        dots = progress and sys.stderr.isatty()
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if is_up():
                if dots:
                    print(file=sys.stderr)
                return self
            if dots:
                print(".", end="", file=sys.stderr, flush=True)
            time.sleep(0.1 if dots else 0.02)
        code = self.stop()
        raise StartError(f"{self.command[0]} did not start (exit code {code}):\n{self.tail()}")

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2):  # noqa: S310
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _accepts(self) -> bool:
        host, _, port = self.url.rpartition("/")[2].partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self, *, seconds: float = 10) -> int:
        """Stop it and all its children; return its exit code."""
        self._signal_group(self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        # Children may outlive it; the group may also be gone already.
        self._signal_group(signal.SIGKILL)
        return self.process.wait()

    def _signal_group(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, sig)

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def text(self) -> str:
        """Return its log."""
        if not self.log.is_file():
            return ""  # Reading /dev/full would not end.
        return self.log.read_text(encoding="utf-8", errors="replace")

    def memory(self) -> int:
        """Return the peak resident memory of the process itself, in bytes (Linux)."""
        return self._memory("VmHWM")

    def memory_now(self) -> int:
        """Return its resident memory, in bytes."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
