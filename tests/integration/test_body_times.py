"""Request bodies that stall."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import h2.events
import lab
import pytest
from support.client import RawHttp2, connect, head, read_all, read_until, request, timed_out
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/log-batch"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
MIB = 2**20
LIMITS = {"body_timeout": 1}
LATE = "The request body stalled for too long."


def timeouts(proxy: lab.Server) -> list[tuple[str, int]]:
    """The error source and the bytes received for each 408 in the access log."""
    lines = map(json.loads, (proxy.log.parent / "access").read_text().splitlines())
    return [(line["error_source"], line["bytes_in"]) for line in lines if line["status"] == 408]


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(("target", "streams"), [(API, False), (FILE, True)])
def test_a_body_that_stalls(
    scripted: Upstream, limited_proxy: lab.Server, target: str, streams: bool, framing: str
) -> None:
    """A body that stalls gets 408, and the registry gets no request that looks complete."""
    scripted.answer = OK
    scripted.requests.clear()
    scripted.cut.clear()
    begun, before = scripted.begun, len(timeouts(limited_proxy))
    with connect(limited_proxy.url) as client:
        client.sendall(
            head("PUT", target, framing) + (b"x" if "Length" in framing else b"1\r\nx\r\n")
        )
        timed_out(read_all(client), LATE)
    streams = streams or "chunked" in framing
    assert scripted.requests == []
    assert scripted.begun == begun + streams
    eventually(lambda: len(scripted.cut) == streams)
    eventually(lambda: len(timeouts(limited_proxy)) == before + 1)
    assert timeouts(limited_proxy)[-1] == ("proxy", 1)


def test_a_body_that_never_begins(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """A body whose first byte never comes gets 408, also after a 100 Continue."""
    with connect(limited_proxy.url) as client:
        client.sendall(head("PUT", API, "Content-Length: 9", "Expect: 100-continue"))
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        timed_out(read_all(client), LATE)


@pytest.mark.parametrize("begin_of_chunk", [b"5", b"5\r\nx"])
def test_a_stall_within_a_chunk(
    scripted: Upstream, limited_proxy: lab.Server, begin_of_chunk: bytes
) -> None:
    """A body that stalls in a chunk or its header gets 408."""
    with connect(limited_proxy.url) as client:
        client.sendall(head("PUT", API, "Transfer-Encoding: chunked") + begin_of_chunk)
        timed_out(read_all(client), LATE)


def test_a_stall_after_the_answer_has_begun(limited_proxy: lab.Server) -> None:
    """If the upload stalls after the answer has begun, the answer is cut and looks incomplete."""
    begin = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 9\r\n\r\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                read_until(connection, b"\r\n\r\nx")
                connection.sendall(begin + b"abc")
                connection.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        with running_proxy(
            limited_proxy.log.parent / "early",
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            limits=LIMITS,
        ) as proxy:
            with connect(proxy.url) as client:
                client.sendall(head("PUT", FILE, "Content-Length: 9") + b"x")
                got = read_all(client)
            assert got.startswith(b"HTTP/1.1 200 ")
            assert got.endswith(b"\r\n\r\nabc")
            assert f"cut PUT {FILE}: The request body stalled" in proxy.text()


def test_the_rest_of_a_refused_upload(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A refused upload that stalls gets only the refusal; then the connection is closed."""
    proxy = start_proxy(scripted.url, limits=LIMITS, artifacts={"enabled": False})
    with connect(proxy.url) as client:
        client.sendall(head("PUT", FILE, "Content-Length: 9") + b"x")
        got = read_all(client)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert got.count(b"HTTP/1.1 ") == 1


@contextlib.contextmanager
def early(limited_proxy: lab.Server) -> Iterator[lab.Server]:
    """A proxy in front of a registry that answers as soon as it has the head of a request."""
    document = response("200 OK", b"{}", ("Content-Type", "application/json"))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                if read_until(connection, b"\r\n\r\n"):
                    connection.sendall(document)
                    read_all(connection)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        with running_proxy(
            limited_proxy.log.parent / "whole",
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            options=("--set", f"confdir={limited_proxy.log.parent}"),
            limits=LIMITS,
        ) as proxy:
            yield proxy
            assert "internal error" not in proxy.text(), proxy.text()


