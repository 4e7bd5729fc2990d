"""How the proxy's own requests affect its limits and its logs."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lab
from support.client import request
from support.fixtures import StartProxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
AUTO: dict[str, Any] = {"external": (), "upstream": {"dialect": "auto"}}


def test_requests_that_wait_are_counted(start_proxy: StartProxy) -> None:
    """Requests that wait for detection count against limits.flows; the next one gets 503."""
    go_on = threading.Event()

    def answer(_: Received, connection: socket.socket) -> bool:
        go_on.wait(30)
        connection.sendall(OK)
        return True

    with Upstream(answer) as upstream, ThreadPoolExecutor() as pool:
        proxy = start_proxy(upstream.url, **AUTO, limits={"flows": 2})
        asked = [pool.submit(request, proxy.url, SEARCH) for _ in range(3)]
        eventually(lambda: any(each.done() for each in asked))
        refused = next(each for each in asked if each.done()).result()
        assert refused.status == 503
        assert "its limit for concurrent requests" in str(refused.body)
        # Only the detection request has arrived; the others still wait.
        assert (sum(each.done() for each in asked), upstream.begun) == (1, 1)
        go_on.set()
        assert sorted(each.result().status for each in asked) == [200, 200, 503]
        # All slots are free again.
        assert request(proxy.url, SEARCH).status == 200


def test_health_before_the_api_is_known(start_proxy: StartProxy) -> None:
    """A registry that has not answered yet is not critical; one that does not answer is."""
    go_on = threading.Event()

    def answer(asked: Received, connection: socket.socket) -> bool:
        if not asked.target.startswith("/mlflow/"):
            go_on.wait(30)
        served = asked.target.startswith(("/mlflow/ajax-api/", "/mlflow/version"))
        connection.sendall(OK if served else response("404 Not Found", b"<h1>?</h1>"))
        return True

    with Upstream(answer) as upstream, ThreadPoolExecutor() as pool:
        proxy = start_proxy(upstream.url, **AUTO)
        asked = pool.submit(request, proxy.url, "/health/mlflow")
        eventually(lambda: upstream.begun > 0)
        go_on.set()
        found = asked.result()
        assert (found.status, json.loads(found.body)["status"]) == (200, "ok"), found.body
    proxy = start_proxy(f"http://127.0.0.1:{lab.free_port()}", **AUTO)
    found = request(proxy.url, "/health/mlflow")
    assert (found.status, json.loads(found.body)["status"]) == (503, "critical")


def test_own_requests_in_the_logs(start_proxy: StartProxy, tmp_path: Path) -> None:
    """Probes are marked in the access log; an outage of the upstream is logged only once."""
    port, log = lab.free_port(), tmp_path / "access.log"
    proxy = start_proxy(
        f"http://127.0.0.1:{port}",
        **AUTO,
        health={"cache": 0},
        options=("--set", f"mlflow_access_log={log}"),
    )

    def down(times: int) -> None:
        for _ in range(3):
            assert request(proxy.url, "/readyz").status == 503
        assert proxy.text().count("answered 502 to GET") == times

    down(1)
    with Upstream(port=port):
        assert request(proxy.url, "/readyz").status == 200
    down(2)
    # Failures of clients' requests are logged each time.
    assert [request(proxy.url, SEARCH).status for _ in range(2)] == [502, 502]
    assert proxy.text().count("answered 502 to GET") == 4

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    eventually(lambda: sum(not line["probe"] and line["status"] == 502 for line in lines()) == 2)
    # One for each /readyz, and those of the API detection.
    assert sum(line["probe"] for line in lines()) > 7
    assert {line["path"] for line in lines() if line["probe"]} >= {
        "/health",
        SEARCH.partition("?")[0],
    }
    assert not any(line["probe"] for line in lines() if line["path"] == "/readyz")
