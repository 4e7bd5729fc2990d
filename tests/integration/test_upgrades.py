"""Connections that change their protocol: only WebSockets are allowed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import zlib

import h2.connection
import h2.events
import lab
import pytest
from support import hostile
from support.client import connect, read_all, read_until, request
from support.fixtures import StartProxy
from support.h2c import SWITCH, H2c
from support.upstream import OK, Received, Upstream, response
from support.websocket import KEY, accept

API = "/api/2.0/mlflow/runs/log-batch"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
HANDSHAKE = (
    f"GET {API} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
)


@pytest.fixture
def h2c(scripted: Upstream) -> H2c:
    """An upstream that switches to HTTP/2 (h2c) on request."""
    scripted.requests.clear()
    scripted.answer = server = H2c()
    return server


@pytest.fixture(params=[False, True], ids=["artifacts off", "artifacts on"])
def proxy(
    request: pytest.FixtureRequest, scripted: Upstream, shared_proxy: StartProxy
) -> lab.Server:
    """A proxy in front of the upstream."""
    return shared_proxy(scripted.url, artifacts={"enabled": request.param})


def ask_for_tunnel(url: str, head: str) -> bytes:
    """Ask for h2c and, if it is granted, for an artifact inside; return the first line."""
    with connect(url) as connection:
        connection.sendall(head.encode("latin-1"))
        line = connection.makefile("rb", buffering=0).readline()
        if b" 101 " in line:
            read_until(connection, b"\r\n\r\n")
            http2 = h2.connection.H2Connection()
            http2.initiate_upgrade_connection()
            pseudo = {"method": "GET", "scheme": "http", "authority": "x", "path": FILE}
            fields = [(f":{name}", value) for name, value in pseudo.items()]
            http2.send_headers(3, fields, end_stream=True)
            connection.sendall(http2.data_to_send())
            while True:
                for event in http2.receive_data(connection.recv(65536)):
                    if isinstance(event, h2.events.StreamEnded) and event.stream_id == 3:
                        return line
        return line


def test_no_spelling_gets_a_tunnel(scripted: Upstream, h2c: H2c, shared_proxy: StartProxy) -> None:
    """No spelling of h2c reaches the upstream, which would switch and let artifacts pass."""
    proxy = shared_proxy(scripted.url, artifacts={"enabled": False})
    heads = [hostile.asking(API, fields, line) for line, fields in hostile.upgrades()]
    for head in heads:
        line = ask_for_tunnel(proxy.url, head)
        assert line.split(b" ")[1] in (b"200", b"400", b"502"), (head, line)
    assert (h2c.switched, h2c.inside) == (0, [])
    for received in scripted.requests:
        assert not received.header("upgrade"), received.head
        assert not received.header("http2-settings"), received.head
        assert (
            b"upgrade" not in b",".join(v.encode() for v in received.header("connection")).lower()
        )
    for head in heads[::10]:
        ask_for_tunnel(scripted.url, head)
    assert len(h2c.inside) > len(heads) // 20


@pytest.mark.parametrize("body", [b"{}", b"x" * 3_000_000, None])
def test_a_client_that_offers_h2c(
    h2c: H2c, proxy: lab.Server, scripted: Upstream, body: bytes | None
) -> None:
    """A client that offers h2c, as Java's does by default, is answered over HTTP/1.1."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAAA"}
    sent = body if body is not None else iter([b"in ", b"chunks"])
    got = request(proxy.url, API, method="POST", headers=headers, body=sent, timeout=10)
    assert (got.status, got.body) == (200, b"{}")
    assert scripted.requests[-1].body == (body or b"in chunks")
    assert not h2c.switched


