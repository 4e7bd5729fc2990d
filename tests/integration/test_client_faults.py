"""Clients that are slow, silent, or gone."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import lab
import pytest
from support.client import (
    RawHttp2,
    closing,
    connect,
    head,
    raw,
    read_all,
    request,
    timed_out,
    unnamed,
)
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

from addon.engine.front_http1 import HALF_OPEN_SECONDS

API = "/api/2.0/mlflow/runs/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
MIB = 2**20
SIZE = 300 * MIB
LIMITS = {"head_timeout": 1}


def http2_head(method: str, target: str = FILE) -> list[tuple[bytes, bytes]]:
    fields = {"method": method, "scheme": "https", "path": target, "authority": "x"}
    return [(f":{name}".encode(), value.encode()) for name, value in fields.items()]


def authority(proxy: lab.Server) -> Path:
    return proxy.log.parent / "mitmproxy-ca-cert.pem"


class Sender:
    """Sends `SIZE` bytes, as an upstream's answer or else, and tells how much was taken."""

    def __init__(self) -> None:
        self.sent = 0
        self.broken = threading.Event()

    def __call__(self, _: Received, connection: socket.socket) -> None:
        connection.sendall(response("200 OK", b"").replace(b": 0\r\n", b": %d\r\n" % SIZE))
        self.send(connection)

    def send(self, connection: socket.socket) -> None:
        """Send the body."""
        try:
            while self.sent < SIZE:
                connection.sendall(bytes(MIB))
                self.sent += MIB
        except OSError:
            self.broken.set()


def stands_still(sender: Sender) -> bool:
    """Whether nothing was sent for a while, which the busiest machine would not need."""
    before = sender.sent
    return before > 0 and not threading.Event().wait(1) and sender.sent == before


def test_a_client_that_stops_reading(start_proxy: StartProxy) -> None:
    """The registry is read no further than buffers reach, and the rest comes when it is wanted."""
    sender = Sender()
    with Upstream(sender) as upstream:
        proxy = start_proxy(upstream.url)
        with connect(proxy.url, timeout=60) as client:
            client.sendall(head("GET", FILE))
            eventually(lambda: stands_still(sender))
            assert sender.sent < SIZE // 2
            size, data = 0, client.recv(MIB).partition(b"\r\n\r\n")[2]
            while (size := size + len(data)) < SIZE:
                data = client.recv(MIB)
                assert data
        assert proxy.memory() < 100 * MIB


def test_an_http2_client_that_stops_reading(tmp_path: Path, start_proxy: StartProxy) -> None:
    """The same where the client's window says so: other streams of its connection go on."""
    sender = Sender()

    def answer(received: Received, connection: socket.socket) -> None:
        if received.target.endswith("a.bin"):
            sender(received, connection)
        else:
            connection.sendall(OK)

    with Upstream(answer) as upstream:
        proxy = start_proxy(upstream.url, options=("--set", f"confdir={tmp_path}"))
        with RawHttp2(proxy.url, tmp_path / "mitmproxy-ca-cert.pem") as client:
            client.h2.send_headers(1, http2_head("GET"), end_stream=True)
            client.flush()
            eventually(lambda: stands_still(sender))
            assert sender.sent < SIZE // 2
            client.h2.send_headers(3, http2_head("GET", API), end_stream=True)
            client.flush()
            client.h2.increment_flow_control_window(2**30)  # Of the connection.
            size = 0
            for event in client.events():
                if isinstance(event, h2.events.DataReceived) and event.stream_id == 1:
                    size += len(event.data)
                elif isinstance(event, h2.events.StreamEnded):
                    if event.stream_id == 1:
                        break
                    assert size < MIB
                    client.h2.increment_flow_control_window(2**30, 1)
            assert size == SIZE
        assert proxy.memory() < 100 * MIB


