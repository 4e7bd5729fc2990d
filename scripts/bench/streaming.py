"""Artifacts of 1 GiB through the proxy and through nginx, side by side.

Both stand in the same place and do the same: rewrite and stream without buffering. Downloads come
from nginx with the file in memory, where the machine allows it; uploads go to a server that reads
and drops them, because one that stores them varies more than what is measured. Pairs alternate, so
that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import stack

PATH = "/2.0/mlflow-artifacts/artifacts/"
NGINX = """
  server {
    listen 127.0.0.1:PORT;
    location /ajax-api/ { root FOLDER; }
  }
"""
NGINX_PROXY = """
  upstream store { server STORE; keepalive 16; }
  server {
    listen 127.0.0.1:PORT;
    location /api/ {
      rewrite ^/api/(.*) /ajax-api/$1 break;
      proxy_pass http://store;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }
  }
"""


def download(url: str, name: str) -> float:
    """Get an artifact; returns seconds."""
    start = time.perf_counter()
    with _connect(url) as connection:
        connection.sendall(
            f"GET /api{PATH}{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        buffer = bytearray(2**20)
        received = 0
        while count := connection.recv_into(buffer):
            received += count
    assert received > SIZE, received
    return time.perf_counter() - start


def drop_uploads(port: int) -> None:
    """Serve PUT requests: read the body, drop it, answer 201."""
    buffer = bytearray(2**20)
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            with server.accept()[0] as connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (data := connection.recv(65536)):
                        break
                    head += data
                else:
                    left = SIZE - len(head.partition(b"\r\n\r\n")[2])
                    while left > 0 and (count := connection.recv_into(buffer)):
                        left -= count
                    connection.sendall(
                        b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )


def upload(url: str, source: Path) -> float:
    """Put an artifact; returns seconds."""
    start = time.perf_counter()
    with _connect(url) as connection, source.open("rb") as file:
        head = f"PUT /api{PATH}up HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n"
        connection.sendall((head + "Connection: close\r\n\r\n").encode())
        connection.sendfile(file)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 20"), answer
    return time.perf_counter() - start


def _connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)))


SIZE = 2**30


def main() -> int:
    """Measure and print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        run(Path(folder), arguments.pairs)
    return 0


def run(folder: Path, pairs: int) -> None:
    """Start the servers, alternate, print."""
    artifact = folder / "files" / f"ajax-api{PATH}" / "down"
    artifact.parent.mkdir(parents=True)
    with artifact.open("wb") as file:
        block = os.urandom(2**20)
        for _ in range(SIZE // len(block)):
            file.write(block)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    print("throughput of the proxy, nginx = 1 (median, minimum to maximum of the pairs)")
    sink = stack.free_port()
    process = multiprocessing.Process(target=drop_uploads, args=(sink,), daemon=True)
    process.start()
    config = NGINX.replace("FOLDER", str(folder / "files"))
    with stack.nginx(folder / "store", config) as store:
        store.wait()
        compare(folder / "down", store.url, pairs, lambda url: download(url, "down"))
    compare(folder / "up", f"http://127.0.0.1:{sink}", pairs, lambda url: upload(url, artifact))
    process.terminate()


def compare(folder: Path, upstream: str, pairs: int, measure: Callable[[str], float]) -> None:
    """Print the ratio for one kind of transfer."""
    rules = stack.write_rules(folder / "rules.yaml", external=["127.0.0.1"])
    config = NGINX_PROXY.replace("STORE", upstream.removeprefix("http://"))
    with (
        stack.nginx(folder / "nginx", config) as nginx,
        stack.proxy(upstream, rules, log=folder / "log", options=("-q",)) as proxy,
    ):
        nginx.wait()
        proxy.wait("/livez")
        measure(proxy.url), measure(nginx.url)  # warm up
        ratios = []
        for pair in range(pairs):
            order = [proxy.url, nginx.url] if pair % 2 else [nginx.url, proxy.url]
            seconds = {url: measure(url) for url in order}
            ratios.append(seconds[nginx.url] / seconds[proxy.url])
        print(
            f"  {folder.name:5} {statistics.median(ratios):.2f}x "
            f"({min(ratios):.2f} to {max(ratios):.2f}), peak memory {proxy.memory() >> 20} MiB",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
