"""More clients than the soft limit on open files allows, and more than the proxy may serve."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.events
import lab
import pytest
from support.client import CLIENT_HELLO, RawHttp2, connect, read_all, read_until, request
from support.fixtures import StartProxy
from support.upstream import Upstream, held_until
from support.waiting import eventually

from addon.hooks.idle_clients import QUIET

FEW = 64
MANY = 200
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
BEGIN, REST = REQUEST[:9], REQUEST[9:]
"""A client that has begun a request is not idle."""


@contextlib.contextmanager
def limited(files: str, url: str, folder: Path, **limits: Any) -> Iterator[lab.Server]:
    """Run a proxy with a limit on open files, given as "soft:hard"."""
    rules = lab.write_rules(folder / "rules.yaml", external=["127.0.0.1"], limits=limits)
    port = lab.free_port()
    command = ["prlimit", f"--nofile={files}", *lab.proxy_command(url, rules, port=port)]
    own = f"http://127.0.0.1:{port}"
    server = lab.Server(command, url=own, log=folder / "log", stop_signal=signal.SIGINT)
    with server.wait("/livez") as proxy:
        yield proxy


def is_served(client: Any) -> bool:
    """Tell whether a client gets an answer on a connection that stays open."""
    client.sendall(REQUEST)
    return is_answered(client)


def is_answered(client: Any) -> bool:
    """Tell the same for a client that has already sent its request."""
    return read_until(client, b'"alive"}').startswith(b"HTTP/1.1 200")


def test_many_clients(scripted: Upstream, tmp_path: Path) -> None:
    """All 200 clients stay connected and are served, though the soft limit is 64 open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Containers and services start like this, but with a higher soft limit.
    with (
        limited(f"{FEW}:{hard}", scripted.url, tmp_path) as proxy,
        contextlib.ExitStack() as opened,
    ):
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(MANY)]
        for _ in range(2):
            assert all(map(is_served, clients))
        assert "open files" not in proxy.text().replace("open files allow", ""), proxy.text()


