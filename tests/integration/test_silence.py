"""Connections that are silent for a while: waiting clients, and streams of events."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator

import lab
import pytest
from mitmproxy.options import Options
from support import hasty_default
from support.client import connect, read_all, read_until, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Answer, Received, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/get"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
EVENTS = "/ajax-api/3.0/mlflow/assistant/sessions/1/stream"
BEFORE = ("-s", hasty_default.__file__)
UPSTREAM = {"idle_timeout": 1, "response_timeout": 5}


def slow(seconds: float, first: bytes, then: bytes) -> Answer:
    """Send something, stay silent for some seconds, then send the rest."""

    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(first)
        time.sleep(seconds)
        connection.sendall(then)
        return True

    return answer


LAST = b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"


def stream(content_type: str) -> bytes:
    """Return the beginning of a chunked answer."""
    whole = response("200 OK", b"data: 1\n\n", ("Content-Type", content_type), framing="chunked")
    return whole.removesuffix(b"0\r\n\r\n")


@pytest.fixture(scope="module")
def patient(scripted: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A proxy whose limits are longer than mitmproxy's."""
    folder = tmp_path_factory.mktemp("patient")
    with running_proxy(folder, scripted.url, before=BEFORE, upstream=UPSTREAM) as server:
        yield server


def test_limits_of_the_rules_apply(scripted: Upstream, patient: lab.Server) -> None:
    """The rules' limits apply to a silent upstream and client, not mitmproxy's shorter ones."""
    scripted.answer = slow(2.5, b"", OK)
    client = http.client.HTTPConnection(patient.url.removeprefix("http://"), timeout=10)
    for pause in (2.5, 0):
        client.request("GET", API)
        used = client.sock
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"{}")
        time.sleep(pause)
        assert client.sock is used
    client.close()


def test_events_may_be_silent(scripted: Upstream, patient: lab.Server) -> None:
    """A stream of events may be silent for longer than any other body."""
    scripted.answer = slow(2.5, stream("text/event-stream"), LAST)
    assert request(patient.url, EVENTS, timeout=10).body == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize(
    ("target", "content_type"), [(FILE, "application/octet-stream"), (EVENTS, "text/event-stream")]
)
def test_a_cut_is_logged(
    scripted: Upstream, start_proxy: StartProxy, target: str, content_type: str
) -> None:
    """A cut answer gets one log line, which names the request without its query."""
    limits = {"idle_timeout": 1, "event_idle_timeout": 1}
    proxy = start_proxy(scripted.url, upstream=limits)
    scripted.answer = slow(5, stream(content_type), b"")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        headers = {"X-Request-Id": "mine-1"}
        request(proxy.url, f"{target}?token=secret", headers=headers, timeout=10)
    lines = [line for line in proxy.text().splitlines() if "mine-1" in line]
    assert len(lines) == 1
    sentence = "it stopped sending in the middle of an answer (request id mine-1)"
    assert lines[0].endswith(f"cut GET {target}: {sentence}")
    assert "secret" not in proxy.text()


def test_clients_that_wait_for_too_long(scripted: Upstream, start_proxy: StartProxy) -> None:
    """An idle client is closed after client_idle_timeout; a request may take longer."""
    proxy = start_proxy(scripted.url, limits={"client_idle_timeout": 1})
    scripted.answer = slow(2.5, b"", OK)
    with connect(proxy.url) as connection:
        connection.sendall(f"GET {API} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in read_until(connection, b"\r\n\r\n")
        assert read_all(connection) == b"{}"


@pytest.mark.skipif(
    not hasattr(Options(), "tcp_timeout"), reason="this mitmproxy has no such option"
)
def test_tcp_timeout_option(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A user's tcp_timeout still closes silent connections, and the log says so."""
    proxy = start_proxy(scripted.url, options=("--set", "tcp_timeout=2"))
    with connect(proxy.url) as connection:
        assert read_all(connection) == b""
    eventually(lambda: "tcp_timeout=2 closes silent connections before" in proxy.text())
