"""Cross-site requests, over the wire and with real servers behind."""

from __future__ import annotations

import json

import pytest
import stack
from support.client import request
from support.fixtures import StartProxy
from support.upstream import OK, Upstream

CREATE = "/mlflow/api/2.0/mlflow/experiments/create"


@pytest.mark.parametrize(
    ("target", "origin", "allowed", "status"),
    [
        (CREATE, "https://evil.example", [], 403),
        (CREATE, "null", [], 403),
        (CREATE, "SELF", [], 200),
        (CREATE, "https://lab.example", ["https://lab.example"], 200),
        # What is not rewritten is left to the upstream's own check.
        ("/ajax-api/2.0/mlflow/experiments/create", "https://evil.example", [], 200),
    ],
)
def test_rewritten_requests(
    scripted: Upstream,
    shared_proxy: StartProxy,
    target: str,
    origin: str,
    allowed: list[str],
    status: int,
) -> None:
    """A foreign page's POST never reaches the upstream; the proxy's own pages' do."""
    scripted.answer = OK
    scripted.requests.clear()
    proxy = shared_proxy(scripted.url, origins={"allowed": allowed})
    headers = {"Origin": origin.replace("SELF", proxy.url)}
    got = request(proxy.url, target, method="POST", headers=headers, body=b"{}")
    assert got.status == status
    assert len(scripted.requests) == (status == 200)
    if status == 403:
        assert json.loads(got.body)["error_code"] == "PERMISSION_DENIED"
        assert json.loads(got.body)["source"] == "proxy"


def test_internal_upstreams_check_by_themselves(
    mlflow_server: stack.Server, start_proxy: StartProxy
) -> None:
    """Without a rewrite MLflow's own check is at work, as before."""
    proxy = start_proxy(mlflow_server.url, external=("registry.hokus.ai",))
    headers = {"Origin": "https://evil.example", "Content-Type": "application/json"}
    got = request(proxy.url, CREATE, method="POST", headers=headers, body=b'{"name": "x"}')
    assert got.status == 403
    assert "source" not in json.loads(got.body)
