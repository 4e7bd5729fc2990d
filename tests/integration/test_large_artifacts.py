"""Gigabytes through the proxy, in constant memory."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support.fixtures import StartProxy

GIB = 2**30
LIMIT = 100 * 2**20
"""The peak resident memory, in bytes, that the proxy may use."""

BLOCK = bytes(range(256)) * 4096
PATH = "/2.0/mlflow-artifacts/artifacts/big"

STORE = """
  server {
    listen 127.0.0.1:PORT;
    location /ajax-api/ { root FOLDER; dav_methods PUT; create_full_put_path on; }
  }
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[lab.Server]:
    """nginx as an artifact store behind /ajax-api/."""
    (tmp_path / "files").mkdir()
    servers = STORE.replace("FOLDER", str(tmp_path / "files"))
    with lab.nginx(tmp_path / "nginx", servers) as server:
        yield server.wait()
    for file in (tmp_path / "files").rglob("big"):
        file.unlink()


def blocks(size: int) -> Iterator[bytes]:
    """The content of an artifact."""
    return (BLOCK for _ in range(size // len(BLOCK)))


def put(url: str, size: int, *, chunked: bool) -> int:
    """Upload an artifact and return the status."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {} if chunked else {"Content-Length": str(size)}
    connection.request("PUT", "/api" + PATH, blocks(size), headers, encode_chunked=chunked)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@pytest.mark.parametrize("chunked", [False, True])
def test_a_gigabyte_up_and_down(store: lab.Server, start_proxy: StartProxy, chunked: bool) -> None:
    """1 GiB is uploaded and downloaded intact, and the proxy's memory stays small."""
    proxy = start_proxy(store.url)
    assert put(proxy.url, GIB, chunked=chunked) == 201
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=60)
    connection.request("GET", "/api" + PATH)
    response = connection.getresponse()
    assert response.status == 200
    received, expected = hashlib.md5(), hashlib.md5()
    while block := response.read(2**20):
        received.update(block)
    for block in blocks(GIB):
        expected.update(block)
    assert received.hexdigest() == expected.hexdigest()
    assert proxy.memory() < LIMIT


@pytest.mark.parametrize("chunked", [False, True])
def test_refusing_two_gigabytes_costs_no_memory(
    store: lab.Server, start_proxy: StartProxy, chunked: bool
) -> None:
    """A refused upload is read and dropped, and the client gets the refusal."""
    proxy = start_proxy(store.url, artifacts={"enabled": False})
    assert put(proxy.url, 2 * GIB, chunked=chunked) == 503
    assert proxy.memory() < LIMIT


def test_an_unreachable_upstream_costs_no_memory(start_proxy: StartProxy) -> None:
    """An upload to an unreachable upstream gets 502 and is not held."""
    proxy = start_proxy(f"http://127.0.0.1:{lab.free_port()}")
    assert put(proxy.url, GIB // 2, chunked=False) == 502
    assert proxy.memory() < LIMIT


def test_a_gigabyte_of_error_page_is_not_held(tmp_path: Path, start_proxy: StartProxy) -> None:
    """Only the beginning of a huge error page is kept."""
    page = tmp_path / "page.html"
    with page.open("wb") as file:
        file.write(b"<html><title>Far too long</title>")
        file.truncate(GIB)
    servers = f"""
      server {{
        listen 127.0.0.1:PORT;
        error_page 500 /page.html;
        location = /page.html {{ root {tmp_path}; default_type text/html; internal; }}
        location / {{ return 500; }}
      }}
    """
    with lab.nginx(tmp_path / "nginx", servers) as upstream:
        upstream.wait()
        proxy = start_proxy(upstream.url)
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=60)
        connection.request("GET", "/api/2.0/mlflow/x")
        response = connection.getresponse()
        assert response.status == 500
        assert b"Far too long" in response.read()
        assert proxy.memory() < LIMIT
    page.unlink()
