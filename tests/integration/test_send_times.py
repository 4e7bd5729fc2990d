"""Clients that do not read their answers."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import h2.events
import lab
import pytest
from support.client import RawHttp2, head, read_all, request
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
SLOW = FILE.replace("a.bin", "slow/a.bin")
MIB = 2**20
SIZE = 16 * MIB
"""More than the kernel buffers of both sides hold."""
LIMITS = {"send_timeout": 1}
FIELDS = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x")]


def answer(received: Received, connection: socket.socket) -> bool:
    """Send a large file or a small answer."""
    large = response("200 OK", bytes(SIZE), ("Content-Type", "application/octet-stream"))
    connection.sendall(large if received.target.endswith("a.bin") else OK)
    return True


@pytest.fixture(autouse=True)
def _answers(scripted: Upstream) -> None:
    scripted.answer = answer


@contextlib.contextmanager
def reads_little(proxy: lab.Server, target: str = FILE, *lines: str) -> Iterator[socket.socket]:
    """A client with a small receive buffer that has sent a request."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
        client.settimeout(20)
        client.sendall(head("GET", target, *lines))
        yield client


def cut(client: socket.socket) -> int:
    """Read until the connection is reset; return the number of bytes."""
    size = 0
    with pytest.raises(ConnectionResetError):
        while data := client.recv(MIB):
            size += len(data)
    return size


def stopped(proxy: lab.Server, target: str = FILE) -> int:
    """Return how often the log says that a client stopped reading."""
    return proxy.text().count(f"cut GET {target}: the client stopped reading")


def test_stopped_clients_make_room(scripted: Upstream, start_proxy: StartProxy) -> None:
    """Clients that stop reading are reset before the answer is complete, which makes room."""
    proxy = start_proxy(scripted.url, limits=LIMITS | {"flows": 3})
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(reads_little(proxy)) for _ in range(3)]
        eventually(lambda: request(proxy.url, API).status == 503)
        eventually(lambda: request(proxy.url, API).status == 200, 20)
        for client in clients:
            assert cut(client) < SIZE
    assert stopped(proxy) == 3


def test_access_log_of_a_stopped_client(limited_proxy: lab.Server) -> None:
    """The access log shows a client that stopped reading as one that has gone."""
    before = stopped(limited_proxy)
    with reads_little(limited_proxy) as client:
        eventually(lambda: stopped(limited_proxy) == before + 1, 20)
        assert cut(client) < SIZE
    access = limited_proxy.log.parent / "access"
    eventually(lambda: FILE in access.read_text())
    line = json.loads(access.read_text().splitlines()[-1])
    assert (line["status"], line["error_source"]) == (200, "client")
    assert line["bytes_out"] < SIZE


@pytest.mark.parametrize("lines", [(), ("Connection: close",)])
def test_answers_that_were_held(
    scripted: Upstream, start_proxy: StartProxy, lines: tuple[str, ...]
) -> None:
    """A client that stops reading a held answer is reset, though mitmproxy is done with it."""
    limits = LIMITS | {"flows": 1}
    proxy = start_proxy(scripted.url, limits=limits, streaming={"threshold": "32MiB"})
    scripted.answer = response("200 OK", b"x" * SIZE, ("Content-Type", "application/json"))
    with reads_little(proxy, API, *lines) as client:
        assert client.recv(1)
        scripted.answer = OK
        eventually(lambda: request(proxy.url, API).status == 503)
        eventually(lambda: request(proxy.url, API).status == 200, 20)
        assert cut(client) < SIZE
    assert "reset a connection: the client stopped reading" in proxy.text()