def test_a_stall_after_a_complete_answer(limited_proxy: lab.Server) -> None:
    """After a complete early answer no 408 follows, and an HTTP/2 connection stays usable."""
    with early(limited_proxy) as proxy:
        with connect(proxy.url) as client:
            client.sendall(head("PUT", FILE, "Content-Length: 9") + b"x")
            got = read_all(client)
        assert got.count(b"HTTP/1.1 ") == 1
        assert got.startswith(b"HTTP/1.1 200 ")
        assert got.endswith(b"{}")
        with RawHttp2(proxy.url, limited_proxy.log.parent / "mitmproxy-ca-cert.pem") as client2:
            client2.h2.send_headers(1, fields("PUT", FILE))
            client2.h2.send_data(1, b"x")
            client2.flush()
            seen = []
            for event in client2.events():
                if isinstance(event, h2.events.ResponseReceived | h2.events.StreamReset):
                    seen.append((type(event).__name__, event.stream_id))
                if isinstance(event, h2.events.StreamEnded):
                    seen.append(("StreamEnded", event.stream_id))
                    if event.stream_id == 1:
                        client2.h2.send_headers(3, fields("GET", API), end_stream=True)
                        client2.flush()
                    else:
                        break
    assert seen == [
        ("ResponseReceived", 1),
        ("StreamEnded", 1),
        ("StreamReset", 1),
        ("ResponseReceived", 3),
        ("StreamEnded", 3),
    ]


@pytest.mark.parametrize("target", [API, FILE])
def test_slow_but_steady(scripted: Upstream, limited_proxy: lab.Server, target: str) -> None:
    """The limit is for the pause between two bytes, not for the whole body."""
    scripted.answer = OK

    def parts() -> Iterator[bytes]:
        for _ in range(8):
            time.sleep(0.4)
            yield b"x"

    client = http.client.HTTPConnection(limited_proxy.url.removeprefix("http://"), timeout=20)
    client.request("PUT", target, body=parts(), headers={"Content-Length": "8"})
    assert client.getresponse().status == 200
    client.close()


def test_a_registry_that_pauses(limited_proxy: lab.Server) -> None:
    """Time in which the proxy does not read from the client does not count against the client."""
    size = 64 * MIB
    read = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            nonlocal read
            while True:
                connection, _ = listener.accept()
                with connection:
                    data = connection.recv(65536)
                    if not data.startswith(b"PUT"):
                        continue
                    time.sleep(4)
                    read = len(data) - data.index(b"\r\n\r\n") - 4
                    while read < size:
                        read += len(connection.recv(MIB))
                    connection.sendall(OK)
                    return

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with running_proxy(limited_proxy.log.parent / "pausing", url, limits=LIMITS) as proxy:
            got = request(proxy.url, FILE, method="PUT", body=bytes(size))
    assert got.status == 200
    assert read == size


def test_stalled_bodies_make_room(scripted: Upstream, start_proxy: StartProxy) -> None:
    """If stalled bodies use up limits.flows, they get 408 early to make room for others."""
    scripted.answer = OK
    proxy = start_proxy(scripted.url, limits={"flows": 4, "body_timeout": 600})
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(connect(proxy.url)) for _ in range(4)]
        for client in silent:
            client.sendall(head("PUT", API, "Content-Length: 9") + b"x")
        eventually(lambda: request(proxy.url, API).status == 503)
        eventually(lambda: request(proxy.url, API).status == 200, 30)
        for client in silent:
            timed_out(read_all(client), LATE)


def fields(method: str, target: str) -> list[tuple[bytes, bytes]]:
    values = {"method": method, "scheme": "https", "path": target, "authority": "x"}
    return [(f":{name}".encode(), value.encode()) for name, value in values.items()]


@pytest.mark.parametrize("target", [API, FILE])
def test_http2(scripted: Upstream, limited_proxy: lab.Server, target: str) -> None:
    """A stalled stream gets 408; other streams go on, and their frames do not extend its time."""
    scripted.answer = response("200 OK", b"{}", ("Content-Type", "application/json"))
    scripted.requests.clear()
    status: dict[int, bytes] = {}
    slow, steady, sent = 1, 3, 0
    with RawHttp2(limited_proxy.url, limited_proxy.log.parent / "mitmproxy-ca-cert.pem") as client:
        client.h2.send_headers(slow, [*fields("PUT", target), (b"content-length", b"9")])
        client.h2.send_data(slow, b"x")
        client.h2.send_headers(steady, fields("PUT", FILE))
        client.socket.settimeout(0.2)
        while steady not in status:
            if slow not in status:
                client.h2.send_data(steady, b"x")
                client.h2.ping(b"12345678")
                sent += 1
            client.flush()
            with contextlib.suppress(TimeoutError):
                for event in client.h2.receive_data(client.socket.recv(65536)):
                    if isinstance(event, h2.events.ResponseReceived):
                        status[event.stream_id or 0] = dict(event.headers or [])[b":status"]
                        if event.stream_id == slow:
                            client.h2.end_stream(steady)
    assert status == {slow: b"408", steady: b"200"}
    assert [len(received.body) for received in scripted.requests] == [sent]
