"""A client that sends exactly the bytes it is told to, and one for HTTP/2."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx


@dataclass(frozen=True)
class Response:
    """What came back."""

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
    """Send one HTTP/1.1 request with a target that nothing normalises.

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


class _PrefersHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 first, and mitmproxy takes the first offer that it knows."""

    def set_alpn_protocols(self, _: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2", "http/1.1"])


def http2(ca: Path) -> httpx.Client:
    """An HTTP/2 client that trusts a certificate authority."""
    context = _PrefersHttp2(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return httpx.Client(http1=False, http2=True, verify=context, timeout=10)
