"""Endless loads from one hostile or clumsy client, in its own process.

Each builds many bytes once and sends them again and again, so the client itself has little work. It
reads all answers, because unread answers would slow the proxy down.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hpack
from bench import servers
from bench.transfers import connect
from lab import websocket

MESSAGES = "/api/2.0/mlflow/ws"
"""The path of WebSockets at the registry of this file."""
ONE_BYTE = b"1\r\nx\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_HOST = b"Host: localhost\r\n"

Flood = Callable[[str], None]
"""Called with the URL of the proxy."""


@contextmanager
def running(flood: Flood, url: str) -> Iterator[None]:
    """Run a flood against a proxy, as a context manager."""
    process = multiprocessing.Process(target=flood, args=(url,), daemon=True)
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(f"{flood.__name__} has ended by itself")
    finally:
        process.kill()
        process.join()


# HTTP/1.


def one_byte_chunks(url: str) -> None:
    """Uploads of a mebibyte, in chunks of one byte."""
    head = b"PUT %supload HTTP/1.1\r\n%s%s" % (servers.ARTIFACTS.encode(), _HOST, CHUNKED)
    _send_for_ever(url, head + ONE_BYTE * 2**20 + _END)


def refused_requests(url: str) -> None:
    """3 MB of requests from a page of another origin, which are refused."""
    request = (
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\n%sOrigin: http://evil.example\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" % _HOST
    )
    _send_for_ever(url, request * (3_000_000 // len(request)))


def malformed_targets(url: str) -> None:
    """255 KiB of requests, one after the other, for a target that is refused."""
    request = b"GET /%%00 HTTP/1.1\r\n%s\r\n" % _HOST
    _send_for_ever(url, request * (255 * 1024 // len(request)))


def heads_by_the_byte(url: str) -> None:
    """Heads of 60 KB, a byte at a time."""
    head = b"GET / HTTP/1.1\r\n%sX: %s\r\n\r\n" % (_HOST, b"x" * 60_000)
    while True:
        with connect(url) as connection:
            try:
                for byte in head:
                    connection.send(b"%c" % byte)
                connection.recv(65536)
            except OSError:
                continue


def chunked_answers(url: str) -> None:
    """Downloads from a registry that answers in chunks of one byte."""
    request = b"GET %schunks HTTP/1.1\r\n%s\r\n" % (servers.ARTIFACTS.encode(), _HOST)
    _send_for_ever(url, request)


def web_socket_messages(url: str) -> None:
    """Messages of one byte in a WebSocket."""
    begin = b"GET %s HTTP/1.1\r\n%s" % (MESSAGES.encode(), _HOST)
    with connect(url) as connection:
        connection.sendall(begin + websocket.HANDSHAKE + b"\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        while True:
            _send(connection, b"\x81\x81\0\0\0\0x" * 10_000)


def answer_in_chunks(connection: socket.socket) -> None:
    """The registry for the last two floods."""
    received = b""
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
            if not received.endswith(b"\r\n\r\n"):
                continue
            if b"Sec-WebSocket-Key" in received:
                connection.sendall(websocket.SWITCH)
                while connection.recv(65536):
                    pass
                return
            kind = b"Content-Type: application/octet-stream\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + kind + CHUNKED)
            connection.sendall(ONE_BYTE * 2**20 + _END)
            received = b""


# HTTP/2 (RFC 9113).

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW = 65_535
_LAST = b"the last"
"""Payload of the last ping of a connection."""


def rapid_reset(url: str) -> None:
    """Requests that are reset at once (CVE-2023-44487)."""
    first, next_ones = _header_blocks("GET", servers.API)
    frames = []
    for number in range(20_000):
        stream = 2 * number + 1
        block = next_ones if number else first
        frames.append(_frame(_HEADERS, block, stream, _END_HEADERS | _END_STREAM))
        frames.append(_frame(_RESET, b"\0\0\0\x08", stream))
    _send_http2(url, b"".join(frames))


def one_byte_frames(url: str) -> None:
    """An upload in frames of one byte, as many as fit into the window."""
    head, _ = _header_blocks("PUT", f"{servers.ARTIFACTS}upload")
    begin = _frame(_HEADERS, head, 1, _END_HEADERS)
    _send_http2(url, begin + _frame(_DATA, b"x", 1) * (_INITIAL_WINDOW - 1))


def pings(url: str) -> None:
    """Pings; each needs an answer."""
    _send_http2(url, _frame(_PING, bytes(8)) * 100_000)


def changes_of_settings(url: str) -> None:
    """The same with changes of settings; each needs an acknowledgement."""
    window = (_frame(_SETTINGS, b"\0\4" + size.to_bytes(4)) for size in (_INITIAL_WINDOW, 1, 2**20))
    _send_http2(url, b"".join(window) * 30_000)


def _frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    return (
        len(payload).to_bytes(3) + kind.to_bytes() + flags.to_bytes() + stream.to_bytes(4) + payload
    )


def _header_blocks(method: str, path: str) -> tuple[bytes, bytes]:
    """Return the header blocks of a connection's first request, and of all others: only indices."""
    encoder = hpack.Encoder()
    fields = [(":method", method), (":scheme", "https"), (":authority", "localhost")]
    return encoder.encode([*fields, (":path", path)]), encoder.encode([*fields, (":path", path)])


# Sending.


def _send_for_ever(url: str, data: bytes) -> None:
    """Send bytes on a connection again and again, and on a new one after that is closed."""
    while True:
        with connect(url) as connection, contextlib.suppress(OSError):
            while True:
                _send(connection, data)


def _send_http2(url: str, frames: bytes) -> None:
    """Send frames on a connection, wait until they were read, and start again."""
    data = _PREFACE + _frame(_SETTINGS) + frames + _frame(_PING, _LAST)
    while True:
        with contextlib.suppress(OSError), _secured(url) as connection:
            _send(connection, data, until=_LAST)


def _secured(url: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connect(url), server_hostname="localhost")


def _send(connection: socket.socket, data: bytes, *, until: bytes = b"") -> None:
    """Send bytes, and read answers meanwhile.

    Args:
        connection: to the proxy.
        data: the bytes to send.
        until: bytes in the answers that show that everything was read.

    Raises:
        OSError: the other side has closed the connection.
    """
    connection.setblocking(False)
    left, end = memoryview(data), b""
    while left or until not in end:
        waits = True
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            if not (got := connection.recv(2**18)):
                raise ConnectionError("closed")
            end, waits = end[-len(until) :] + got, False
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if left:
                left, waits = left[connection.send(left[: 2**16]) :], False
        if waits:
            select.select([connection], [connection] if left else [], [], 1)
