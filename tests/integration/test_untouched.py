"""Traffic that the proxy must not hold or change: event streams, WebSockets, gRPC, traces."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import lab
import pytest
from support import websocket
from support.client import connect, read_until
from support.upstream import Received, Upstream

MASK = b"\x01\x02\x03\x04"


def ask(proxy: lab.Server, head: str) -> socket.socket:
    connection = connect(proxy.url)
    connection.sendall(f"{head}\r\nHost: {urlsplit(proxy.url).netloc}\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize(
    ("target", "content_type", "first"),
    [
        ("/ajax-api/2.0/mlflow/gateway-proxy", "text/event-stream", b"data: 1\n\n"),
        ("/api/2.0/mlflow/experiments/stream", "application/x-ndjson", b'{"a": 1}\n'),
        # Without Content-Type and length, the first bytes show that it is no page.
        ("/api/2.0/mlflow/experiments/stream", "", b'{"a": 1}\n'),
        ("/api/2.0/mlflow/experiments/stream", "text/html", b"3.17"),
        ("/mlflow.Service/Call", "application/grpc", b"\x00\x00\x00\x00\x01"),
        ("/v1/traces", "application/x-protobuf", b"\x08"),
    ],
)
def test_streams_flow(
    scripted: Upstream, scripted_proxy: lab.Server, target: str, content_type: str, first: bytes
) -> None:
    """The first event arrives while the upstream still waits to send the second."""
    arrived = threading.Event()

    def answer(_: Received, connection: socket.socket) -> None:
        label = f"Content-Type: {content_type}\r\n" if content_type else ""
        connection.sendall(f"HTTP/1.1 200 OK\r\n{label}Connection: close\r\n\r\n".encode() + first)
        assert arrived.wait(10)
        connection.sendall(b"the end")

    scripted.answer = answer
    with ask(scripted_proxy, f"GET {target} HTTP/1.1") as connection:
        head = read_until(connection, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        read_until(connection, first)
        arrived.set()
        read_until(connection, b"the end")


def test_websocket(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """An upgrade on an API path is passed on, and messages go both ways."""

    def answer(received: Received, connection: socket.socket) -> None:
        (key,) = received.header("sec-websocket-key")
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {websocket.accept(key)}\r\n\r\n".encode()
        )
        frame = b""
        while len(frame) < 8:
            frame += connection.recv(64)
        mask, masked = frame[2:6], frame[6:8]
        text = bytes(a ^ b for a, b in zip(masked, mask, strict=False))
        connection.sendall(b"\x81\x04" + text + b"--")

    scripted.answer = answer
    scripted.requests.clear()
    head = (
        "GET /api/2.0/mlflow/socket HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    )
    with ask(scripted_proxy, head) as connection:
        assert b" 101 " in read_until(connection, b"\r\n\r\n")
        message = bytes(a ^ b for a, b in zip(b"hi", MASK, strict=False))
        connection.sendall(b"\x81\x82" + MASK + message)
        assert read_until(connection, b"--") == b"\x81\x04hi--"
    assert scripted.requests[0].target == "/ajax-api/2.0/mlflow/socket"
