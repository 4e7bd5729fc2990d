"""The benchmark's load from wrk: its figures, and its errors."""

from __future__ import annotations

from collections.abc import Iterator

import lab
import pytest
from bench.closed_loop import LoadError, load

SERVER = f"""
  upstream itself {{ server 127.0.0.1:PORT; keepalive 8; }}
  server {{
    listen 127.0.0.1:PORT;{lab.STREAMING}
    location / {{ return 200 "ok"; }}
    location /fails {{ if ($connection_requests = 5) {{ return 503; }} return 200 "ok"; }}
    location /ends {{ if ($connection_requests = 5) {{ return 444; }} return 200 "ok"; }}
    location /missing {{ return 404; }}
    location /up {{
      if ($request_method != PUT) {{ return 405; }}
      if ($content_length != 1000) {{ return 400; }}
      proxy_pass http://itself/;
    }}
  }}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of nginx, which answers at once."""
    with lab.nginx(tmp_path_factory.mktemp("load"), SERVER) as nginx:
        yield nginx.wait().url


def test_figures(server: str) -> None:
    """A load of good answers has a rate and a latency, in milliseconds."""
    got = load(f"{server}/", 2, 1)
    assert got.rate > 0
    assert 0 < got.latency < 20_000  # The time limit of a request.


def test_bodies(server: str) -> None:
    """Requests have the method and the size that were asked for."""
    assert load(f"{server}/up", 1, 1, method="PUT", size=1000).rate > 0
    with pytest.raises(OSError, match="400"):
        load(f"{server}/up", 1, 1, method="PUT", size=999)


@pytest.mark.parametrize("path", ["/fails", "/ends"])
def test_errors(server: str, path: str) -> None:
    """A load with answers that are errors, or without answers, has no figures."""
    with pytest.raises(LoadError, match="requests, and errors"):
        load(server + path, 2, 1)


def test_an_error_from_the_beginning(server: str) -> None:
    """An error of the first request ends the measurement."""
    with pytest.raises(OSError, match="404"):
        load(f"{server}/missing", 1, 1)
