"""SIGTERM: new connections are refused, and requests in progress are completed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import lab
import pytest
from support import websocket
from support.client import CLIENT_HELLO, connect, http2, read_until, request
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

from addon.hooks.drain import QUIET

API = "/api/2.0/mlflow/experiments/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
FOR_EVER = {"grace": 3600, "timeout": 3600}
MIB = 2**20
LONGER_THAN_QUIET = 2 * QUIET


def terminate(proxy: lab.Server) -> None:
    """Send SIGTERM, as systemd, Kubernetes and Docker do, and wait until the proxy drains."""
    os.kill(proxy.process.pid, signal.SIGTERM)
    eventually(lambda: "draining" in proxy.text())


def watched(proxy: lab.Server) -> None:
    """Ask for readiness once, as a load balancer does."""
    assert request(proxy.url, "/readyz/local").status == 200


def refuses(proxy: lab.Server) -> bool:
    address = urlsplit(proxy.url)
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0)).close()
        return False
    return True


def ended(proxy: lab.Server) -> int:
    """Wait for the exit code, and check that the log has no traceback."""
    code = proxy.process.wait(30)
    assert "Traceback" not in proxy.text(), proxy.text()
    return code


@pytest.fixture
def connection() -> Iterator[Kept]:
    with Kept() as kept:
        yield kept


class Kept(contextlib.ExitStack):
    """Kept-alive connections to proxies."""

    def to(self, proxy: lab.Server) -> http.client.HTTPConnection:
        opened = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
        self.callback(opened.close)
        return opened


def ask(client: http.client.HTTPConnection, target: str = API) -> http.client.HTTPResponse:
    client.request("GET", target)
    answer = client.getresponse()
    answer.read()
    return answer


def test_grace_period(scripted: Upstream, start_proxy: StartProxy, connection: Kept) -> None:
    """During the grace period /readyz is 503; requests are served with Connection: close."""
    scripted.answer = OK
    proxy = start_proxy(scripted.url, drain=FOR_EVER)
    kept = connection.to(proxy)
    assert ask(kept).getheader("Connection") is None
    watched(proxy)
    terminate(proxy)

    ready = request(proxy.url, "/readyz")
    assert ready.status == 503
    assert json.loads(ready.body)["status"] == "draining"
    assert request(proxy.url, "/livez").status == 200
    for kept_or_new in (kept, connection.to(proxy)):
        answer = ask(kept_or_new)
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        assert kept_or_new.sock is None  # The library has closed it, too.
    # A WebSocket keeps Connection: Upgrade, another option of the same header.
    scripted.answer = lambda _, server: server.sendall(websocket.SWITCH)
    with connect(proxy.url) as client:
        client.sendall(f"GET {API} HTTP/1.1\r\nHost: x\r\n{websocket.ASKING}\r\n".encode())
        assert b"\r\nConnection: Upgrade\r\n" in read_until(client, b"\r\n\r\n")
    # The proxy's own answers have it, too.
    for target in ("/livez", "/api/%2e%2e/x#f"):
        assert ask(connection.to(proxy), target).getheader("Connection") == "close"
    assert proxy.process.poll() is None


def test_idle_connections(scripted: Upstream, start_proxy: StartProxy, connection: Kept) -> None:
    """Idle connections do not delay the exit."""
    scripted.answer = OK
    proxy = start_proxy(scripted.url, drain={"grace": 0.5, "timeout": 3600})
    kept = connection.to(proxy)
    assert ask(kept).status == 200
    silent = socket.create_connection(kept.sock.getpeername())
    terminate(proxy)
    assert ended(proxy) == 0
    assert silent.recv(1) == b""
    silent.close()


def test_a_tls_handshake(scripted: Upstream, start_proxy: StartProxy, connection: Kept) -> None:
    """A client that has only begun its handshake delays nothing, and harms no other request."""
    scripted.answer = gate = Gate(bytes(MIB))
    proxy = start_proxy(scripted.url, drain={"grace": 0, "timeout": 3600})
    client = connection.to(proxy)
    client.request("GET", FILE)
    answer = client.getresponse()
    with connect(proxy.url) as half:
        half.sendall(CLIENT_HELLO[:9])
        terminate(proxy)
        assert half.recv(1) == b""
    gate.open.set()
    assert answer.read() == bytes(MIB)
    assert ended(proxy) == 0


def test_no_load_balancer(scripted: Upstream, start_proxy: StartProxy) -> None:
    """Without a load balancer there is no grace period; a /livez check does not count as one."""
    proxy = start_proxy(scripted.url, drain=FOR_EVER)
    assert request(proxy.url, "/livez").status == 200
    terminate(proxy)
    assert ended(proxy) == 0
    assert "no load balancer asks" in proxy.text()


@pytest.mark.parametrize("in_flight", [False, True])
def test_http2(
    scripted: Upstream, start_proxy: StartProxy, tmp_path: Path, in_flight: bool
) -> None:
    """An HTTP/2 connection is closed when it has no more streams in progress."""
    scripted.answer = OK
    options = ("--set", f"confdir={tmp_path}")
    proxy = start_proxy(scripted.url, options=options, drain={"grace": 0, "timeout": 3600})
    with http2(tmp_path / "mitmproxy-ca-cert.pem") as session:
        url = proxy.url.replace("http://127.0.0.1", "https://localhost")
        assert session.get(url + API).http_version == "HTTP/2"
        if in_flight:
            scripted.answer = gate = Gate(bytes(MIB))
            with session.stream("GET", url + FILE) as answer:
                terminate(proxy)
                time.sleep(LONGER_THAN_QUIET)
                gate.open.set()
                assert len(answer.read()) == MIB
        else:
            terminate(proxy)
        assert ended(proxy) == 0


class Gate:
    """Answers with half of a body, and with the rest when `open` is set."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.open = threading.Event()

    def __call__(self, received: Received, connection: socket.socket) -> None:
        whole = response("200 OK", self.body, ("Content-Type", "application/octet-stream"))
        half = len(whole) - len(self.body) // 2
        connection.sendall(whole[:half])
        self.open.wait(20)
        connection.sendall(whole[half:])


