"""Counts the instructions of a request with callgrind: a figure that hardly varies."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import lab
from bench import servers
from bench.transfers import connect

REQUESTS = 200
_REQUEST = (
    f"GET {servers.API} HTTP/1.1\r\n"
    "Host: registry.example.org\r\n"
    "User-Agent: mlflow-python-client/3.17.2\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Accept: */*\r\n"
    "Connection: keep-alive\r\n\r\n"
).encode()


def of_request(folder: Path, upstream: str, *options: str) -> float:
    """Return the instructions of the whole process for a small request on a kept connection.

    Args:
        folder: for its files.
        upstream: URL of the registry.
        options: more options of mitmdump.
    """
    counted = _file(folder)
    port = lab.free_port()
    rules = servers.write_rules(folder / "rules.yaml")
    mitmdump = lab.proxy_command(upstream, rules, port=port, options=("-q", *options))
    command = [*_callgrind(counted), *mitmdump]
    url = f"http://127.0.0.1:{port}"
    server = lab.Server(command, url=url, log=folder / "log", stop_signal=signal.SIGINT)
    with server:
        server.wait("/livez", seconds=300)
        _send(url, 50)
        _tell(server.process, "instrumentation", "on")
        _send(url, REQUESTS)
        _tell(server.process, "dump")
        server.stop(seconds=60)
    return _total(counted) / REQUESTS


def of_hooks(folder: Path, more_rules: int = 0) -> float:
    """Return the instructions of the addon's hooks for the same request."""
    counted = _file(folder)
    rules = servers.write_rules(folder / "rules.yaml", more_rules)
    script = Path(__file__).with_name("hooks_alone.py")
    command = [*_callgrind(counted), sys.executable, script, rules, str(REQUESTS), servers.API]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin and process.stdout and process.stderr
        for said, order in (("ready", ("instrumentation", "on")), ("done", ("dump",))):
            line = process.stdout.readline().strip()
            assert line == said, process.stderr.read()
            _tell(process, *order)
            print(file=process.stdin, flush=True)
    return _total(counted) / REQUESTS


def _file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "counted"


def _callgrind(counted: Path) -> list[str | Path]:
    options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counted}"]
    return [lab.binary("valgrind"), *options]


def _tell(process: subprocess.Popen[str] | subprocess.Popen[bytes], *words: str) -> None:
    """Send callgrind a command, and wait until it is done."""
    command: list[str | Path] = [lab.binary("vgdb"), f"--pid={process.pid}", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _total(counted: Path) -> int:
    # The name of a dump ends with its number; the last file, from the end, has no number.
    written = counted.with_name(f"{counted.name}.1").read_text(encoding="utf-8")
    total = re.search(r"^(?:summary|totals): (\d+)", written, re.MULTILINE)
    assert total, written[:500]
    return int(total[1])


def _send(url: str, count: int) -> None:
    with connect(url) as connection:
        for _ in range(count):
            connection.sendall(_REQUEST)
            received = b""
            while not received.endswith(servers.ANSWER.encode()):
                data = connection.recv(65536)
                assert data, received
                received += data