def test_one_more_than_allowed(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A client over the limit gets 503; the others, and later ones, are still served."""
    options = ("--set", f"mlflow_metrics={(metrics := lab.free_port())}")
    proxy = start_proxy(scripted.url, limits={"connections": 4}, options=options)

    def told(name: str) -> float:
        page = request(f"http://127.0.0.1:{metrics}", "/metrics").body.decode()
        return float(page.partition(f"\nmlflow_proxy_{name} ")[2].split()[0])

    eventually(lambda: told("client_connections") == 0)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(4)]
        assert all(map(is_served, clients))
        for client in clients:
            client.sendall(BEGIN)
        for _ in range(3):
            with connect(proxy.url) as refused:
                head, _, body = read_all(refused).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in head
            assert b"\r\nConnection: close" in head
            document = json.loads(body)
            assert document["error_code"] == "TEMPORARILY_UNAVAILABLE"
            assert document["source"] == "proxy"
        for client in clients:
            client.sendall(REST)
        assert all(map(is_answered, clients))
        assert all(map(is_served, clients))
    eventually(lambda: request(proxy.url, "/livez").status == 200)
    # Some more may have been refused before all places were free again.
    assert told('refused_total{reason="too_many_connections"}') >= 3
    assert told("client_connections_limit") == 4
    assert proxy.text().count("turned away") == 1, proxy.text()


@contextlib.contextmanager
def full(url: str, start_proxy: StartProxy, *options: str) -> Iterator[tuple[Any, Any]]:
    """Run a proxy with a limit of three; two clients have been served, in the order given."""
    proxy = start_proxy(url, limits={"connections": 3}, options=options)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(2)]
        # The connection that checked whether the proxy is up may still be open.
        eventually(lambda: all(map(is_served, clients)))
        yield proxy, clients


def test_idle_clients_give_way(scripted: Upstream, start_proxy: StartProxy) -> None:
    """The client that is idle for longest is closed first; one in the middle of a request stays."""
    with full(scripted.url, start_proxy) as (proxy, (first, second)):
        third = connect(proxy.url)
        third.sendall(BEGIN)
        time.sleep(0.2)
        assert all(map(is_served, (second, first)))
        time.sleep(QUIET + 0.5)
        with connect(proxy.url) as livez:
            assert is_served(livez)
            assert second.recv(1) == b""
            assert is_served(first)
            third.sendall(REST)
            assert is_answered(third)
        third.close()
        assert proxy.text().count("those idle for the longest time are closed") == 1


@pytest.mark.parametrize("begin", [b"", CLIENT_HELLO], ids=["nothing", "TLS"])
def test_silent_clients_give_way(scripted: Upstream, start_proxy: StartProxy, begin: bytes) -> None:
    """Connections that never send a request are closed to make room for new clients."""
    proxy = start_proxy(scripted.url, limits={"connections": 3})
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(connect(proxy.url)) for _ in range(3)]
        for each in silent:
            each.sendall(begin)
        time.sleep(QUIET + 0.5)
        for _ in range(2):
            assert is_served(opened.enter_context(connect(proxy.url)))
        assert silent[0].recv(1) == b""
    eventually(lambda: request(proxy.url, "/livez").status == 200)


def test_http2_gives_way(scripted: Upstream, start_proxy: StartProxy, tmp_path: Path) -> None:
    """An idle HTTP/2 client gets GOAWAY; one with an open stream keeps its connection."""
    release = threading.Event()
    scripted.answer = held_until(release)
    scripted.requests.clear()
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "x")]
    proxy = start_proxy(
        scripted.url, limits={"connections": 2}, options=("--set", f"confdir={tmp_path}")
    )
    with contextlib.ExitStack() as opened:
        busy, idle = (
            opened.enter_context(RawHttp2(proxy.url, tmp_path / "mitmproxy-ca-cert.pem"))
            for _ in range(2)
        )
        for client, path in ((busy, "/api/2.0/x"), (idle, "/livez")):
            client.h2.send_headers(1, [*fields, (":path", path)], end_stream=True)
            client.flush()
            eventually(lambda: len(scripted.requests) == 1)
        idle.socket.settimeout(20)
        assert any(isinstance(event, h2.events.StreamEnded) for event in first_events(idle))
        time.sleep(QUIET + 0.5)
        with connect(proxy.url) as livez:
            assert is_served(livez)
        ends = [e for e in idle.events() if isinstance(e, h2.events.ConnectionTerminated)]
        assert [end.error_code for end in ends] == [0]
        release.set()
        assert any(isinstance(event, h2.events.StreamEnded) for event in first_events(busy))


def first_events(client: RawHttp2) -> Iterator[h2.events.Event]:
    """Yield events until the first stream has ended."""
    for event in client.events():
        yield event
        if isinstance(event, h2.events.StreamEnded):
            return


def test_a_tls_client_over_the_limit(
    scripted: Upstream, start_proxy: StartProxy, certificate: Path
) -> None:
    """A TLS client over the limit gets no plain answer, which would break its handshake."""
    options = ("--set", f"certs={certificate}")
    proxy = start_proxy(scripted.url, limits={"connections": 1}, options=options)
    eventually(lambda: _is_alone(proxy))


def _is_alone(proxy: lab.Server) -> bool:
    """Tell whether there is room for one client, and then none for a second."""
    with connect(proxy.url) as first:
        try:
            first.sendall(REQUEST)
            served = first.recv(100).startswith(b"HTTP/1.1 200")
        except ConnectionError:  # The previous client is still connected.
            return False
        if not served:
            return False
        first.sendall(BEGIN)
        with connect(proxy.url) as second:
            assert read_all(second) == b""
    return True


def test_files_allow_less(scripted: Upstream, tmp_path: Path) -> None:
    """Few open files lower the limit, so that each client has a second file for its upstream."""
    with limited("200:200", scripted.url, tmp_path, connections=10_000) as proxy:
        assert "limits.connections is 10000, but 200 open files allow 50" in proxy.text()
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(connect(proxy.url)) for _ in range(120)]
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"GET /api/2.0/x HTTP/1.1\r\n")
            served = []
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"Host: x\r\n\r\n")
                # A client that gave way may have been closed before or after its first bytes were
                # read: with a reset or without an answer.
                with contextlib.suppress(OSError):
                    if client.recv(1):
                        served.append(read_until(client, b"\n")[8:11])
        # The connection that checked whether the proxy is up may still be open.
        assert served.count(b"200") in (49, 50)
        assert set(served) == {b"200", b"503"}
        assert "out of system resource" not in proxy.text()
        assert "Too many open files" not in proxy.text()


def test_no_open_files_are_left(scripted: Upstream, tmp_path: Path) -> None:
    """Out of open files, the proxy logs one line and answers in JSON; later it serves again."""
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
