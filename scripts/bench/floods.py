"""Loads without an end that one hostile or clumsy client puts on a proxy, in a process of its own.

Each makes many bytes once and sends them again and again, so the client itself has next to nothing
to do. It reads whatever comes back, as what nobody reads would slow the proxy down.
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

MESSAGES = "/api/2.0/mlflow/ws"
"""Where the other registry of this file takes a WebSocket."""
ONE_BYTE = b"1\r\nx\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_HOST = b"Host: localhost\r\n"

Flood = Callable[[str], None]
"""Takes the URL of the proxy."""


@contextmanager
def running(flood: Flood, url: str) -> Iterator[None]:
    """Let a client put its load on a proxy."""
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
    """3 MB of requests from a page of somebody else's, which are refused."""
    request = (
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\n%sOrigin: http://evil.example\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" % _HOST
    )
    _send_for_ever(url, request * (3_000_000 // len(request)))


def malformed_targets(url: str) -> None:
    """255 KiB of requests for a target that is refused, one after the other."""
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
    handshake = (
        b"GET %s HTTP/1.1\r\n%sConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ) % (MESSAGES.encode(), _HOST)
    with connect(url) as connection:
        connection.sendall(handshake)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        while True:
            _send(connection, b"\x81\x81\0\0\0\0x" * 10_000)


def answer_in_chunks(connection: socket.socket) -> None:
    """The registry for the last two."""
    received = b""
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
            if not received.endswith(b"\r\n\r\n"):
                continue
            if b"Sec-WebSocket-Key" in received:
                connection.sendall(_SWITCH)
                while connection.recv(65536):
                    pass
                return
            kind = b"Content-Type: application/octet-stream\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + kind + CHUNKED)
            connection.sendall(ONE_BYTE * 2**20 + _END)
            received = b""


_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""With what RFC 6455, section 1.3, has as the answer to that key."""

# HTTP/2 (RFC 9113).

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW = 65_535
_LAST = b"the last"
"""In the last ping of a connection."""


def rapid_reset(url: str) -> None:
    """Requests that are given up at once (CVE-2023-44487)."""
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
    """Pings, each of which asks for an answer."""
    _send_http2(url, _frame(_PING, bytes(8)) * 100_000)


def changes_of_settings(url: str) -> None:
    """The same with settings: each is a change, and is acknowledged."""
    window = (_frame(_SETTINGS, b"\0\4" + size.to_bytes(4)) for size in (_INITIAL_WINDOW, 1, 2**20))
    _send_http2(url, b"".join(window) * 30_000)


def _frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    return (
        len(payload).to_bytes(3) + kind.to_bytes() + flags.to_bytes() + stream.to_bytes(4) + payload
    )


def _header_blocks(method: str, path: str) -> tuple[bytes, bytes]:
    """The fields of a connection's first request, and of all others, which are indices alone."""
    encoder = hpack.Encoder()
    fields = [(":method", method), (":scheme", "https"), (":authority", "localhost")]
    return encoder.encode([*fields, (":path", path)]), encoder.encode([*fields, (":path", path)])


# Sending.


def _send_for_ever(url: str, data: bytes) -> None:
    """Send bytes on a connection again and again, and on another one when that is closed."""
    while True:
        with connect(url) as connection, contextlib.suppress(OSError):
            while True:
                _send(connection, data)


def _send_http2(url: str, frames: bytes) -> None:
    """Send frames on a connection, wait until they were read, and begin anew."""
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
    """Send bytes, and read what there is meanwhile.

    Args:
        connection: to the proxy.
        data: to be sent.
        until: what comes back when all of it was read.

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