def switching(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode()


def websocket(key: str = KEY, protocol: str = "websocket") -> bytes:
    return switching(
        "Connection: Upgrade", f"Upgrade: {protocol}", f"Sec-WebSocket-Accept: {accept(key)}"
    )


MESSAGE = b"\x82\x7e" + (4096).to_bytes(2) + bytes(4096)
ENDLESS = 64 * 2**20
"""Bytes: more than the kernel keeps."""
PLAIN = f"GET {API} HTTP/1.1\r\nHost: x\r\n\r\n"
FALSE_SWITCHES = {
    "unrequested": (PLAIN, SWITCH),
    "unrequested WebSocket": (PLAIN, websocket()),
    "h2c in place of a WebSocket": (HANDSHAKE, SWITCH),
    "both": (HANDSHAKE, websocket(protocol="websocket, h2c")),
    "another key": (HANDSHAKE, websocket(key="another")),
    "no key": (HANDSHAKE, switching("Connection: Upgrade", "Upgrade: websocket")),
    "nothing": (HANDSHAKE, switching()),
}


@pytest.mark.parametrize("name", FALSE_SWITCHES)
def test_false_switches(scripted: Upstream, proxy: lab.Server, name: str) -> None:
    """A 101 that does not match the request becomes 502, and data after it is dropped."""
    head, first = FALSE_SWITCHES[name]

    def answer(received: Received, connection: socket.socket) -> bool:
        connection.sendall(OK if received.target.endswith("/end") else first + b"hidden")
        return True

    scripted.answer = answer
    scripted.requests.clear()
    end = "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(proxy.url) as connection:
        connection.sendall((head + end).encode())
        answers = read_all(connection)
    head_, _, rest = answers.partition(b"\r\n\r\n")
    assert head_.startswith(b"HTTP/1.1 502 ")
    document, brace, following = rest.partition(b"}")
    assert json.loads(document + brace)["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert following.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"hidden" not in answers
    assert len(scripted.requests) == 2


def test_a_websocket(scripted: Upstream, proxy: lab.Server) -> None:
    """A WebSocket handshake passes in both directions, with its Upgrade fields."""

    def answer(_: Received, connection: socket.socket) -> None:
        connection.sendall(websocket() + b"\x81\x02hi")
        connection.recv(1)

    scripted.answer = answer
    scripted.requests.clear()
    with connect(proxy.url) as connection:
        connection.sendall(HANDSHAKE.encode())
        head = read_until(connection, b"\r\n\r\n").lower()
        assert b" 101 " in head
        assert b"connection: upgrade\r\n" in head
        assert b"upgrade: websocket\r\n" in head
        assert read_until(connection, b"hi") == b"\x81\x02hi"
    (received,) = scripted.requests
    assert received.header("connection") == ["Upgrade"]
    assert received.header("upgrade") == ["websocket"]


def test_a_websocket_whose_client_does_not_read(scripted: Upstream, proxy: lab.Server) -> None:
    """The proxy stops to read from the registry, and does not hold what is sent."""
    sent, stuck = 0, threading.Event()

    def answer(_: Received, connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(websocket())
        connection.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while sent < ENDLESS:
                sent += connection.send(MESSAGE * 16)
        stuck.set()

    scripted.answer = answer
    before = proxy.memory_now()
    with connect(proxy.url) as connection:
        connection.sendall(HANDSHAKE.encode())
        assert stuck.wait(60)
        assert sent < ENDLESS
        assert proxy.memory_now() - before < ENDLESS / 4


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame that does not end its message, with a mask of zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2)
    return bytes([opcode]) + length + bytes(4) + payload


COMPRESSED = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
BOMB = zlib.compressobj(9, wbits=-15)
ZEROS = BOMB.compress(bytes(16 * 2**20)) + BOMB.flush(zlib.Z_SYNC_FLUSH)
"""16 KiB that become 16 MiB."""
ENDLESS_MESSAGES = {
    "one frame": ("", b"\x02\xff" + (2**62).to_bytes(8) + bytes(4) + bytes(2**20)),
    "many frames": ("", frame(2, b"x") + frame(0, b"x") * 50_000),
    "compressed": (COMPRESSED, frame(0x42, ZEROS)),
}


@pytest.mark.parametrize("name", ENDLESS_MESSAGES)
def test_a_websocket_message_that_does_not_end(
    scripted: Upstream, shared_proxy: StartProxy, name: str
) -> None:
    """A message for which `limits.held` has no room ends the WebSocket; others go on."""
    extension, begin = ENDLESS_MESSAGES[name]
    got = []
    switch = websocket()[:-2] + extension.encode() + b"\r\n"

    def answer(_: Received, connection: socket.socket) -> None:
        connection.sendall(switch)
        got.append(read_all(connection))

    scripted.answer = answer
    proxy = shared_proxy(scripted.url, limits={"held": "256KiB"})
    with connect(proxy.url) as other, connect(proxy.url) as connection:
        for each in (other, connection):
            each.sendall((HANDSHAKE[:-2] + extension + "\r\n").encode())
            read_until(each, b"\r\n\r\n")
        connection.sendall(begin)
        # The rest is not read, so the end may be a reset.
        with contextlib.suppress(ConnectionError):
            assert read_all(connection) in (b"", b"\x88\x02" + (1009).to_bytes(2))
        other.sendall(b"\x82\x83\0\0\0\0abc\x88\x80\0\0\0\0")
        assert b"\x88" in read_all(other)
    assert "no room in memory for a WebSocket message" in proxy.text()
    assert any(data[:2] == b"\x88\x82" for data in got)
    assert sum(map(len, got)) < 100


def test_without_websockets(scripted: Upstream, shared_proxy: StartProxy) -> None:
    """With mitmproxy's option websocket=false, there is no tunnel in the place of a WebSocket."""
    scripted.answer = websocket()
    proxy = shared_proxy(scripted.url, options=("--set", "websocket=false"))
    with connect(proxy.url) as connection:
        connection.sendall((HANDSHAKE + HANDSHAKE).encode())
        for _ in range(2):
            assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 502 ")
            read_until(connection, b"}")


def test_a_websocket_that_is_refused(scripted: Upstream, proxy: lab.Server) -> None:
    """A server may refuse a WebSocket: its answer passes, and the connection stays open."""
    scripted.answer = response("200 OK", b"{}", ("Content-Type", "application/json"))
    with connect(proxy.url) as connection:
        connection.sendall((HANDSHAKE + PLAIN).encode())
        for _ in range(2):
            assert b" 200 " in read_until(connection, b"\r\n\r\n")
            read_until(connection, b"{}")
