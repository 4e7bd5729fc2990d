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

from addon.engine.http1_requests import HALF_OPEN_SECONDS

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
    """Sends `SIZE` bytes, as an upstream's answer or to any socket, and counts those accepted."""

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
    """Whether sending has stopped for a second, longer than a pause on a busy machine."""
    before = sender.sent
    return before > 0 and not threading.Event().wait(1) and sender.sent == before


def test_a_client_that_stops_reading(start_proxy: StartProxy) -> None:
    """If the client stops reading, the proxy stops reading the registry until it resumes."""
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
    """A full HTTP/2 window pauses only its own stream; other streams of the connection go on."""
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
    """Serve one TLS connection and read only a request head from it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
        connection.recv(MIB)
        gone.wait(60)


def test_a_registry_that_stops_reading(
    tmp_path: Path, start_proxy: StartProxy, certificate: Path
) -> None:
    """If the registry stops reading, the proxy stops reading the upload (TLS on both sides)."""
    sender, gone = Sender(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The thread ends with the test.
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
    """If the client resets a download, the registry's connection is closed, too."""
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
    """If the client cuts an upload, the registry sees an incomplete request."""
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
        # Without a length, the end of the stream is a valid end.
        ("end", b"999999"),
    ],
)
def test_an_http2_upload_that_is_cut(
    scripted: Upstream, limited_proxy: lab.Server, end: str, length: bytes | None
) -> None:
    """An upload that is reset, ends early or loses its connection arrives as incomplete."""
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
    """MLflow keeps no artifact from a cut upload, but keeps the complete one sent afterwards."""
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


def test_a_half_close_after_complete_requests(
    scripted: Upstream, scripted_proxy: lab.Server
) -> None:
    """A client that shuts down its writing side after complete requests gets all answers."""
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


def test_a_half_close_during_a_long_answer(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """After a shutdown, an answer that has begun is completed; then the connection is closed."""

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


def test_a_half_close_within_a_request(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """If a client shuts down within its second request, only the first is sent and answered."""
    scripted.answer = OK
    scripted.requests.clear()
    for second in (head("GET", FILE)[:-2], head("PUT", API, "Content-Length: 9") + b"x"):
        with connect(scripted_proxy.url) as client:
            client.sendall(head("GET", FILE) + second)
            client.shutdown(socket.SHUT_WR)
            assert unnamed(read_all(client)) == OK
    assert [received.target for received in scripted.requests] == ["/ajax-" + FILE[1:]] * 2


def test_a_half_close_within_a_head(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """A client that shuts down in the middle of a head gets no answer; no request is sent."""
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
        # Bytes that keep coming do not extend the time.
        [b"GET / HTTP/1.1\r\n", *[b"A: secret\r\n"] * 100],
    ],
)
def test_a_head_that_takes_too_long(limited_proxy: lab.Server, parts: list[bytes]) -> None:
    """A head that takes too long gets 408, and the connection is closed."""
    timed_out(raw(limited_proxy.url, *parts))


def test_time_limit_of_a_second_head(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """The time limit also holds for the second head of a connection."""
    scripted.answer = OK
    answer = raw(limited_proxy.url, head("GET", FILE) + b"GET")
    first, second = answer[: answer.index(b"{}") + 2], answer[answer.index(b"{}") + 2 :]
    assert unnamed(first) == OK
    timed_out(second)


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
def test_a_client_without_a_request(limited_proxy: lab.Server, begin: bytes) -> None:
    """A connection that sends nothing, or only part of a TLS handshake, is closed."""
    assert raw(limited_proxy.url, begin) == b""


def test_an_http2_client_without_a_request(limited_proxy: lab.Server) -> None:
    """An HTTP/2 connection without a request is closed after the handshake, too."""
    with RawHttp2(limited_proxy.url, authority(limited_proxy)) as client:
        assert not [event for event in client.events() if type(event).__name__ == "StreamEnded"]


def test_a_kept_connection_may_be_idle(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """An idle kept-alive connection stays open; a head in pieces is served if it is in time."""
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


def test_slow_bodies_and_answers(scripted: Upstream, limited_proxy: lab.Server) -> None:
    """The limit covers only heads: bodies and answers may take longer."""

    def slow(_: Received, connection: socket.socket) -> None:
        threading.Event().wait(1.5)
        connection.sendall(OK)

    scripted.answer = slow
    begin = head("PUT", FILE, "Content-Length: 2", "Connection: close")
    answer = raw(limited_proxy.url, begin, b"{", b"}", pause=1.5)
    assert unnamed(answer) == closing(OK)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BEGIN = b"\0\0\x01\x01\x01\0\0\0\x05\x82"
"""A HEADERS frame with `:method: GET`, without END_HEADERS."""
MORE = b"\0\0\0\x09\0\0\0\0\x05"
"""An empty CONTINUATION frame."""


def http2_socket(proxy: lab.Server) -> ssl.SSLSocket:
    """A TLS connection on which no HTTP/2 has been sent."""
    context = ssl.create_default_context(cafile=authority(proxy))
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connect(proxy.url, timeout=20), server_hostname="localhost")


@pytest.mark.parametrize(
    "begin", [b"", PREFACE[:10], PREFACE, PREFACE + b"\0\0\0\x04\0\0\0\0\0" + BEGIN]
)
def test_http2_that_does_not_begin(limited_proxy: lab.Server, begin: bytes) -> None:
    """A connection is closed if its preface and first head are not completed in time."""
    with http2_socket(limited_proxy) as client:
        client.sendall(begin)
        read_all(client)  # Reads until the connection is closed.


@pytest.mark.parametrize("begin", [BEGIN, BEGIN[:5], BEGIN[:-1]])
@pytest.mark.parametrize("trickles", [False, True])
def test_a_later_head_of_http2(
    scripted: Upstream, limited_proxy: lab.Server, begin: bytes, trickles: bool
) -> None:
    """A later head that stalls or trickles in ends the connection with GOAWAY."""
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
    """Each head has its own time limit, however many heads there are."""
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
