"""Hop-by-hop fields, over the wire in both directions."""

from __future__ import annotations

import http.client
import re
import socket

import lab
import pytest
from support.client import connect, raw, read_until, request
from support.upstream import OK, Received, Upstream, response

API = "/api/2.0/mlflow/runs/get"


def head(*lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {API} HTTP/{version}", "Host: x", *lines, "", ""]).encode()


HOPS = ("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "X-Hop", "X-Other")


def test_requests(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """Hop-by-hop fields of a request do not reach the upstream; other fields do."""
    scripted.answer = OK
    scripted.requests.clear()
    sent = [
        *(("Connection", "keep-alive, x-hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5")),
        *(("connection", " X-OTHER"), ("X-Other", "1"), ("Proxy-Connection", "keep-alive")),
        *(("Upgrade", "h2c"), ("TE", "gzip, trailers"), ("Authorization", "Bearer a"), ("X", "1")),
    ]
    assert request(scripted_proxy.url, API, headers=sent).status == 200
    (received,) = scripted.requests
    found = {name: received.header(name) for name in HOPS}
    assert found == {name: ["trailers"] if name == "TE" else [] for name in HOPS}
    assert (received.header("authorization"), received.header("x")) == (["Bearer a"], ["1"])


@pytest.mark.parametrize("length", [{}, {"framing": "chunked"}])
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_responses(
    scripted: Upstream, scripted_proxy: lab.Server, status: str, length: dict[str, str]
) -> None:
    """Hop-by-hop fields do not reach the client, whose connection outlives the upstream's."""
    fields = [
        *(
            ("Connection", "close, X-Hop, Content-Type"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=1"),
        ),
        *(("Content-Type", "application/json"), ("Proxy-Connection", "close"), ("X", "1")),
        *(("connection", "X-Other"), ("X-Other", "1"), ("Upgrade", "h2c")),
    ]
    seen: list[socket.socket] = []

    def answer(_: Received, connection: socket.socket) -> bool:
        seen.append(connection)
        body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": ""}'
        connection.sendall(response(status, body, *fields, **length))
        return True

    scripted.answer = answer
    client = http.client.HTTPConnection(scripted_proxy.url.removeprefix("http://"), timeout=10)
    sockets = []
    for _ in range(2):
        client.request("GET", API)
        got = client.getresponse()
        assert b"error_code" in got.read()
        assert {name: got.getheader(name) for name in HOPS} == dict.fromkeys(HOPS)
        assert (got.getheader("X"), got.getheader("Content-Type")) == ("1", "application/json")
        sockets.append(client.sock)
    assert sockets[0] is sockets[1] is not None
    assert seen[0] is not seen[1]
    client.close()


@pytest.mark.parametrize(
    "lines",
    [("Connection: close",), ("Connection: x, Close",), ("Connection: x", "connection: CLOSE")],
)
def test_a_client_that_wants_to_close(
    scripted: Upstream, scripted_proxy: lab.Server, lines: tuple[str, ...]
) -> None:
    """A client's Connection: close is confirmed and obeyed, but not sent to the upstream."""
    scripted.answer = OK
    scripted.requests.clear()
    answer = raw(scripted_proxy.url, head(*lines) + head())
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert scripted.requests[0].header("connection") == []


@pytest.mark.parametrize(
    "name", ["Authorization", "X-Forwarded-For", "cookie", "Origin", "Content-Type", "Remote-User"]
)
def test_connection_cannot_remove_needed_fields(
    scripted: Upstream, scripted_proxy: lab.Server, name: str
) -> None:
    """A request is refused if Connection names a field that a proxy or a rule relies on."""
    scripted.requests.clear()
    answer = raw(scripted_proxy.url, head(f"{name}: x", f"Connection: keep-alive, {name}"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert scripted.requests == []


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
@pytest.mark.parametrize("body", [b"{}", b"x" * 3_000_000, b""])
def test_old_clients_get_no_chunks(
    scripted: Upstream, scripted_proxy: lab.Server, lines: tuple[str, ...], body: bytes
) -> None:
    """An HTTP/1.0 client gets no chunks: the end of the connection ends the answer."""
    scripted.answer = response(
        "200 OK", body, ("Content-Type", "application/json"), framing="chunked"
    )
    answer = raw(scripted_proxy.url, head(*lines, version="1.0"))
    fields, _, got = answer.partition(b"\r\n\r\n")
    assert b" 200 OK\r\n" in fields
    assert not re.search(rb"(?i)transfer-encoding", fields)
    assert b"Connection: close" in fields
    assert got == body


def test_a_chunked_answer_that_breaks_for_an_old_client(
    scripted: Upstream, scripted_proxy: lab.Server
) -> None:
    """The client's connection is reset: a plain close would look like the end of the answer."""
    whole = response("200 OK", b"x" * 3_000_000, framing="chunked")
    scripted.answer = lambda _, connection: connection.sendall(whole[:-100])
    with connect(scripted_proxy.url) as connection:
        connection.sendall(head(version="1.0"))
        read_until(connection, b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while connection.recv(65536):
                pass
            raise AssertionError("an end like any other")