def deaf(listener: socket.socket, certificate: Path, gone: threading.Event) -> None:
    """Serve one connection with TLS, of which nothing is read but a head."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
        connection.recv(MIB)
        gone.wait(60)


def test_a_registry_that_stops_reading(
    tmp_path: Path, start_proxy: StartProxy, certificate: Path
) -> None:
    """An upload for it is not read, either, with TLS on both sides."""
    sender, gone = Sender(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Ends with the test.
        threading.Thread(target=deaf, args=(listener, certificate, gone), daemon=True).start()
        trusted = ("--set", f"ssl_verify_upstream_trusted_ca={certificate}")
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        proxy = start_proxy(url, options=(*trusted, "--set", f"confdir={tmp_path}"))
        context = ssl.create_default_context(cafile=tmp_path / "mitmproxy-ca-cert.pem")
        with context.wrap_socket(connect(proxy.url), server_hostname="localhost") as client:
            client.settimeout(None)
            client.sendall(head("PUT", FILE, f"Content-Length: {SIZE}"))
            upload = threading.Thread(target=sender.send, args=(client,))
            upload.start()
            eventually(lambda: stands_still(sender))
            assert sender.sent < SIZE // 2
            client.shutdown(socket.SHUT_RDWR)
            upload.join()
            gone.set()
        assert proxy.memory() < 100 * MIB


def test_a_client_that_resets_a_download(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """The registry's connection is given up, whether the client was reading or not."""
    for reads in (0, MIB):
        scripted.answer = sender = Sender()
        with connect(scripted_proxy.url) as client:
            client.sendall(head("GET", FILE))
            client.recv(100 + reads)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert sender.broken.wait(10)
    scripted.answer = OK
    assert request(scripted_proxy.url, API).status == 200


IN_CHUNKS = head("PUT", FILE, "Transfer-Encoding: chunked")
UPLOADS = {
    "length": (head("PUT", FILE, f"Content-Length: {MIB}"), bytes(MIB // 2)),
    "chunks": (IN_CHUNKS, b"10000\r\n" + bytes(65536) + b"\r\n"),
    "in a chunk": (IN_CHUNKS, b"10000\r\n" + bytes(6000)),
    "before the last chunk": (IN_CHUNKS, b"1\r\nx\r\n0\r\n"),
}


@pytest.mark.parametrize("end", ["close", "reset", "shutdown"])
@pytest.mark.parametrize("name", UPLOADS)
def test_an_upload_that_is_cut(
    scripted: Upstream, scripted_proxy: lab.Server, name: str, end: str
) -> None:
    """The registry sees that it is not complete."""
    scripted.answer = OK
    scripted.requests.clear()
    scripted.cut.clear()
    scripted.begun = 0
    with connect(scripted_proxy.url) as client:
        client.sendall(b"".join(UPLOADS[name]))
        eventually(lambda: scripted.begun > 0)
        if end == "shutdown":
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        elif end == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: len(scripted.cut) == 1)
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("end", "length"),
    [
        *(("reset", None), ("reset", b"999999")),
        *(("close", None), ("close", b"999999")),
        # Without a length the end is the end.
        ("end", b"999999"),
    ],
)
def test_an_http2_upload_that_is_cut(
    scripted: Upstream, limited_proxy: lab.Server, end: str, length: bytes | None
) -> None:
    """A stream that is reset, or ends too early, or with its connection, is no object."""
    scripted.answer = OK
    scripted.requests.clear()
    scripted.cut.clear()
    scripted.begun = 0
    headers = http2_head("PUT") + ([(b"content-length", length)] if length else [])
    with RawHttp2(limited_proxy.url, authority(limited_proxy)) as client:
        client.h2.send_headers(1, headers)
        client.h2.send_data(1, bytes(10_000))
        client.flush()
        eventually(lambda: scripted.begun > 0)
        if end == "reset":
            client.h2.reset_stream(1)
        elif end == "end":
            client.h2.end_stream(1)
        client.flush()
    eventually(lambda: len(scripted.cut) == 1)
    assert scripted.requests == []


