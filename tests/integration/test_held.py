"""The limit on bodies and heads that are held in memory at once."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Iterator

import h2.errors
import h2.events
import lab
import pytest
from support.client import RawHttp2, connect, http2, read_all, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/log-batch"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
MIB = 2**20
SIZE = 1_000_000
"""The size of a body that is held, because it is shorter than `streaming.threshold`."""
HEADERS, CONTINUATION = 1, 9
"""Types of frames (RFC 9113, section 6)."""


@pytest.fixture(scope="module")
def proxy(scripted: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A proxy that holds at most 1 MiB."""
    folder = tmp_path_factory.mktemp("held")
    options = ("--set", f"confdir={folder}")
    with running_proxy(folder, scripted.url, options=options, limits={"held": "1MiB"}) as server:
        yield server


def begin(proxy: lab.Server, size: int) -> socket.socket:
    """A client that has sent the first `size` bytes of a body."""
    client = connect(proxy.url)
    client.sendall(
        f"POST {API} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {SIZE}\r\n\r\n".encode()
    )
    client.sendall(bytes(size))
    return client


@contextlib.contextmanager
def filled(proxy: lab.Server) -> Iterator[socket.socket]:
    """A client that has sent all but one byte of a body and has taken up all the room."""
    for _ in range(20):
        with begin(proxy, SIZE - 1) as client:
            for _ in range(20):
                got = request(proxy.url, API, method="POST", body=bytes(SIZE))
                if got.status == 503:
                    no_room(got.status, str(got.headers), got.body)
                    yield client
                    return
    raise AssertionError("what came before still takes the room")


def no_room(status: int, headers: str, body: bytes) -> None:
    assert status == 503
    assert "Retry-After" in headers
    content = json.loads(body)
    assert (content["error_code"], content["source"]) == ("TEMPORARILY_UNAVAILABLE", "proxy")
    assert content["message"].startswith(
        "This proxy has reached its limit for bodies and heads in memory."
    )


def test_requests(scripted: Upstream, proxy: lab.Server) -> None:
    """A body without room gets 503; the held body, small ones and streamed ones are served."""
    scripted.answer = OK
    whole = bytes(SIZE)
    with filled(proxy) as first:
        assert request(proxy.url, API, method="POST", body=bytes(10_000)).status == 200
        assert request(proxy.url, FILE, method="PUT", body=bytes(4 * MIB)).status == 200
        scripted.requests.clear()
        first.sendall(b"x")
        assert read_all(first).startswith(b"HTTP/1.1 200 ")
        assert [len(received.body) for received in scripted.requests] == [SIZE]
    assert request(proxy.url, API, method="POST", body=whole).status == 200


def test_clients_that_disconnect(scripted: Upstream, proxy: lab.Server) -> None:
    """Clients that disconnect make room."""
    scripted.answer = OK
    whole = bytes(SIZE)
    for _ in range(3):
        begin(proxy, SIZE - 1).close()
    eventually(lambda: request(proxy.url, API, method="POST", body=whole).status == 200)


def test_http2(scripted: Upstream, proxy: lab.Server) -> None:
    """An HTTP/2 request without room gets 503, too."""
    scripted.answer = OK
    url = proxy.url.replace("http://127.0.0.1", "https://localhost") + API
    with http2(proxy.log.parent / "mitmproxy-ca-cert.pem") as session:

        def status() -> int:
            return session.post(url, content=bytes(SIZE)).status_code

        with filled(proxy):
            assert status() == 503
        eventually(lambda: status() == 200)


def test_answers(scripted: Upstream, proxy: lab.Server) -> None:
    """Without room, an answer that needs no change passes; one that needs conversion gives 503."""
    json_type = ("Content-Type", "application/json")
    document = json.dumps({"a": "x" * SIZE}).encode()
    scripted.answer = OK
    with filled(proxy):
        scripted.answer = response("200 OK", document, json_type)
        got = request(proxy.url, API)
        assert (got.status, got.body) == (200, document)
        page = b"<title>No</title>" + b" " * SIZE
        scripted.answer = response("404 Not Found", page, ("Content-Type", "text/html"))
        got = request(proxy.url, API)
        no_room(got.status, str(got.headers), got.body)
        scripted.answer = response("404 Not Found", b"<title>No</title>")
        assert request(proxy.url, API).status == 404


def test_heads(scripted: Upstream, proxy: lab.Server) -> None:
    """Heads without an end count. One without room gets 503, and those that go make room."""
    scripted.answer = OK
    begin = f"GET {API} HTTP/1.1\r\nHost: x\r\nX: ".encode() + b"x" * 60_000
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(20)]
        for client in clients:
            client.sendall(begin)
        eventually(lambda: answered(clients) > 0)
        refused = [client for client in clients if is_answered(client)]
        assert len(refused) < 10
        for client in refused:
            head, _, body = read_all(client).partition(b"\r\n\r\n")
            no_room(int(head[9:12]), head.decode(), body)
        assert request(proxy.url, "/livez").status == 200
    whole = bytes(SIZE)
    eventually(lambda: request(proxy.url, API, method="POST", body=whole).status == 200)


def is_answered(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


def answered(clients: list[socket.socket]) -> int:
    return sum(map(is_answered, clients))


def test_large_heads_of_http2(proxy: lab.Server) -> None:
    """A head of more than 64 KiB ends its connection before its last frame has come."""
    with RawHttp2(proxy.url, None) as client:
        for kind in (HEADERS, *[CONTINUATION] * 4):
            frame = (2**14).to_bytes(3) + bytes([kind, 0, 0, 0, 0, 1]) + bytes(2**14)
            client.socket.sendall(frame)
        ends = [e for e in client.events() if isinstance(e, h2.events.ConnectionTerminated)]
    assert [end.error_code for end in ends] == [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM]


@pytest.mark.alone
def test_memory(scripted: Upstream, start_proxy: StartProxy) -> None:
    """300 clients with bodies to hold do not push memory above the limit."""
    scripted.answer = OK
    proxy = start_proxy(scripted.url, limits={"held": "32MiB"})
    before = proxy.memory()
    with contextlib.ExitStack() as opened:
        for _ in range(300):
            opened.enter_context(begin(proxy, SIZE - 1))
        assert request(proxy.url, "/livez").status == 200
        assert request(proxy.url, API).status == 200
        assert proxy.memory() - before < 200 * MIB
