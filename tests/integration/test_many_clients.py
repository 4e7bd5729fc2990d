"""More clients than a process may open files when it starts."""

from __future__ import annotations

import contextlib
import resource
import signal
from pathlib import Path

import stack
from support.client import connect, read_until
from support.upstream import Upstream

FEW = 64
MANY = 200
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def test_many_clients(scripted: Upstream, tmp_path: Path) -> None:
    """All of them keep their connections, and all are served."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    rules = stack.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    port = stack.free_port()
    # As containers and services begin, but with less.
    limited = ["prlimit", f"--nofile={FEW}:{hard}"]
    command = [*limited, *stack.proxy_command(scripted.url, rules, port=port)]
    url = f"http://127.0.0.1:{port}"
    server = stack.Server(command, url=url, log=tmp_path / "log", stop_signal=signal.SIGINT)
    with server.wait("/livez") as proxy, contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(MANY)]
        for _ in range(2):
            for client in clients:
                client.sendall(REQUEST)
                assert read_until(client, b'"alive"}').startswith(b"HTTP/1.1 200")
        assert "open files" not in proxy.text(), proxy.text()