def test_a_real_registry_keeps_no_part(mlflow_server: lab.Server, start_proxy: StartProxy) -> None:
    """MLflow has no artifact after an upload that was cut; and one after the same, complete."""
    proxy = start_proxy(mlflow_server.url, external=("registry.hokus.ai",))
    for name, (begin, body) in UPLOADS.items():
        target = f"/api/2.0/mlflow-artifacts/artifacts/cut/{name.replace(' ', '-')}"
        with connect(proxy.url) as client:
            client.sendall(begin.replace(FILE.encode(), target.encode()) + body)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        assert request(proxy.url, target).status == 404
        assert request(proxy.url, target, method="PUT", body=body).status == 200
        assert request(proxy.url, target).body == body


def test_a_client_that_has_nothing_more_to_say(
    scripted: Upstream, scripted_proxy: lab.Server
) -> None:
    """Who shuts down the writing side after whole requests still gets all the answers."""
    answers = [threading.Event(), threading.Event()]

    def answer(received: Received, connection: socket.socket) -> bool:
        assert answers[received.target == "/second"].wait(10)
        connection.sendall(OK)
        return True

    scripted.answer = answer
    scripted.requests.clear()
    with connect(scripted_proxy.url) as client:
        client.sendall(head("GET", FILE) + head("GET", "/second"))
        client.shutdown(socket.SHUT_WR)
        eventually(lambda: len(scripted.requests) == 1)
        answers[0].set()
        eventually(lambda: len(scripted.requests) == 2)
        answers[1].set()
        assert unnamed(read_all(client)) == OK + OK


def test_nothing_more_to_say_and_a_long_answer(
    scripted: Upstream, scripted_proxy: lab.Server
) -> None:
    """An answer that has begun may take its time; then the connection is closed."""

    long = response("200 OK", b"long")

    def answer(_: Received, connection: socket.socket) -> None:
        connection.sendall(long[:-1])
        threading.Event().wait(HALF_OPEN_SECONDS + 1)
        connection.sendall(long[-1:])

    scripted.answer = answer
    with connect(scripted_proxy.url, timeout=20) as client:
        client.sendall(head("GET", FILE) + head("PUT", API, "Content-Length: 9"))
        client.shutdown(socket.SHUT_WR)
        assert unnamed(read_all(client)) == long


def test_nothing_more_to_say_in_the_middle(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """Of a second request that is cut the registry gets nothing, the first is answered."""
    scripted.answer = OK
    scripted.requests.clear()
    for second in (head("GET", FILE)[:-2], head("PUT", API, "Content-Length: 9") + b"x"):
        with connect(scripted_proxy.url) as client:
            client.sendall(head("GET", FILE) + second)
            client.shutdown(socket.SHUT_WR)
            assert unnamed(read_all(client)) == OK
    assert [received.target for received in scripted.requests] == ["/ajax-" + FILE[1:]] * 2


def test_half_a_head(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """Who shuts down in the middle of a head gets no answer, and the registry no request."""
    scripted.requests.clear()
    with connect(scripted_proxy.url) as client:
        client.sendall(head("GET", FILE)[:-2])
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
    assert scripted.requests == []


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\r\n"],
        [b"GET"],
        # Each byte of a drip is a sign of life.
        [b"GET / HTTP/1.1\r\n", *[b"A: secret\r\n"] * 100],
    ],
)
def test_a_head_that_takes_too_long(limited_proxy: lab.Server, parts: list[bytes]) -> None:
    """It is answered and cut off."""
    timed_out(raw(limited_proxy.url, *parts))


