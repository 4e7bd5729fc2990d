"""Artifacts of 1 GiB through the proxy and through nginx, side by side.

Both stand in front of the same store (nginx, files in memory where the machine allows it) and do
the same: stream without buffering. Pairs alternate, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
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
    location /ajax-api/ { root FOLDER; dav_methods PUT; create_full_put_path on; }
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
    rules = stack.write_rules(folder / "rules.yaml", external=["127.0.0.1"])
    with stack.nginx(folder / "store", NGINX.replace("FOLDER", str(folder / "files"))) as store:
        store.wait()
        config = NGINX_PROXY.replace("STORE", store.url.removeprefix("http://"))
        with (
            stack.nginx(folder / "nginx", config) as nginx,
            stack.proxy(store.url, rules, log=folder / "log", options=("-q",)) as proxy,
        ):
            nginx.wait()
            proxy.wait("/livez")
            print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
            print("throughput of the proxy, nginx = 1 (median, minimum to maximum of the pairs)")
            measures: dict[str, Callable[[str], float]] = {
                "download 1 GiB": lambda url: download(url, "down"),
                "upload 1 GiB": lambda url: upload(url, artifact),
            }
            for name, measure in measures.items():
                measure(proxy.url), measure(nginx.url)  # warm up
                ratios = []
                for pair in range(pairs):
                    order = [proxy.url, nginx.url] if pair % 2 else [nginx.url, proxy.url]
                    seconds = {url: measure(url) for url in order}
                    ratios.append(seconds[nginx.url] / seconds[proxy.url])
                print(
                    f"  {name:15} {statistics.median(ratios):.2f}x "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )
            print(f"  peak memory     {proxy.memory() / 2**20:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
