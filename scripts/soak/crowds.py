"""Clients that fill one of the proxy's limits each, and stay.

Their segments are as small as those of a network. Of an answer that a client does not read, the
kernel then keeps some KiB, as it would there, and the rest waits in the proxy.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.settings
from lab import websocket

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
MIB = 2**20
STREAMS = 100
"""Requests at once of an HTTP/2 client: as many as the proxy allows."""
CONNECTED = 5
"""So many of them get a connection to the registry at once (mitmproxy/proxy/server.py)."""
SEGMENT, WINDOW = 1400, 4096
"""Bytes."""
QUIET, LATEST = 3, 60
"""Seconds."""


class Crowd:
    """Open connections to a proxy.

    Args:
        url: of the proxy.
        opened: closes them at the end.
    """

    def __init__(self, url: str, opened: contextlib.ExitStack) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 0
        self._opened = opened
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._tls.set_alpn_protocols(["h2"])

    def connect(self, data: bytes = b"") -> socket.socket:
        """Return a new connection, after some bytes were sent on it."""
        made = socket.socket()
        self._opened.callback(made.close)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        made.settimeout(60)
        made.connect(self._address)
        made.sendall(data)
        return made

    def connect_http2(self) -> tuple[ssl.SSLSocket, h2.connection.H2Connection]:
        """Return a new HTTP/2 connection over TLS, of which no stream has a window."""
        made = self._tls.wrap_socket(self.connect(), server_hostname="localhost")
        self._opened.callback(made.close)
        connection = h2.connection.H2Connection(h2.config.H2Configuration())
        connection.local_settings = h2.settings.Settings(
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
        )
        connection.initiate_connection()
        made.sendall(connection.data_to_send())
        return made, connection


def _request(method: str, target: str, fields: bytes = b"") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n".encode() + fields + b"\r\n"


def idle(crowd: Crowd, count: int) -> None:
    """Clients that have had an answer and keep their connections."""
    for _ in range(count):
        client = crowd.connect(_request("GET", f"{API}experiments/search"))
        if not client.recv(4096).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("a client was not served")


def idle_http2(crowd: Crowd, count: int) -> None:
    """Clients that have connected by TLS, and speak HTTP/2."""
    for _ in range(count):
        client, _ = crowd.connect_http2()
        client.recv(4096)  # The proxy's settings.


def heads(crowd: Crowd, count: int) -> None:
    """Request heads of nearly 64 KiB, without an end."""
    begin = _request("GET", API)[:-2] + b"X: "
    for _ in range(count):
        with contextlib.suppress(OSError):  # Without room the proxy closes the connection.
            crowd.connect(begin + b"x" * (65_000 - len(begin)))


def heads_http2(crowd: Crowd, count: int) -> None:
    """The same by HTTP/2, in four frames."""
    size = 2**14 - 100
    for _ in range(count):
        client, _ = crowd.connect_http2()
        with contextlib.suppress(OSError):
            for kind in (1, 9, 9, 9):  # HEADERS, CONTINUATION
                client.sendall(size.to_bytes(3) + bytes([kind, 0, 0, 0, 0, 1]) + bytes(size))


def files(crowd: Crowd, count: int) -> None:
    """Clients that do not read an artifact."""
    for _ in range(count):
        crowd.connect(_request("GET", f"{ARTIFACTS}large"))


def answers(crowd: Crowd, count: int) -> None:
    """Clients that do not read 1 MiB of the API, which the proxy holds until it is whole."""
    for _ in range(count):
        crowd.connect(_request("GET", f"{API}long"))


def errors(crowd: Crowd, count: int) -> None:
    """Clients that wait for an error, a page that does not end."""
    for _ in range(count):
        crowd.connect(_request("GET", f"{API}error"))


def bodies(crowd: Crowd, count: int) -> None:
    """Request bodies of 1 MiB without their last byte."""
    head = _request("POST", f"{API}runs/log-batch", b"Content-Length: %d\r\n" % MIB)
    for _ in range(count):
        with contextlib.suppress(OSError):  # Without room the proxy closes the connection.
            crowd.connect(head + bytes(MIB - 1))


def uploads(crowd: Crowd, count: int) -> None:
    """Uploads of artifacts that the registry does not read."""
    head = _request("PUT", f"{ARTIFACTS}unread", b"Content-Length: %d\r\n" % (1024 * MIB))
    clients = [crowd.connect(head) for _ in range(count)]
    block, begun = bytes(MIB // 4), time.monotonic()
    for client in clients:
        client.setblocking(False)
    taken = begun
    while time.monotonic() < min(taken + QUIET, begun + LATEST):
        for client in clients:
            with contextlib.suppress(BlockingIOError):
                client.send(block)
                taken = time.monotonic()
        time.sleep(0.01)


def web_sockets(crowd: Crowd, count: int) -> None:
    """WebSockets whose clients do not read the messages."""
    for _ in range(count):
        crowd.connect(_request("GET", f"{API}messages", websocket.HANDSHAKE))


def streams(crowd: Crowd, count: int) -> None:
    """Requests for an artifact that is not read, by HTTP/2, as many as a connection may have."""
    _streams(crowd, count, STREAMS)


def few_streams(crowd: Crowd, count: int) -> None:
    """The same, as many on a connection as get a connection to the registry at once."""
    _streams(crowd, count, CONNECTED)


def _streams(crowd: Crowd, count: int, each: int) -> None:
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "x")]
    for begun in range(0, count, each):
        client, connection = crowd.connect_http2()
        for number in range(min(each, count - begun)):
            path = (":path", f"{ARTIFACTS}large")
            connection.send_headers(2 * number + 1, [*fields, path], end_stream=True)
        client.sendall(connection.data_to_send())
