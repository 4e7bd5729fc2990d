"""Kept connections that the upstream closes just as the next request is on its way."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import lab
import pytest
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream

API = "/api/2.0/mlflow/experiments/search"


class Stale:
    """Answers the first request of a connection and drops the next one, unseen by the proxy."""

    def __init__(self, fresh: int) -> None:
        self.fresh = fresh
        """How many connections answer their first request."""
        self.seen: list[socket.socket] = []

    def __call__(self, _: Received, connection: socket.socket) -> bool:
        first = connection not in self.seen
        self.seen.append(connection)
        if first and self.fresh > 0:
            self.fresh -= 1
            connection.sendall(OK)
            return True
        return False


@pytest.fixture
def client(scripted_proxy: lab.Server) -> Iterator[http.client.HTTPConnection]:
    """One kept connection to the proxy."""
    connection = http.client.HTTPConnection(scripted_proxy.url.removeprefix("http://"), timeout=20)
    yield connection
    connection.close()


def ask(
    client: http.client.HTTPConnection, method: str, body: bytes | Iterator[bytes] | None = None
) -> int:
    client.request(method, API, body)
    answer = client.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_a_request_is_retried_once(
    scripted: Upstream, client: http.client.HTTPConnection, method: str
) -> None:
    """An idempotent request without a body is sent again on a new connection."""
    scripted.answer = Stale(fresh=2)
    scripted.requests.clear()
    assert [ask(client, "GET"), ask(client, method)] == [200, 200]
    lines = [received.head.split(b" ")[0].decode() for received in scripted.requests]
    assert lines == ["GET", method, method]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("POST", None),
        ("POST", b"{}"),
        ("PATCH", None),
        ("PUT", b"{}"),
        ("DELETE", b"{}"),
        ("PUT", b"x" * 3_000_000),
        ("PUT", "chunks"),
    ],
)
def test_other_requests_are_not_retried(
    scripted: Upstream, client: http.client.HTTPConnection, method: str, body: bytes | str | None
) -> None:
    """A request that may have had an effect, or that has a body, is not sent again."""
    scripted.answer = Stale(fresh=9)
    scripted.requests.clear()
    sent = iter([b"x" * 100_000]) if isinstance(body, str) else body
    assert [ask(client, "GET"), ask(client, method, sent)] == [200, 502]
    assert len(scripted.requests) == 2


def test_one_retry_at_most(scripted: Upstream, client: http.client.HTTPConnection) -> None:
    """If the new connection is closed as well, the client gets 502."""
    scripted.answer = Stale(fresh=1)
    scripted.requests.clear()
    assert [ask(client, "GET"), ask(client, "GET")] == [200, 502]
    assert len(scripted.requests) == 3


@pytest.mark.parametrize(
    "begin", [b"H", b"nonsense\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]
)
@pytest.mark.parametrize("stays", [False, True])
def test_no_retry_after_the_answer_has_begun(
    scripted: Upstream, client: http.client.HTTPConnection, begin: bytes, stays: bool
) -> None:
    """A request is not sent again once the upstream has sent any byte of an answer."""
    if stays and begin != b"nonsense\r\n\r\n":
        pytest.skip("nothing says that this is all")
    stale = Stale(fresh=9)

    def answer(received: Received, connection: socket.socket) -> bool:
        if connection in stale.seen:
            connection.sendall(begin)
            return stays
        return stale(received, connection)

    scripted.answer = answer
    scripted.requests.clear()
    assert [ask(client, "GET"), ask(client, "GET")] == [200, 502]
    assert len(scripted.requests) == 2


def test_no_retry_on_a_new_connection(
    scripted: Upstream, client: http.client.HTTPConnection
) -> None:
    """A request that fails on a new connection is not sent again."""
    scripted.answer = Stale(fresh=0)
    scripted.requests.clear()
    assert ask(client, "GET") == 502
    assert len(scripted.requests) == 1


def test_the_next_request_works(scripted: Upstream, client: http.client.HTTPConnection) -> None:
    """After a 502 the client's connection stays usable, with a new connection upstream."""
    scripted.answer = Stale(fresh=2)
    assert [ask(client, "GET"), ask(client, "POST", b"{}"), ask(client, "GET")] == [200, 502, 200]


def test_an_upstream_that_comes_back(start_proxy: StartProxy) -> None:
    """A failed connection attempt affects only its request: the next request tries again."""
    port = lab.free_port()
    proxy = start_proxy(f"http://127.0.0.1:{port}")
    client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
    assert [ask(client, "GET"), ask(client, "POST", b"{}")] == [502, 502]
    with Upstream(port=port):
        assert [ask(client, "GET"), ask(client, "POST", b"{}")] == [200, 200]
    client.close()


@pytest.mark.parametrize("refusing", [False, True])
def test_ended_connections_are_forgotten(
    scripted: Upstream, start_proxy: StartProxy, refusing: bool
) -> None:
    """A client that stays connected costs no memory per ended or failed upstream connection."""
    scripted.answer = lambda _, connection: connection.shutdown(socket.SHUT_RDWR)
    proxy = start_proxy(f"http://127.0.0.1:{lab.free_port()}" if refusing else scripted.url)
    client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)

    def resident() -> int:
        for _ in range(500):
            assert ask(client, "GET") == 502
        return proxy.memory_now()

    before = resident()
    assert resident() - before < 2**20
    client.close()
