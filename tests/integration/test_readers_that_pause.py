"""Requests are served even if the reader of the proxy's stdout pauses or goes away."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lab
import pytest
from support.client import request
from support.waiting import eventually

from addon.cli.run import QUIET

PAGE = 4096
"""Bytes of the smallest pipe."""
LONG = f"/livez/{'x' * 30_000}"


class Piped:
    """A proxy whose stdout and stderr go to one small pipe, and the other end of the pipe."""

    def __init__(self, upstream: str, rules: Path, *options: str) -> None:
        port = lab.free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = lab.proxy_command(upstream, rules, port=port, options=[*QUIET, *options])
        self.end, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PAGE)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=write, stderr=write
        )
        os.close(write)

    def answers(self, target: str) -> int:
        """Return the status of an answer; no request may wait for the reader."""
        return request(self.url, target, timeout=10).status

    def is_up(self) -> bool:
        """Tell whether the proxy answers."""
        try:
            return self.answers("/livez") == 200
        except OSError:
            return False

    def rest(self) -> bytes:
        """Read from the pipe until it is closed."""
        with open(self.end, "rb", closefd=False) as file:
            return file.read()


@contextmanager
def piped(folder: Path, *options: str) -> Iterator[Piped]:
    rules = lab.write_rules(folder / "rules.yaml", external=["127.0.0.1"])
    proxy = Piped(f"http://127.0.0.1:{lab.free_port()}", rules, *options)
    try:
        eventually(proxy.is_up, 60)
        yield proxy
    finally:
        proxy.process.kill()
        proxy.process.wait()
        os.close(proxy.end)


def test_a_full_pipe(tmp_path: Path) -> None:
    """Requests are served though the pipe is full, and the proxy still ends on SIGINT."""
    with piped(tmp_path, "--set", "mlflow_access_log=-") as proxy:
        # The registry is down, so each request also has a line in the log.
        for _ in range(40):
            assert proxy.answers(LONG) == 502
        proxy.process.send_signal(signal.SIGINT)
        assert proxy.process.wait(20) == 0


def test_a_reader_that_comes_back(tmp_path: Path) -> None:
    """A reader that resumes gets only whole lines, and the number of lost lines."""
    with piped(tmp_path, "--set", "mlflow_access_log=-") as proxy:
        for _ in range(100):
            assert proxy.answers(LONG) == 502
        os.set_blocking(proxy.end, True)
        got = b""
        while b"line(s) are lost" not in got:
            got += os.read(proxy.end, 2**16)
        proxy.process.send_signal(signal.SIGINT)
        got += proxy.rest()
        assert proxy.process.wait(20) == 0
    lines = got.decode("ascii").splitlines()
    for line in lines:
        assert line.startswith("[") or json.loads(line)["status"] in (200, 502)
    assert "Traceback" not in got.decode()


def test_a_reader_that_is_gone(tmp_path: Path) -> None:
    """Requests are served after the reader has gone; plain mitmproxy would end."""
    with piped(tmp_path) as proxy:
        reader = proxy.end
        os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
        for _ in range(3):
            assert proxy.answers("/api/2.0/mlflow/runs/get") == 502
        proxy.process.send_signal(signal.SIGINT)
        assert proxy.process.wait(20) == 0


@pytest.mark.parametrize("options", [(), ("--set", "mlflow_access_log=-")])
def test_a_full_disk(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Requests are served with stdout on a full disk; plain mitmproxy would end."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    away = f"http://127.0.0.1:{lab.free_port()}"
    with lab.proxy(away, rules, log=Path("/dev/full"), options=[*QUIET, *options]) as proxy:
        proxy.wait("/livez")
        for _ in range(3):
            assert request(proxy.url, "/api/2.0/mlflow/runs/get").status == 502