def test_the_second_head_has_its_time_too(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """Not only the first request of a connection."""
    scripted.answer = OK
    answer = raw(limited_proxy.url, head("GET", FILE) + b"GET")
    first, second = answer[: answer.index(b"{}") + 2], answer[answer.index(b"{}") + 2 :]
    assert unnamed(first) == OK
    timed_out(second)


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
def test_a_client_that_asks_for_nothing(limited_proxy: lab.Server, begin: bytes) -> None:
    """A connection without a word, or without the end of a handshake, is closed."""
    assert raw(limited_proxy.url, begin) == b""


def test_an_http2_client_that_asks_for_nothing(limited_proxy: lab.Server) -> None:
    """Nor is one that has shaken hands."""
    with RawHttp2(limited_proxy.url, authority(limited_proxy)) as client:
        assert not [event for event in client.events() if type(event).__name__ == "StreamEnded"]


def test_a_kept_connection_may_be_idle(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """No head has begun: nothing is too late. A head that comes in pieces, in time, is fine."""
    scripted.answer = OK
    with connect(limited_proxy.url) as client:
        for _ in range(2):
            client.sendall(head("GET", FILE)[:20])
            threading.Event().wait(0.3)
            client.sendall(head("GET", FILE)[20:])
            answer = b""
            while not answer.endswith(OK[-6:]):
                answer += client.recv(100)
            assert unnamed(answer) == OK
            threading.Event().wait(1.5)


def test_a_slow_request_has_begun(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """The limit is for heads: bodies and answers may take longer."""

    def slow(_: Received, connection: socket.socket) -> None:
        threading.Event().wait(1.5)
        connection.sendall(OK)

    scripted.answer = slow
    begin = head("PUT", FILE, "Content-Length: 2", "Connection: close")
    answer = raw(limited_proxy.url, begin, b"{", b"}", pause=1.5)
    assert unnamed(answer) == closing(OK)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BEGIN = b"\0\0\x01\x01\x01\0\0\0\x05\x82"
"""The first part of a head: `:method: GET`, without END_HEADERS."""
MORE = b"\0\0\0\x09\0\0\0\0\x05"
"""A part without anything in it."""


def http2_socket(proxy: lab.Server) -> ssl.SSLSocket:
    """A connection with TLS and nothing more."""
    context = ssl.create_default_context(cafile=authority(proxy))
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connect(proxy.url, timeout=20), server_hostname="localhost")


@pytest.mark.parametrize(
    "begin", [b"", PREFACE[:10], PREFACE, PREFACE + b"\0\0\0\x04\0\0\0\0\0" + BEGIN]
)
def test_http2_that_does_not_begin(limited_proxy: lab.Server, begin: bytes) -> None:
    """Half of a preface, or of the first head, is as little as nothing."""
    with http2_socket(limited_proxy) as client:
        client.sendall(begin)
        read_all(client)  # To the end.


@pytest.mark.parametrize("begin", [BEGIN, BEGIN[:5], BEGIN[:-1]])
@pytest.mark.parametrize("trickles", [False, True])
def test_a_later_head_of_http2(
    scripted: Upstream, limited_proxy: lab.Server, begin: bytes, trickles: bool
) -> None:
    """Also on a connection that has served requests, and whatever comes bit by bit."""
    scripted.answer = OK
    with RawHttp2(limited_proxy.url, authority(limited_proxy)) as client:
        for stream in (1, 3):
            client.h2.send_headers(stream, http2_head("GET", API), end_stream=True)
            client.flush()
            for event in client.events():
                if isinstance(event, h2.events.StreamEnded):
                    break
        client.socket.settimeout(0.3)
        client.socket.sendall(begin)
        data = b""
        for _ in range(40):
            try:
                if not (more := client.socket.recv(65536)):
                    break
                data += more
            except TimeoutError:
                if trickles and begin == BEGIN:
                    client.socket.sendall(MORE)
            except ConnectionError:
                break
        else:
            raise AssertionError("the connection is still open")
        assert b"\x07\0\0\0\0\0" in data  # GOAWAY


def test_heads_of_http2_in_time(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """Each head has its own time, however many there are."""
    scripted.answer = OK
    with RawHttp2(limited_proxy.url, authority(limited_proxy)) as client:
        for stream in range(1, 13, 2):
            client.h2.send_headers(stream, http2_head("GET", API), end_stream=True)
            data = client.h2.data_to_send()
            client.socket.sendall(data[:-5])
            threading.Event().wait(0.5)
            client.socket.sendall(data[-5:])
            for event in client.events():
                if isinstance(event, h2.events.StreamEnded):
                    break
