"""The listener for Prometheus, and its defence against bad clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import lab
import pytest
from support.client import read_all

from addon.observe import metrics_listener, reports
from addon.observe.measured import State
from addon.observe.metrics_listener import MetricsListener, answer, parse_address

Address = tuple[str, int]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9300", ("127.0.0.1", 9300)),
        ("0.0.0.0:9300", ("0.0.0.0", 9300)),
        ("metrics.local:1", ("metrics.local", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    """A port without a host is reachable only from this machine."""
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["0", "65536", "x", ":9300", "::1:9300", "[::1]", "[x]:9300", "host:", "-1", "²", "a:b"]
)
def test_no_addresses(text: str) -> None:
    """Invalid and ambiguous addresses are refused."""
    with pytest.raises(ValueError, match=r"expected PORT or HOST:PORT|'x'"):
        parse_address(text)


@pytest.mark.parametrize(
    ("line", "status", "body"),
    [
        (b"GET /metrics HTTP/1.1", b"200 OK", b"page"),
        (b"GET /metrics?x=/y HTTP/1.0", b"200 OK", b"page"),
        (b"HEAD /metrics HTTP/1.1", b"200 OK", b""),
        (b"POST /metrics HTTP/1.1", b"404 Not Found", b"Only /metrics is served here.\n"),
        (b"GET / HTTP/1.1", b"404 Not Found", b"Only /metrics is served here.\n"),
        (b"GET /metrics/ HTTP/1.1", b"404 Not Found", b"Only /metrics is served here.\n"),
        (b"GET //metrics HTTP/1.1", b"404 Not Found", b"Only /metrics is served here.\n"),
        (b"nonsense", b"404 Not Found", b"Only /metrics is served here.\n"),
    ],
)
def test_answers(line: bytes, status: bytes, body: bytes) -> None:
    """An answer repeats nothing of the request."""
    head, _, got = answer(line + b"\r\nHost: x\r\n\r\n", lambda: b"page").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert f"Content-Length: {len(body) or 4}".encode() in head
    assert got == body


def test_the_head_of_an_answer() -> None:
    """The head has Prometheus' content type, forbids caching and closes the connection."""
    assert answer(GET, lambda: b"page") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        b"Content-Length: 4\r\nCache-Control: no-store\r\nConnection: close\r\n\r\npage"
    )


def test_the_end() -> None:
    """Closing the listener ends its port and its connections, whether or not it had started."""

    async def run(*, started: bool, connected: bool) -> None:
        port = lab.free_port()
        listener = MetricsListener(f"[::1]:{port}", lambda: b"page")
        if started:
            listener.start()
        if connected:
            reader, writer = await asyncio.open_connection("::1", port)
            writer.write(GET[:9])
            while not listener._open:
                await asyncio.sleep(0.01)
        listener.close()
        if connected:
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", port))

    asyncio.run(run(started=False, connected=False))
    asyncio.run(run(started=True, connected=False))
    asyncio.run(run(started=True, connected=True))


def with_listener(
    talk: Callable[[int], bytes], page: Callable[[], bytes] = lambda: b"page"
) -> bytes:
    """Return a client's answer; the client runs in a thread beside the listener."""

    async def run() -> bytes:
        port = lab.free_port()
        listener = MetricsListener(str(port), page)
        listener.start()
        try:
            return await asyncio.to_thread(talk, port)
        finally:
            listener.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))

    return asyncio.run(run())


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(port: int, sent: bytes = GET) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        return read_all(connection)


def test_a_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape gets the whole page, and the connection closes."""
    monkeypatch.setattr(metrics_listener, "SECONDS", 3600)
    page = b"x" * 10_000_000
    assert with_listener(ask, lambda: page).endswith(b"\r\n\r\n" + page)


def test_large_pages() -> None:
    """Pages that need several writes leave no connection behind, so further scrapes are served."""
    page = b"x" * 10_000_000
    failed: list[dict[str, Any]] = []

    def talk(port: int) -> bytes:
        got = [ask(port).endswith(page) for _ in range(metrics_listener.MOST + 2)]
        return b"all" if all(got) else b"some"

    async def run() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        port = lab.free_port()
        listener = MetricsListener(str(port), lambda: page)
        listener.start()
        got = await asyncio.to_thread(talk, port)
        async with asyncio.timeout(20):
            while listener._open:
                await asyncio.sleep(0.01)
        listener.close()
        return got

    assert asyncio.run(run()) == b"all"
    assert failed == []


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nX: y\r\n"])
def test_slow_clients(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not send a whole request in time is cut off."""
    monkeypatch.setattr(metrics_listener, "SECONDS", 0.2)
    assert with_listener(lambda port: ask(port, sent)) == b""


def test_long_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is too long is cut off without waiting for its end."""
    monkeypatch.setattr(metrics_listener, "SECONDS", 3600)
    sent = b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 99_999
    assert with_listener(lambda port: ask(port, sent)) == b""


def test_slow_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read in time loses the rest of the page."""
    monkeypatch.setattr(metrics_listener, "SECONDS", 0.5)
    size = 50_000_000

    def talk(port: int) -> bytes:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", port))
            connection.sendall(GET)
            while not ask(port, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404 "):
                pass  # On a slow machine its own time may be over.
            with socket.create_connection(("127.0.0.1", port), timeout=20) as later:
                read_all(later)  # Closes when its time is over, and then that of the first is, too.
            return read_all(connection)

    assert len(with_listener(talk, lambda: b"x" * size)) < size


def test_many_clients() -> None:
    """The number of clients is limited: one more cuts off the oldest, and the rest stay."""

    def talk(port: int) -> bytes:
        address = ("127.0.0.1", port)
        idle = [socket.create_connection(address) for _ in range(metrics_listener.MOST)]
        got = ask(port).rpartition(b"\r\n")[2]
        first, second, *_ = idle
        first.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            got += first.recv(1)
        second.sendall(GET)
        got += read_all(second).rpartition(b"\r\n")[2]
        for connection in idle:
            connection.close()
        return got

    assert with_listener(talk) == b"pagepage"


def test_switching() -> None:
    """The address can change or be removed; an address in use is refused and the old one stays."""

    async def run() -> None:
        first, second = str(lab.free_port()), str(lab.free_port())
        told = reports.Reports(lambda: State(0, 0, False, True, 0.0, {}, {}, 0, 0, 0, 0, 0))
        assert not told.wanted
        told.listen_on(first)
        told.start()
        assert told.wanted
        assert b"200 OK" in await asyncio.to_thread(ask, int(first))
        told.listen_on(second)
        assert b"200 OK" in await asyncio.to_thread(ask, int(second))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(ask, int(first))
        with (
            socket.create_server(("127.0.0.1", int(first))),
            pytest.raises(ValueError, match="Address already in use"),
        ):
            told.listen_on(first)
        assert b"200 OK" in await asyncio.to_thread(ask, int(second))
        told.close()
        assert not told.wanted
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(ask, int(second))

    asyncio.run(run())


def test_the_library_is_not_loaded_needlessly() -> None:
    """The Prometheus library is not loaded without a listener: it would slow down every start."""
    code = "import sys, addon.assembly; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=lab.ROOT, check=False).returncode == 0
