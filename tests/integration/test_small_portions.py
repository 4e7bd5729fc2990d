"""Many small portions: data that arrives by the byte is not processed from the start each time.

The tests measure processor time, which does not grow on a busy machine.
"""

from __future__ import annotations

import gzip
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h2.settings
import lab
import pytest
from support.client import RawHttp2, request
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream, response

API = "/api/2.0/mlflow/experiments/search"
HTML = ("Content-Type", "text/html")
GZIP = ("Content-Encoding", "gzip")
SECONDS = 6
"""Several times what the work takes; starting over for each byte takes a minute."""


def used(proxy: lab.Server) -> float:
    """Return the processor time of a proxy in seconds."""
    fields = Path(f"/proc/{proxy.process.pid}/stat").read_text(encoding="ascii")
    user, system = fields.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def little_work(proxy: lab.Server) -> Iterator[None]:
    """Check that the proxy needs little processor time for what happens inside."""
    before = used(proxy)
    yield
    assert used(proxy) - before < SECONDS


def chunked(body: bytes, *headers: tuple[str, str]) -> bytes:
    """Return an answer in chunks of one byte."""
    head, end, _ = response("200 OK", b"", *headers, framing="chunked").partition(b"\r\n\r\n")
    chunks = (b"1\r\n%c\r\n" % byte for byte in body)
    return head + end + b"".join(chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_blanks(scripted: Upstream, scripted_proxy: lab.Server, encoding: str) -> None:
    """Leading white space, after which a page may follow, is not read again for each byte."""
    blanks = b" " * (60_000 if not encoding else 12_000_000)
    body = gzip.compress(blanks + b"{}") if encoding else blanks + b"{}"
    scripted.answer = chunked(body, HTML, *([GZIP] if encoding else []))
    with little_work(scripted_proxy):
        got = request(scripted_proxy.url, API)
    assert (got.status, got.body) == (200, body)


def test_an_http2_client_that_does_not_read(tmp_path: Path, start_proxy: StartProxy) -> None:
    """Data that waits for an HTTP/2 window is not added up again for each byte."""
    came = threading.Event()

    def answer(received: Received, connection: socket.socket) -> None:
        if received.target == API:
            connection.sendall(OK)
            return
        connection.sendall(chunked(b"x" * 60_000, ("Content-Type", "application/octet-stream")))
        came.set()

    with Upstream(answer) as upstream:
        proxy = start_proxy(upstream.url, options=("--set", f"confdir={tmp_path}"))
        with RawHttp2(proxy.url, tmp_path / "mitmproxy-ca-cert.pem") as client, little_work(proxy):
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            head = [
                (":method", "GET"), (":scheme", "https"), (":authority", "localhost"),
                (":path", "/api/2.0/mlflow-artifacts/artifacts/a.bin"),
            ]  # fmt: skip
            client.h2.send_headers(1, head, end_stream=True)
            client.flush()
            assert came.wait(30)
            # The proxy has one thread, so this answer comes after what it has read so far.
            assert request(proxy.url, API).status == 200
