"""An exception in the engine ends its client's connection, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import stack
from support import breaker
from support.client import raw, request
from support.proxies import running_proxy
from support.upstream import OK, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/experiments/search"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"


@pytest.fixture(scope="module")
def broken(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[stack.Server, Path, str]]:
    """A proxy with a script that breaks it, its access log, and the URL of its metrics."""
    folder = tmp_path_factory.mktemp("broken")
    port, log = stack.free_port(), folder / "access.log"
    sets = (f"mlflow_access_log={log}", f"mlflow_metrics={port}")
    options = ("-s", breaker.__file__, "--set", sets[0], "--set", sets[1])
    with running_proxy(folder, scripted.url, options=options) as server:
        yield server, log, f"http://127.0.0.1:{port}"
        assert "secret" not in server.text()
        assert "has crashed" not in server.text()


def by_proxy(log: Path) -> int:
    """How many requests have ended by a fault of the proxy, by its access log."""
    ended = [json.loads(line) for line in log.read_text().splitlines()]
    return sum(one["error_source"] == "proxy" for one in ended)


@pytest.mark.parametrize("step", breaker.STEPS)
@pytest.mark.parametrize("target", [API, FILE])
def test_it_ends_its_connection(
    scripted: Upstream, broken: tuple[stack.Server, Path, str], step: str, target: str
) -> None:
    """One line of the log, one of the access log, nothing in flight; others are served."""
    proxy, log, metrics = broken
    kind = ("Content-Type", "application/octet-stream")
    scripted.answer = response("200 OK", b"x" * 9, kind, framing="bytes") if target == FILE else OK
    ended = by_proxy(log)
    lines = proxy.text().count("internal error, the connection is closed")
    head = f"GET {target}?{step} HTTP/1.1\r\nHost: x\r\nX-Break: {step}\r\n\r\n"
    answer = raw(proxy.url, head.encode())  # To the end of the connection.
    assert answer == b"" or step in ("_on_answer", "_on_answer_end", "_finish")
    assert proxy.text().count("internal error, the connection is closed") == lines + 1
    assert " in step (breaker.py" in proxy.text()
    assert request(proxy.url, API).status == 200
    page = request(metrics, "/metrics").body.decode()
    assert "\nmlflow_proxy_requests_in_flight 0" in page, page

    # The answer was there when the last step broke.
    eventually(lambda: by_proxy(log) == ended + (step != "_finish"))
