"""Measures large artifacts through the proxy and through nginx.

Both do the same in the same place: rewrite, and stream without buffering. Downloads come from nginx
with the file in memory, if the machine allows it. Uploads go to a server that reads and drops them,
because storing them would vary more than the proxies.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lab
from bench import servers
from bench.results import Row, ratios
from bench.session import Session, alternate

_STORE = """
  server {
    listen 127.0.0.1:PORT;
    location /ajax-api/ { root FOLDER; }
  }
"""
Transfer = Callable[[str], None]
TARGETS = {("download", 1): 1.4, ("upload", 1): 1.2, ("download", 4): 1.8, ("upload", 4): 1.5}
"""Multiples of nginx's throughput, by direction and number at once: values reached before."""


def measure(session: Session) -> Iterator[Row]:
    """Yield the throughput of one transfer, and of four at once."""
    with kinds(session) as transfers:
        for (direction, upstream, transfer), count in (
            (kind, count) for count in (1, 4) for kind in transfers
        ):
            name = f"{direction} of {session.size_name}" + f", {count} at once" * (count > 1)
            folder = session.folder / f"{direction}-{count}"
            run = partial(together, count, transfer)
            values, got = compare(session, folder, upstream, run)
            limit = TARGETS[direction, count]
            yield Row(name, "nginx, buffering off", "x", values, ">=", limit, raw=got)


def measure_memory(session: Session) -> Iterator[Row]:
    """Yield the peak resident memory of a new proxy for eight transfers at once."""
    with kinds(session) as transfers:
        for direction, upstream, transfer in transfers:
            peaks = []
            for number in range(session.rounds):
                folder = session.folder / f"memory-{direction}-{number}"
                with servers.proxy(folder, upstream) as proxy:
                    together(8, transfer, proxy.url)
                    peaks.append(proxy.memory() / 2**20)
            name = f"peak memory, 8 {direction}s of {session.size_name} at once"
            yield Row(name, "", "MiB", peaks, "<", 100, worst=True)


@contextmanager
def kinds(session: Session) -> Iterator[list[tuple[str, str, Transfer]]]:
    """Start upstreams; yield name, upstream and transfer for downloads and uploads."""
    folder = session.folder / "store"
    with store(folder, session.size) as files, serving(drop_upload) as url:
        yield [
            ("download", files.url, partial(download, size=session.size)),
            ("upload", url, partial(upload, source=artifact(folder))),
        ]


def compare(
    session: Session, folder: Path, upstream: str, transfer: Transfer
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the proxy's throughput as multiples of nginx's, and the seconds of both."""

    def seconds(url: str) -> float:
        start = time.perf_counter()
        transfer(url)
        return time.perf_counter() - start

    with (
        servers.nginx(folder / "nginx", upstream) as nginx,
        servers.proxy(folder / "proxy", upstream) as proxy,
    ):
        ways = {"proxy": partial(seconds, proxy.url), "nginx": partial(seconds, nginx.url)}
        for warm_up in ways.values():
            warm_up()
        got = alternate(session.pairs, ways)
    return ratios(got["nginx"], got["proxy"]), got


def together(count: int, transfer: Transfer, url: str) -> None:
    """Run some transfers at once."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(transfer, [url] * count))


ARTIFACT = f"{servers.ARTIFACTS}large"


def artifact(folder: Path) -> Path:
    """Return the path of the artifact in the store's folder."""
    return folder / f"ajax-{ARTIFACT[1:]}"


@contextmanager
def store(folder: Path, size: int) -> Iterator[lab.Server]:
    """Start nginx with an artifact of some size."""
    path = artifact(folder)
    path.parent.mkdir(parents=True)
    block = os.urandom(2**20)
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    try:
        with lab.nginx(folder / "nginx", _STORE.replace("FOLDER", str(folder))) as server:
            yield server.wait()
    finally:
        path.unlink()


def download(url: str, size: int) -> None:
    """Get the artifact."""
    with connect(url) as connection:
        head = f"GET {ARTIFACT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        buffer = bytearray(2**20)
        received = 0
        while count := connection.recv_into(buffer):
            received += count
    assert size < received < size + 2000, received


def upload(url: str, source: Path) -> None:
    """Put the artifact."""
    with connect(url) as connection, source.open("rb") as file:
        length = source.stat().st_size
        head = f"PUT {servers.ARTIFACTS}up HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        connection.sendall((head + "Connection: close\r\n\r\n").encode())
        connection.sendfile(file)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 20"), answer


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Start a server in its own process, with a thread for each connection; yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.Process(target=_accept, args=(listener, answer), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        process.terminate()
        process.join()
        listener.close()


def _accept(listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def drop_upload(connection: socket.socket) -> None:
    """Read a body, drop it, answer 201."""
    with connection:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (data := connection.recv(65536)):
                return
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        assert length is not None, head
        left = int(length[1]) - len(body)
        buffer = bytearray(2**20)
        while left > 0 and (count := connection.recv_into(buffer)):
            left -= count
        if not left:
            connection.sendall(
                b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )


def connect(url: str) -> socket.socket:
    """Return a new connection to a server."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
