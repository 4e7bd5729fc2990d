"""Uploads to a registry that is slow to read or to connect to: the client has to wait."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h2.events
import pytest
from support.client import RawHttp2, connect, read_all
from support.fixtures import StartProxy
from support.upstream import OK
from support.waiting import eventually

FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
MIB = 2**20
SIZE = 8 * MIB
WINDOW = 65535


class Slow:
    """A registry that does not read the bodies of uploads until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = 0
        self.whole = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        # A small buffer: data in the kernel is not what these tests look at.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop the registry."""
        self.go_on.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1) or b"\r\n\r\n"
            if head.startswith(b"PUT"):
                self.begun += 1
                self.go_on.wait(60)
                size = 0
                while size < SIZE and (data := connection.recv(MIB)):
                    size += len(data)
                self.whole += size == SIZE
            connection.sendall(OK)


@pytest.fixture
def slow() -> Iterator[Slow]:
    """A slow registry."""
    registry = Slow()
    yield registry
    registry.close()


def head(method: str, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    fields = {"method": method, "scheme": "https", "path": FILE, "authority": "x"}
    return [*((f":{name}".encode(), value.encode()) for name, value in fields.items()), *more]


class Uploads:
    """Streams of one HTTP/2 connection that send as much as they are allowed to."""

    def __init__(self, client: RawHttp2, count: int) -> None:
        self.client = client
        self.left = dict.fromkeys(range(1, 2 * count + 1, 2), SIZE)
        self.status: dict[int, bytes] = {}
        for key in self.left:
            client.h2.send_headers(key, head("PUT", (b"content-length", b"%d" % SIZE)))
        client.flush()
        client.socket.settimeout(0.5)

    def sent(self) -> int:
        """Return the bytes sent on all streams."""
        return sum(SIZE - left for left in self.left.values())

    def turn(self) -> None:
        """Send, and receive for a while."""
        for key, left in self.left.items():
            while room := min(self.client.h2.local_flow_control_window(key), 16_384, left):
                left -= room
                self.client.h2.send_data(key, bytes(room), end_stream=not left)
            self.left[key] = left
        self.client.flush()
        with contextlib.suppress(TimeoutError):
            for event in self.client.h2.receive_data(self.client.socket.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = dict(event.headers or [])
                    self.status[event.stream_id or 0] = fields[b":status"]

    def stands_still(self) -> bool:
        """Tell whether nothing can be sent for a second."""
        before = self.sent()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            self.turn()
        return 0 < self.sent() == before


def test_http2(slow: Slow, tmp_path: Path, start_proxy: StartProxy) -> None:
    """Waiting uploads fill no memory, block no other request, and complete in the end."""
    proxy = start_proxy(slow.url, options=("--set", f"confdir={tmp_path}"))
    before = proxy.memory()
    with RawHttp2(proxy.url, tmp_path / "mitmproxy-ca-cert.pem") as client:
        uploads = Uploads(client, 3)
        eventually(uploads.stands_still, 30)
        assert uploads.sent() < 3 * SIZE
        client.h2.send_headers(99, head("GET"), end_stream=True)
        while 99 not in uploads.status:
            uploads.turn()
        assert uploads.status == {99: b"200"}
        slow.go_on.set()
        while len(uploads.status) < 4:
            uploads.turn()
        assert set(uploads.status.values()) == {b"200"}
    assert slow.whole == 3
    assert proxy.memory() - before < 20 * MIB


def test_http2_that_waits_for_a_connection(
    slow: Slow, tmp_path: Path, start_proxy: StartProxy
) -> None:
    """Uploads beyond a client's five upstream connections send at most one window."""
    options, limits = ("--set", f"confdir={tmp_path}"), {"connect_timeout": 1}
    proxy = start_proxy(slow.url, options=options, upstream=limits)
    before = proxy.memory()
    with RawHttp2(proxy.url, tmp_path / "mitmproxy-ca-cert.pem") as client:
        uploads = Uploads(client, 8)
        eventually(uploads.stands_still, 30)
        assert slow.begun == 5
        waiting = sorted(SIZE - left for left in uploads.left.values())[:3]
        assert all(0 < sent <= WINDOW for sent in waiting)
        slow.go_on.set()
        while len(uploads.status) < 8:
            uploads.turn()
        assert set(uploads.status.values()) == {b"200"}
    assert slow.whole == 8
    assert proxy.memory() - before < 20 * MIB


def test_http1_that_waits_for_a_connection(start_proxy: StartProxy) -> None:
    """If the registry cannot be reached, a client sends only what buffers hold, then gets 504."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as opened:
            # The kernel now answers no other client.
            for _ in range(4):
                full = opened.enter_context(socket.socket())
                full.setblocking(False)
                full.connect_ex(("127.0.0.1", port))
            proxy = start_proxy(f"http://127.0.0.1:{port}", upstream={"connect_timeout": 4})
            before = proxy.memory()
            client = opened.enter_context(connect(proxy.url, timeout=1))
            size = 512 * MIB
            client.sendall(
                f"PUT {FILE} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            )
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < size:
                    sent += client.send(bytes(MIB))
            assert sent < 64 * MIB
            assert proxy.memory() - before < 20 * MIB
            client.shutdown(socket.SHUT_WR)
            client.settimeout(20)
            got = read_all(client)
    assert got == b"" or got.startswith(b"HTTP/1.1 504 ")
