"""Error answers that never end."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lab
import pytest
from support.client import http2, request
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream

API = "/api/2.0/mlflow/experiments/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
HEAD = b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\n"
CHUNK = b"1000\r\n" + b"x" * 4096 + b"\r\n"


class Flood:
    """Sends a page that never ends, but a normal answer to targets that end with `?next`."""

    def __init__(self) -> None:
        self.given_up = threading.Event()

    def __call__(self, received: Received, connection: socket.socket) -> bool:
        if received.target.endswith("?next"):
            connection.sendall(OK)
            return True
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(CHUNK)
        self.given_up.set()
        return False


def test_an_endless_page(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """The client gets its error at once, the page is cut off, and the next request works."""
    scripted.answer = flood = Flood()
    client = http.client.HTTPConnection(scripted_proxy.url.removeprefix("http://"), timeout=20)
    for _ in range(2):
        client.request("GET", API)
        answer = client.getresponse()
        assert answer.status == 500
        assert json.loads(answer.read())["error_code"] == "INTERNAL_ERROR"
        assert flood.given_up.wait(20)
        client.request("GET", API + "?next")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"{}")
    client.close()


def test_an_endless_page_over_http2(
    scripted: Upstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """An endless page over HTTP/2 gives an error at once, and the next request works."""
    scripted.answer = flood = Flood()
    proxy = start_proxy(scripted.url, options=("--set", f"confdir={tmp_path}"))
    url = proxy.url.replace("http://127.0.0.1", "https://localhost")
    with http2(tmp_path / "mitmproxy-ca-cert.pem") as session:
        for _ in range(2):
            assert session.get(url + API).json()["error_code"] == "INTERNAL_ERROR"
            assert flood.given_up.wait(20)
            assert session.get(url + API + "?next").json() == {}


def test_an_endless_page_during_an_upload(start_proxy: StartProxy) -> None:
    """A client that is still uploading gets the error of a server that refuses early."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        given_up = threading.Event()

        def flood() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
                while True:
                    connection.sendall(CHUNK)
            given_up.set()

        threading.Thread(target=flood, daemon=True).start()
        proxy = start_proxy(f"http://127.0.0.1:{server.getsockname()[1]}")

        def parts() -> Iterator[bytes]:
            yield b"x" * 100_000
            given_up.wait(20)
            yield b"x" * 100_000

        got = request(proxy.url, FILE, method="PUT", body=parts())
        assert json.loads(got.body)["error_code"] == "INTERNAL_ERROR"


def drip(head: bytes) -> Callable[[Received, socket.socket], None]:
    """Send one byte at a time, faster than any limit on silence, and never the last one."""

    def answer(_: Received, connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.2)

    return answer


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 3000\r\n\r\n",
        HEAD + b"Connection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3000\r\n\r\n",
    ],
)
def test_an_answer_that_drips(scripted: Upstream, shared_proxy: StartProxy, head: bytes) -> None:
    """A held answer that drips gets 504 at the time limit, although bytes keep coming."""
    scripted.answer = drip(head)
    proxy = shared_proxy(scripted.url, upstream={"response_timeout": 1, "idle_timeout": 1})
    got = request(proxy.url, API, timeout=15)
    assert got.status == 504
    assert json.loads(got.body)["error_code"] == "DEADLINE_EXCEEDED"
