"""Upstreams and clients that are silent or slow."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import lab
import pytest
from support.client import Response, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Answer, Received, Upstream, response, silent

API = "/api/2.0/mlflow/experiments/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
LIMITS = {"connect_timeout": 1, "response_timeout": 1, "idle_timeout": 1}
BIG = 40_000_000


@pytest.fixture(scope="module")
def hasty_proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A proxy that waits for its upstream for at most one second."""
    folder = tmp_path_factory.mktemp("hasty")
    with running_proxy(folder, scripted.url, upstream=LIMITS) as server:
        yield server


def timed_out(got: Response, kind: str) -> None:
    assert got.status == 504
    content = json.loads(got.body)
    assert (content["error_code"], content["source"]) == ("DEADLINE_EXCEEDED", "proxy")
    assert got.headers["Proxy-Status"] == f"mlflow-proxy; error={kind}"


def first(data: bytes, then: float) -> Answer:
    """Send something, then stay silent for some seconds before the end."""

    def answer(_: Received, connection: socket.socket) -> None:
        connection.sendall(data)
        time.sleep(then)

    return answer


def test_no_connection(start_proxy: StartProxy) -> None:
    """A server that accepts no connection, as its queue is full, causes 504."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        proxy = start_proxy(f"http://127.0.0.1:{full.getsockname()[1]}", upstream=LIMITS)
        for method, body in (("GET", None), ("PUT", b"x" * 3_000_000)):
            got = request(proxy.url, FILE, method=method, body=body, timeout=10)
            timed_out(got, "connection_timeout")
        for client in waiting:
            client.close()


def test_no_handshake(start_proxy: StartProxy) -> None:
    """A server that accepts the connection but does not answer the TLS handshake causes 504."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        proxy = start_proxy(f"https://127.0.0.1:{mute.getsockname()[1]}", upstream=LIMITS)
        timed_out(request(proxy.url, API, timeout=10), "connection_timeout")


@pytest.mark.parametrize("body", [None, b"{}", b"x" * 3_000_000])
def test_no_response(scripted: Upstream, hasty_proxy: lab.Server, body: bytes | None) -> None:
    """An upstream that does not answer a request causes 504, with any kind of body."""
    scripted.answer = silent
    method = "POST" if body else "GET"
    got = request(hasty_proxy.url, API, method=method, body=body, timeout=10)
    timed_out(got, "http_response_timeout")


def test_half_a_document(scripted: Upstream, hasty_proxy: lab.Server) -> None:
    """A held answer that stops in the middle is replaced by 504."""
    whole = response("200 OK", b'{"a": 1}', ("Content-Type", "application/json"))
    scripted.answer = first(whole[:-3], 12)
    got = request(hasty_proxy.url, API, timeout=10)
    timed_out(got, "connection_read_timeout")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_half_a_file(scripted: Upstream, hasty_proxy: lab.Server, framing: str) -> None:
    """A download that stops in the middle is cut, so that it does not look complete."""
    scripted.answer = first(response("200 OK", b"x" * 1_000_000, framing=framing)[:-1], 12)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        request(hasty_proxy.url, FILE, timeout=10)


def test_an_upstream_that_does_not_read(start_proxy: StartProxy) -> None:
    """An upload that the upstream does not read gets 504."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        proxy = start_proxy(f"http://127.0.0.1:{deaf.getsockname()[1]}", upstream=LIMITS)
        got = request(proxy.url, FILE, method="PUT", body=iter([bytes(BIG)]), timeout=20)
    timed_out(got, "connection_write_timeout")


def test_slow_is_not_silent(scripted: Upstream, hasty_proxy: lab.Server) -> None:
    """An answer that arrives byte by byte, for longer than any limit, is delivered whole."""

    def drip(_: Received, connection: socket.socket) -> None:
        time.sleep(0.3)
        answer = response("200 OK", b"0123456789")
        connection.sendall(answer[:-10])
        for at in range(-10, 0):
            time.sleep(0.3)
            connection.sendall(answer[at : at + 1 or None])

    scripted.answer = drip
    assert request(hasty_proxy.url, FILE, timeout=10).body == b"0123456789"


def test_a_client_that_reads_late(scripted: Upstream, hasty_proxy: lab.Server) -> None:
    """A client that pauses while reading a download gets all of it."""
    scripted.answer = response("200 OK", bytes(BIG))
    host = hasty_proxy.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", FILE)
    answer = connection.getresponse()
    size = len(answer.read(1000))
    time.sleep(3)
    size += len(answer.read())
    assert size == BIG
    connection.close()


def test_a_client_that_sends_slowly(scripted: Upstream, hasty_proxy: lab.Server) -> None:
    """A client that pauses during an upload is not cut."""
    scripted.answer = response("200 OK", b"{}")

    def parts() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 100_000
            time.sleep(1.5)

    got = request(hasty_proxy.url, FILE, method="PUT", body=parts(), timeout=20)
    assert got.status == 200
    assert len(scripted.requests[-1].body) == 300_000


def test_no_retry_after_a_timeout(scripted: Upstream, hasty_proxy: lab.Server) -> None:
    """After a timeout on a kept connection, which looks like a stale one, nothing is sent again."""

    def once(received: Received, connection: socket.socket) -> bool:
        if received.target == "/first":
            connection.sendall(OK)
            return True
        silent(received, connection)
        return False

    scripted.answer = once
    scripted.requests.clear()
    connection = http.client.HTTPConnection(hasty_proxy.url.removeprefix("http://"), timeout=10)
    for target, status in (("/first", 200), (API, 504)):
        connection.request("GET", target)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    assert len(scripted.requests) == 2


def test_the_log_says_why(scripted: Upstream, hasty_proxy: lab.Server) -> None:
    """The log line for a timeout has the reason, the request id and the upstream's address."""
    scripted.answer = silent
    got = request(hasty_proxy.url, API, headers={"X-Request-Id": "mine-1"}, timeout=10)
    (line,) = (line for line in hasty_proxy.text().splitlines() if "mine-1" in line)
    assert got.headers["X-Request-Id"] == "mine-1"
    assert "it did not answer in time" in line
    assert scripted.url.removeprefix("http://") in line


def test_default_limits(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """With the shipped rules, a registry may take two seconds to answer."""

    def slow(_: Received, connection: socket.socket) -> None:
        time.sleep(2)
        connection.sendall(response("200 OK", b"{}", ("Content-Type", "application/json")))

    scripted.answer = slow
    assert request(scripted_proxy.url, API).status == 200
