"""More clients than a process may open files when it starts, and more than it may serve."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stack
from support.client import connect, read_all, read_until, request
from support.fixtures import StartProxy
from support.upstream import Upstream
from support.waiting import eventually

FEW = 64
MANY = 200
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def limited(files: str, url: str, folder: Path, **limits: Any) -> Iterator[stack.Server]:
    """A proxy that may open so many files: "soft:hard"."""
    rules = stack.write_rules(folder / "rules.yaml", external=["127.0.0.1"], limits=limits)
    port = stack.free_port()
    command = ["prlimit", f"--nofile={files}", *stack.proxy_command(url, rules, port=port)]
    own = f"http://127.0.0.1:{port}"
    server = stack.Server(command, url=own, log=folder / "log", stop_signal=signal.SIGINT)
    with server.wait("/livez") as proxy:
        yield proxy


def is_served(client: Any) -> bool:
    """Tell whether a client gets an answer on a connection that stays open."""
    client.sendall(REQUEST)
    return read_until(client, b'"alive"}').startswith(b"HTTP/1.1 200")


def test_many_clients(scripted: Upstream, tmp_path: Path) -> None:
    """All of them keep their connections, and all are served."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # As containers and services begin, but with less.
    with (
        limited(f"{FEW}:{hard}", scripted.url, tmp_path) as proxy,
        contextlib.ExitStack() as opened,
    ):
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(MANY)]
        for _ in range(2):
            assert all(map(is_served, clients))
        assert "open files" not in proxy.text().replace("open files allow", ""), proxy.text()


def test_one_more_than_allowed(scripted: Upstream, start_proxy: StartProxy) -> None:
    """It gets an answer without being read, the others are served on, and so is who comes later."""
    options = ("--set", f"mlflow_metrics={(metrics := stack.free_port())}")
    proxy = start_proxy(scripted.url, limits={"connections": 4}, options=options)

    def told(name: str) -> float:
        page = request(f"http://127.0.0.1:{metrics}", "/metrics").body.decode()
        return float(page.partition(f"\nmlflow_proxy_{name} ")[2].split()[0])

    eventually(lambda: told("client_connections") == 0)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(4)]
        assert all(map(is_served, clients))
        for _ in range(3):
            with connect(proxy.url) as refused:
                head, _, body = read_all(refused).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in head
            assert b"\r\nConnection: close" in head
            document = json.loads(body)
            assert document["error_code"] == "TEMPORARILY_UNAVAILABLE"
            assert document["source"] == "proxy"
        assert all(map(is_served, clients))
    eventually(lambda: request(proxy.url, "/livez").status == 200)
    # Some more may have come before all places were free again.
    assert told('refused_total{reason="too_many_connections"}') >= 3
    assert told("client_connections_limit") == 4
    assert proxy.text().count("turned away") == 1, proxy.text()


def test_whoever_speaks_tls_is_told_nothing(
    scripted: Upstream, start_proxy: StartProxy, certificate: Path
) -> None:
    """It would take an answer in plain words for a broken handshake."""
    options = ("--set", f"certs={certificate}")
    proxy = start_proxy(scripted.url, limits={"connections": 1}, options=options)
    eventually(lambda: _is_alone(proxy))


def _is_alone(proxy: stack.Server) -> bool:
    """Tell whether there is room for one client, and then for no other."""
    with connect(proxy.url) as first:
        try:
            first.sendall(REQUEST)
            served = first.recv(100).startswith(b"HTTP/1.1 200")
        except ConnectionError:  # The one before has not quite gone.
            return False
        if not served:
            return False
        with connect(proxy.url) as second:
            assert read_all(second) == b""
    return True


def test_files_allow_less(scripted: Upstream, tmp_path: Path) -> None:
    """The limit in force leaves a second file for the upstream of each client."""
    with limited("200:200", scripted.url, tmp_path, connections=10_000) as proxy:
        assert "limits.connections is 10000, but 200 open files allow 50" in proxy.text()
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(connect(proxy.url)) for _ in range(120)]
            served = []
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"GET /api/2.0/x HTTP/1.1\r\nHost: x\r\n\r\n")
                    served.append(read_until(client, b"\n")[9:12])
        # The one that has asked whether the proxy is there may not have gone yet.
        assert served.count(b"200") in (49, 50)
        assert set(served) == {b"200", b"503"}
        assert "out of system resource" not in proxy.text()
        assert "Too many open files" not in proxy.text()


def test_no_files_are_left(scripted: Upstream, tmp_path: Path) -> None:
    """The log has one line about it, requests get JSON, and all goes on when there are some."""
    with limited("200:200", scripted.url, tmp_path) as proxy, contextlib.ExitStack() as opened:

        def allow(files: int) -> None:
            resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (files, 200))

        known = opened.enter_context(connect(proxy.url))
        assert is_served(known)
        allow(len([*Path(f"/proc/{proxy.process.pid}/fd").iterdir()]))
        waiting = [opened.enter_context(connect(proxy.url)) for _ in range(20)]
        eventually(lambda: "clients cannot be accepted and have to wait" in proxy.text())
        known.sendall(b"GET /api/2.0/x HTTP/1.1\r\nHost: x\r\n\r\n")
        head = read_until(known, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"error=connection_limit_reached\r\n" in head
        assert b"\r\nRetry-After: " in head
        assert b"this proxy has no open files left" in read_until(known, b"}")
        time.sleep(2.5)  # asyncio tries again each second.
        before = proxy.text()
        assert before.count("cannot be accepted") == 1
        assert "Traceback" not in before
        assert before.count("\n") < 20
        allow(200)
        assert all(map(is_served, [known, *waiting]))
        eventually(lambda: "clients are accepted again" in proxy.text(), 30)
        assert proxy.text().count("cannot be accepted") == 1