def test_slow_but_steady(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A client that reads slowly is not cut, even while the kernel requests no more data."""
    proxy = start_proxy(scripted.url, limits={"send_timeout": 3})
    with reads_little(proxy) as client:
        size = 0
        for _ in range(30):
            threading.Event().wait(0.25)
            size += len(client.recv(49_152))
        while b"\r\n\r\n" not in (data := client.recv(MIB)) and size + len(data) < SIZE:
            size += len(data)
        assert size + len(data) >= SIZE
    assert "stopped reading" not in proxy.text()


def test_a_registry_that_pauses(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """A client is not cut while the registry pauses and there is nothing to send."""
    large = response("200 OK", bytes(SIZE), ("Content-Type", "application/octet-stream"))
    before = stopped(limited_proxy)

    def pauses(_: Received, connection: socket.socket) -> None:
        for begin, end in ((0, MIB), (MIB, len(large))):
            connection.sendall(large[begin:end])
            threading.Event().wait(3)

    scripted.answer = pauses
    with reads_little(limited_proxy, FILE, "Connection: close") as client:
        assert len(read_all(client).partition(b"\r\n\r\n")[2]) == SIZE
    assert stopped(limited_proxy) == before


def ask(client: RawHttp2, stream: int, target: str) -> None:
    client.h2.send_headers(stream, [*FIELDS, (b":path", target.encode())], end_stream=True)
    client.flush()


def test_a_window_that_is_never_opened(limited_proxy: lab.Server) -> None:
    """Only the stream whose window stays closed is reset; a slow stream and others go on."""
    before = stopped(limited_proxy)
    never, slow, size = 1, 3, 0
    with RawHttp2(limited_proxy.url, limited_proxy.log.parent / "mitmproxy-ca-cert.pem") as client:
        client.h2.increment_flow_control_window(2**30)  # The connection's window.
        ask(client, never, FILE)
        ask(client, slow, SLOW)
        client.socket.settimeout(0.01)
        reset, rounds = None, 0
        while reset is None or rounds < 20:
            threading.Event().wait(0.2)
            client.h2.increment_flow_control_window(1000, slow)
            client.flush()
            rounds += 1
            assert rounds < 100
            with contextlib.suppress(TimeoutError):
                for event in client.h2.receive_data(client.socket.recv(65536)):
                    if isinstance(event, h2.events.StreamReset):
                        assert event.stream_id == never
                        reset = event
                    elif isinstance(event, h2.events.DataReceived) and event.stream_id == never:
                        size += len(event.data)
        client.socket.settimeout(20)
        ask(client, 5, API)
        ended = (e.stream_id for e in client.events() if isinstance(e, h2.events.StreamEnded))
        assert next(ended) == 5
    assert size == 65535
    assert stopped(limited_proxy) == before + 1


@pytest.mark.parametrize("goes_on", [True, False])
def test_the_window_of_the_connection(limited_proxy: lab.Server, goes_on: bool) -> None:
    """Streams that wait for the connection's window are cut only if it is never opened."""
    before = stopped(limited_proxy)
    reset: set[int] = set()
    with RawHttp2(limited_proxy.url, limited_proxy.log.parent / "mitmproxy-ca-cert.pem") as client:
        for stream in (1, 3):
            ask(client, stream, FILE)
            client.h2.increment_flow_control_window(2**30, stream)
        client.flush()
        client.socket.settimeout(0.01)
        for _ in range(20 if goes_on else 100):
            threading.Event().wait(0.2)
            if goes_on:
                client.h2.increment_flow_control_window(1000)
                client.flush()
            with contextlib.suppress(TimeoutError):
                for event in client.h2.receive_data(client.socket.recv(65536)):
                    if isinstance(event, h2.events.StreamReset):
                        reset.add(event.stream_id)
            if reset == {1, 3}:
                break
    assert reset == (set() if goes_on else {1, 3})
    assert stopped(limited_proxy) == before + len(reset)


def test_http2_that_reads_nothing(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """An HTTP/2 client that reads nothing, with open windows, has its connection reset."""
    before = stopped(limited_proxy)
    with RawHttp2(limited_proxy.url, limited_proxy.log.parent / "mitmproxy-ca-cert.pem") as client:
        client.h2.increment_flow_control_window(2**30)
        client.h2.send_headers(1, [*FIELDS, (b":path", FILE.encode())], end_stream=True)
        client.h2.increment_flow_control_window(2**30, 1)
        client.flush()
        eventually(lambda: stopped(limited_proxy) == before + 1, 20)
