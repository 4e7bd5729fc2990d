"""Limits on the size of bodies and heads, and on requests at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import lab
import pytest
from support.client import Response, connect, http2, raw, request
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream, held_until, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/log-batch"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
BODIES = {"api_body": "1MiB", "artifact_body": "3MiB"}
LIMITS = BODIES | {"request_head": "8KiB", "response_head": "8KiB", "flows": 4}
MIB = 2**20


def own_error(got: Response, status: int, code: str) -> None:
    assert got.status == status
    content = json.loads(got.body)
    assert (content["error_code"], content["source"]) == (code, "proxy")
    # With this header, a client retries even a request that can never fit.
    assert ("Retry-After" in got.headers) is (status == 503)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("target", "size", "fits"),
    [(API, MIB, True), (API, MIB + 1, False), (FILE, 3 * MIB, True), (FILE, 3 * MIB + 1, False)],
)
def test_bodies(
    scripted: Upstream, limited_proxy: lab.Server, target: str, size: int, fits: bool, chunked: bool
) -> None:
    """A body up to the limit passes; a larger one gets 413 and is never complete upstream."""
    scripted.answer = OK
    scripted.requests.clear()
    body = b"x" * size
    sent = iter([body[:5000], body[5000:]]) if chunked else body
    got = request(limited_proxy.url, target, method="PUT", body=sent)
    if fits:
        assert got.status == 200
        assert len(scripted.requests[0].body) == size
    else:
        own_error(got, 413, "RESOURCE_LIMIT_EXCEEDED")
        assert scripted.requests == []


def test_http2_body_without_a_length(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """An HTTP/2 body without a length is limited, too."""
    scripted.answer = OK
    scripted.requests.clear()
    url = limited_proxy.url.replace("http://127.0.0.1", "https://localhost")
    with http2(limited_proxy.log.parent / "mitmproxy-ca-cert.pem") as session:
        assert session.put(url + FILE, content=iter([b"x" * MIB])).status_code == 200
        assert session.put(url + FILE, content=iter([b"x" * 4 * MIB])).status_code == 413
    assert [len(received.body) for received in scripted.requests] == [MIB]


def test_a_huge_body_costs_no_memory(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A huge body gets 413 and is read and dropped, or not read at all."""
    proxy = start_proxy(scripted.url, limits=LIMITS)

    def blocks() -> Iterator[bytes]:
        for _ in range(512):
            yield bytes(MIB)

    got = request(proxy.url, FILE, method="PUT", body=blocks(), timeout=60)
    own_error(got, 413, "RESOURCE_LIMIT_EXCEEDED")
    assert proxy.memory() < 100 * MIB


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET /x HTTP/1.1\r\nHost: x\r\nA: " + b"secret" * 2000 + b"\r\n\r\n",),
        (b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"A: secret\r\n" * 2000 + b"\r\n",),
        (b"GET /" + b"secret" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",),
        # Heads that never end, in portions.
        (b"GET /x HTTP/1.1\r\n", *([b"A: secret\r\n" * 100] * 10)),
        (b"secret" * 1000, *([b"secret" * 1000] * 5)),
    ],
)
def test_heads(limited_proxy: lab.Server, parts: tuple[bytes, ...]) -> None:
    """A head that is too large, or never ends, gets 431, and the connection is closed."""
    head, _, body = raw(limited_proxy.url, *parts).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["error_code"] == "BAD_REQUEST"
    assert json.loads(body)["source"] == "proxy"


def test_body_bytes_do_not_count_as_head(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """Body bytes in the same packet do not count toward the limit on heads."""
    scripted.answer = OK
    head = (
        b"PUT /api/2.0/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 50000\r\n\r\n"
    )
    assert raw(limited_proxy.url, head + b"x" * 50_000).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_cut_is_not_logged(limited_proxy: lab.Server) -> None:
    """If a client disconnects in the middle of a head, its credentials do not reach the log."""
    with connect(limited_proxy.url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\r\n")
    time.sleep(0.3)
    assert "secret" not in limited_proxy.text()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nA: " + b"secret" * 2000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"A: secret\r\n" * 2000 + b"\r\n",
        b"secret" * 2000,
        None,
    ],
)
def test_heads_of_an_upstream(
    scripted: Upstream, limited_proxy: lab.Server, head: bytes | None
) -> None:
    """An upstream's head that is too large gives 502 at once; the next request is served."""

    def answer(received: Received, connection: socket.socket) -> bool:
        if received.target.endswith("next"):
            connection.sendall(OK)
        elif head is not None:
            connection.sendall(head)
        else:
            while True:
                connection.sendall(b"A: secret\r\n" * 100)
        return True

    scripted.answer = answer
    client = http.client.HTTPConnection(limited_proxy.url.removeprefix("http://"), timeout=20)
    client.request("POST", API)
    got = client.getresponse()
    assert got.status == 502
    assert "the headers of its answer are too large" in json.loads(got.read())["message"]
    client.request("GET", "/api/2.0/next")
    assert client.getresponse().status == 200
    client.close()


def test_requests_at_once(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """One request above limits.flows gets 503 at once; the others and the next are served."""
    release = threading.Event()
    scripted.answer = held_until(release)
    scripted.requests.clear()
    with ThreadPoolExecutor(4) as pool:
        held = [pool.submit(request, limited_proxy.url, API) for _ in range(4)]
        eventually(lambda: len(scripted.requests) == 4)
        own_error(request(limited_proxy.url, API), 503, "TEMPORARILY_UNAVAILABLE")
        assert request(limited_proxy.url, "/livez").status == 200
        release.set()
        assert [future.result().status for future in held] == [200] * 4
    assert request(limited_proxy.url, API).status == 200


def test_aborted_requests_are_not_counted(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """Requests of clients that disconnect no longer count."""
    gone = threading.Event()

    def wait(_: Received, connection: socket.socket) -> None:
        gone.wait(20)

    scripted.answer = wait
    for body in (b"", b"x" * 2000):
        scripted.requests.clear()
        head = f"PUT {FILE} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with contextlib.ExitStack() as clients:

            def one_more(whole: bytes = head.encode() + body) -> bool:
                # Requests of the previous round may still count for some seconds.
                clients.enter_context(connect(limited_proxy.url)).sendall(whole)
                return len(scripted.requests) == 4

            eventually(one_more)
    # Others disconnect in the middle of their bodies.
    for _ in range(8):
        with connect(limited_proxy.url) as client:
            client.sendall(f"PUT {FILE} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx".encode())
    gone.set()
    scripted.answer = OK
    eventually(lambda: request(limited_proxy.url, API).status == 200)


def test_unread_answers_count(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A request counts until its client has read the answer or disconnected."""
    # The answer is held, so the upstream is done before the client reads it.
    proxy = start_proxy(scripted.url, limits={"flows": 4}, streaming={"threshold": "16MiB"})
    json_type = ("Content-Type", "application/json")
    scripted.answer = response("200 OK", b"x" * (8 * MIB), json_type)
    with contextlib.ExitStack() as clients:
        for _ in range(4):
            client = clients.enter_context(connect(proxy.url))
            client.sendall(f"GET {API} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(1)
        scripted.answer = OK
        own_error(request(proxy.url, API), 503, "TEMPORARILY_UNAVAILABLE")
    eventually(lambda: request(proxy.url, API).status == 200)
