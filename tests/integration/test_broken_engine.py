"""An exception in the engine closes only its client's connection, or resets only its stream."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import h2.errors
import h2.events
import lab
import pytest
from support import breaker
from support.client import RawHttp2, connect, raw, read_all, read_until, request
from support.proxies import running_proxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually
from support.websocket import ASKING, SWITCH

API = "/api/2.0/mlflow/experiments/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"


@pytest.fixture(scope="module")
def broken(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[lab.Server, Path, str]]:
    """A proxy with a script that breaks its engine, its access log and the URL of its metrics."""
    folder = tmp_path_factory.mktemp("broken")
    port, log = lab.free_port(), folder / "access.log"
    sets = (f"mlflow_access_log={log}", f"mlflow_metrics={port}")
    more = ("--set", f"confdir={folder}")
    options = ("-s", breaker.__file__, "--set", sets[0], "--set", sets[1], *more)
    with running_proxy(folder, scripted.url, options=options) as server:
        yield server, log, f"http://127.0.0.1:{port}"
        assert "secret" not in server.text()
        assert "has crashed" not in server.text()


def by_proxy(log: Path) -> int:
    """Number of requests in the access log that ended with an error of the proxy."""
    ended = [json.loads(line) for line in log.read_text().splitlines()]
    return sum(one["error_source"] == "proxy" for one in ended)


@pytest.mark.parametrize("step", breaker.STEPS)
@pytest.mark.parametrize("target", [API, FILE])
def test_an_exception_closes_the_connection(
    scripted: Upstream, broken: tuple[lab.Server, Path, str], step: str, target: str
) -> None:
    """An exception closes its connection with one log line; no request stays in flight."""
    proxy, log, metrics = broken
    kind = ("Content-Type", "application/octet-stream")
    scripted.answer = response("200 OK", b"x" * 9, kind, framing="bytes") if target == FILE else OK
    ended = by_proxy(log)
    lines = proxy.text().count("internal error, the connection is closed")
    head = f"GET {target}?{step} HTTP/1.1\r\nHost: x\r\nX-Break: {step}\r\n\r\n"
    answer = raw(proxy.url, head.encode())  # Reads until the connection is closed.
    assert answer == b"" or step in ("_on_answer", "_on_answer_end", "complete")
    assert proxy.text().count("internal error, the connection is closed") == lines + 1
    assert " in step (breaker.py" in proxy.text()
    assert request(proxy.url, API).status == 200
    page = request(metrics, "/metrics").body.decode()
    assert "\nmlflow_proxy_requests_in_flight 0" in page, page

    # The last step breaks after the answer is complete.
    eventually(lambda: by_proxy(log) == ended + (step != "complete"))


def ask(client: RawHttp2, stream: int, target: str, step: str = "") -> None:
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", target)]
    client.h2.send_headers(stream, [*fields, ("x-break", step)], end_stream=True)
    client.flush()


def until(client: RawHttp2, kind: type[h2.events.Event], stream: int) -> h2.events.Event:
    """The first event of a kind for a stream."""
    client.socket.settimeout(20)
    return next(
        event
        for event in client.events()
        if isinstance(event, kind) and getattr(event, "stream_id", None) == stream
    )


@pytest.mark.parametrize("step", [*breaker.STEPS, "finish"])
@pytest.mark.parametrize("target", [API, FILE])
def test_http2(
    scripted: Upstream, broken: tuple[lab.Server, Path, str], step: str, target: str
) -> None:
    """An exception in a stream resets only that stream; one in the connection closes it."""
    proxy, log, metrics = broken
    release, slow = threading.Event(), "/api/2.0/mlflow/slow"
    kind = ("Content-Type", "application/octet-stream")
    whole = response("200 OK", b"x" * 9, kind, framing="bytes") if target == FILE else OK

    def answer(received: Received, connection: socket.socket) -> None:
        if received.target.endswith("slow"):
            release.wait(20)
        connection.sendall(whole)

    scripted.answer = answer
    scripted.requests.clear()
    ended, alone = by_proxy(log), step != "finish"
    with RawHttp2(proxy.url, log.parent / "mitmproxy-ca-cert.pem") as client:
        ask(client, 1, slow)
        eventually(lambda: len(scripted.requests) == 1)
        ask(client, 3, target, step)
        if alone:
            event = until(client, h2.events.StreamReset, 3)
            assert isinstance(event, h2.events.StreamReset)
            assert event.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
            ask(client, 5, target)
            until(client, h2.events.StreamEnded, 5)
            release.set()
            until(client, h2.events.StreamEnded, 1)
        else:
            kinds = [type(event) for event in client.events()]
            assert h2.events.StreamEnded not in kinds
            release.set()
    says = "the stream is reset: RuntimeError in step" if alone else "the connection is closed: "
    assert f"internal error, {says}" in proxy.text()
    assert request(proxy.url, API).status == 200
    page = request(metrics, "/metrics").body.decode()
    assert "\nmlflow_proxy_requests_in_flight 0" in page, page
    # The last step breaks after the answer; the slow request ends with the connection.
    eventually(lambda: by_proxy(log) == ended + (step != "complete"))


def test_a_websocket(scripted: Upstream, broken: tuple[lab.Server, Path, str]) -> None:
    """An exception in a WebSocket closes its connection, and websocket_end is called once."""
    proxy, _, metrics = broken

    def switch(_: Received, connection: socket.socket) -> None:
        connection.sendall(SWITCH)
        connection.recv(1)

    scripted.answer = switch
    with connect(proxy.url) as client:
        head = f"GET {API} HTTP/1.1\r\nHost: x\r\nX-Break: websocket\r\n{ASKING}\r\n"
        client.sendall(head.encode())
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        client.sendall(b"\x81\x81\0\0\0\0x")
        assert read_all(client) == b""
    assert proxy.text().count("websocket_end: 1006") == 1
    page = request(metrics, "/metrics").body.decode()
    assert "\nmlflow_proxy_requests_in_flight 0" in page, page