def test_a_download(scripted: Upstream, start_proxy: StartProxy, connection: Kept) -> None:
    """A download is completed to its last byte, for a client slower than the upstream."""
    body = os.urandom(8 * MIB)
    scripted.answer = gate = Gate(body)
    proxy = start_proxy(scripted.url, drain={"grace": 0, "timeout": 3600})
    client = connection.to(proxy)
    client.request("GET", FILE)
    answer = client.getresponse()
    begin = answer.read(1000)
    terminate(proxy)
    eventually(lambda: refuses(proxy))
    time.sleep(LONGER_THAN_QUIET)
    gate.open.set()
    rest = b""
    while block := answer.read(MIB):
        rest += block
        time.sleep(0.05)
    assert begin + rest == body
    assert ended(proxy) == 0


def test_the_last_bytes(scripted: Upstream, start_proxy: StartProxy) -> None:
    """Bytes that still wait in the process for room in a socket are not thrown away.

    The capacity of a socket is unknown: so clients stop reading at different distances from the
    end, and for some of them the process has the rest.
    """
    size, step, clients = 6 * MIB, 160 * 1024, 32
    scripted.answer = response("200 OK", bytes(size))
    proxy = start_proxy(scripted.url, drain={"grace": 0, "timeout": 3600})
    paused = threading.Barrier(clients + 1)

    def read(distance: int) -> int:
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
        connection.request("GET", FILE, headers={"Connection": "close"})
        answer = connection.getresponse()
        received = len(answer.read(size - distance))
        paused.wait(20)
        time.sleep(2)
        return received + len(answer.read())

    with ThreadPoolExecutor(clients) as pool:
        sizes = [pool.submit(read, step * (1 + number)) for number in range(clients)]
        paused.wait(20)
        terminate(proxy)
        assert {each.result() for each in sizes} == {size}
    assert ended(proxy) == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload(scripted: Upstream, start_proxy: StartProxy, chunked: bool) -> None:
    """An upload in progress is completed and answered."""
    scripted.answer = OK
    scripted.requests.clear()
    proxy = start_proxy(scripted.url, drain={"grace": 0, "timeout": 3600})
    going, go_on = threading.Event(), threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"x" * MIB
        going.set()
        go_on.wait(20)
        yield b"y" * MIB

    headers = {} if chunked else {"Content-Length": str(2 * MIB)}
    with ThreadPoolExecutor(1) as pool:
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
        sent = pool.submit(connection.request, "PUT", FILE, parts(), headers)
        going.wait(20)
        terminate(proxy)
        eventually(lambda: refuses(proxy))
        go_on.set()
        sent.result()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        answer.read()
        connection.close()
    assert ended(proxy) == 0
    assert [len(received.body) for received in scripted.requests] == [2 * MIB]


def test_a_refused_upload(scripted: Upstream, start_proxy: StartProxy, connection: Kept) -> None:
    """A client that is refused early can send the rest of its body and then read the answer."""
    proxy = start_proxy(
        scripted.url, artifacts={"enabled": False}, drain={"grace": 0, "timeout": 3600}
    )
    client = connection.to(proxy)
    client.putrequest("PUT", FILE)
    client.putheader("Content-Length", str(4 * MIB))
    client.endheaders(b"x" * MIB)
    eventually(lambda: "answered 503" in proxy.text())
    terminate(proxy)
    eventually(lambda: refuses(proxy))
    time.sleep(LONGER_THAN_QUIET)
    client.send(b"x" * 3 * MIB)
    assert client.getresponse().status == 503
    assert ended(proxy) == 0


def test_the_deadline(scripted: Upstream, start_proxy: StartProxy, connection: Kept) -> None:
    """A request that does not end within drain.timeout is cut."""
    scripted.answer = Gate(bytes(MIB))
    proxy = start_proxy(scripted.url, drain={"grace": 0, "timeout": 1})
    client = connection.to(proxy)
    client.request("GET", FILE)
    answer = client.getresponse()
    terminate(proxy)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    assert proxy.process.wait(30) == 0
    assert "1 connection(s) are cut" in proxy.text()


def test_a_second_signal(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A second SIGTERM ends the proxy at once."""
    proxy = start_proxy(scripted.url, drain=FOR_EVER)
    watched(proxy)
    terminate(proxy)
    os.kill(proxy.process.pid, signal.SIGTERM)
    assert ended(proxy) == 0


def test_ctrl_c(scripted: Upstream, start_proxy: StartProxy) -> None:
    """SIGINT (Ctrl-C) ends the proxy at once."""
    proxy = start_proxy(scripted.url, drain=FOR_EVER)
    os.kill(proxy.process.pid, signal.SIGINT)
    assert ended(proxy) == 0


def test_the_port_is_free_at_once(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A new process can listen on the port while the old one still completes its requests."""
    scripted.answer = gate = Gate(bytes(MIB))
    scripted.requests.clear()
    old = start_proxy(scripted.url, drain={"grace": 0, "timeout": 3600})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(request, old.url, FILE)
        eventually(lambda: bool(scripted.requests))
        terminate(old)
        eventually(lambda: refuses(old))
        new = start_proxy(scripted.url, port=urlsplit(old.url).port)
        scripted.answer = OK
        assert request(new.url, API).status == 200
        gate.open.set()
        assert first.result().body == bytes(MIB)
    assert ended(old) == 0
