"""How many instructions a request takes, counted by callgrind: a figure that does not swing."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import stack
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


def per_request(
    folder: Path, upstream: str, *, more_rules: int = 0, options: Sequence[str | Path] = ()
) -> float:
    """Instructions of the whole process for a small request on a kept connection."""
    folder.mkdir(parents=True, exist_ok=True)
    port = stack.free_port()
    rules = servers.write_rules(folder / "rules.yaml", more_rules)
    options = ("-q", *options)
    mitmdump = stack.proxy_command(upstream, rules, port=port, options=options)
    counted = folder / "counted"
    command: list[str | Path] = [stack.binary("valgrind"), "--tool=callgrind"]
    command += ["--instr-atstart=no", f"--callgrind-out-file={counted}", *mitmdump]
    url = f"http://127.0.0.1:{port}"
    server = stack.Server(command, url=url, log=folder / "log", stop_signal=signal.SIGINT)
    with server:
        server.wait("/livez", seconds=300)
        _send(url, 50)
        _tell(server, "instrumentation", "on")
        _send(url, REQUESTS)
        _tell(server, "dump")
        server.stop(seconds=60)
    # Behind the name of a dump is its number; the last file, at the end, has none.
    written = counted.with_name(f"{counted.name}.1").read_text(encoding="utf-8")
    total = re.search(r"^(summary|totals): (\d+)", written, re.MULTILINE)
    assert total, written[:500]
    return int(total[2]) / REQUESTS


def _send(url: str, count: int) -> None:
    with connect(url) as connection:
        for _ in range(count):
            connection.sendall(_REQUEST)
            received = b""
            while not received.endswith(servers.ANSWER.encode()):
                data = connection.recv(65536)
                assert data, received
                received += data


def _tell(server: stack.Server, *words: str) -> None:
    """Give callgrind an order; it is carried out when this returns."""
    command: list[str | Path] = [stack.binary("vgdb"), f"--pid={server.process.pid}", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
