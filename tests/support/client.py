"""An HTTP/1.1 client that sends exactly the given bytes, and HTTP/2 clients."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import httpx

CLIENT_HELLO = b"\x16\3\1\2\0\1\0\1\xfc"
"""The first bytes of a TLS handshake."""


@dataclass(frozen=True)
class Response:
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def request(
    url: str,
    target: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] | None = None,
    ca: Path | None = None,
    timeout: float = 30,
    skip_host: bool = False,
) -> Response:
    """Send one HTTP/1.1 request, without normalising its target.

    Args:
        url: scheme and authority.
        target: the request target; surrogate escapes stand for bytes that are not UTF-8.
        method: HTTP method.
        headers: in addition to Host.
        body: bytes with a Content-Length, or an iterable that is sent in chunks.
        ca: certificate authority to trust for https.
        timeout: seconds for each read.
        skip_host: leave out Host, for a test that sends its own.
    """
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(parts.netloc, context=context, timeout=timeout)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    # Tests send what http.client would refuse.
    raw: Any = connection
    raw._validate_path = lambda _: None
    raw._encode_request = lambda line: line.encode("utf-8", "surrogateescape")
    connection.putrequest(method, target, skip_host=skip_host, skip_accept_encoding=True)
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        connection.putheader(name, value)
    chunked = body is not None and not isinstance(body, bytes)
    if chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    elif isinstance(body, bytes):
        connection.putheader("Content-Length", str(len(body)))
    try:
        connection.endheaders(body, encode_chunked=chunked)
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        connection.close()


def connect(url: str, *, timeout: float = 10) -> socket.socket:
    """Open a connection on which a test can send any bytes."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=timeout)


def head(method: str, target: str, *lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def raw(url: str, *parts: bytes, pause: float = 0.02) -> bytes:
    """Send bytes in portions; return everything received until the other side closes."""
    with connect(url) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except ConnectionError:
            pass  # The proxy may answer and close before everything is sent.
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return everything received until the other side closes or resets the connection."""
    data = b""
    try:
        while block := connection.recv(65536):
            data += block
    except ConnectionError:
        pass
    return data


def unnamed(answers: bytes) -> bytes:
    """Return answers without the request IDs that the proxy adds."""
    return re.sub(rb"(X-Request-Id|traceparent): [^\r]*\r\n", b"", answers)


def closing(answer: bytes) -> bytes:
    """Return an answer with the `Connection: close` that the proxy adds when it closes."""
    return answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def timed_out(answer: bytes, message: str = "") -> None:
    """Fail unless the proxy has answered a slow request with 408 and closes the connection."""
    first, _, body = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close" in first
    content = json.loads(body)
    assert (content["error_code"], content["source"]) == ("DEADLINE_EXCEEDED", "proxy")
    assert content["message"].startswith(message)


class RawHttp2:
    """An HTTP/2 connection that can also send forbidden headers.

    Without a certificate authority it accepts any certificate.
    """

    def __init__(self, url: str, ca: Path | None) -> None:
        context = ssl.create_default_context(cafile=ca)
        if ca is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = connect(url)
        # As HTTP/2 clients do; otherwise each window waits for an acknowledgement.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send the pending data."""
        self.socket.sendall(self.h2.data_to_send())

    def events(self) -> Iterator[h2.events.Event]:
        """Yield the other side's events until it closes the connection."""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return
            if not data:
                return
            yield from self.h2.receive_data(data)
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class _PrefersHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 first, and mitmproxy takes the first offer that it knows."""

    def set_alpn_protocols(self, _: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2", "http/1.1"])


def http2(ca: Path) -> httpx.Client:
    """An HTTP/2 client that trusts a certificate authority."""
    context = _PrefersHttp2(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return httpx.Client(http1=False, http2=True, verify=context, timeout=10)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read up to and including the given end, and no further."""
    data = b""
    while not data.endswith(end):
        part = connection.recv(1)
        assert part, data
        data += part
    return data
