"""Operations that `refused` lists do not reach a real MLflow server, in any spelling."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import lab
import pytest
from integration.test_hostile_targets import reporting
from support import hostile
from support.client import request
from support.fixtures import StartProxy
from support.mlflow_client import Client

SEED = int(os.environ.get("FUZZ_SEED", "1"))
COUNT = int(os.environ.get("FUZZ_COUNT", "1000"))
API = "/api/2.0/mlflow"
READ_ONLY = [
    {"name": "no-changes", "family": "tracking", "operations": ["write", "delete"]},
    {
        "name": "registry-read-only",
        "family": "registry",
        "operations": ["write", "delete"],
        "status": 501,
        "message": "Models are registered by the release pipeline alone.",
    },
]
CHANGES = [
    ("POST", f"{API}/experiments/create"),
    ("POST", f"/ajax-api{API.removeprefix('/api')}/experiments/delete"),
    ("POST", f"{API}/runs/log-batch"),
    ("POST", f"{API}/runs/delete-tag"),
    ("DELETE", f"{API}/logged-models/m-1"),
    ("PATCH", f"{API}/logged-models/m-1/tags"),
    ("DELETE", f"{API}/logged-models/m-1/tags/search"),
    ("POST", "/api/3.0/mlflow/traces"),
    ("POST", "/ajax-api/3.0/mlflow/traces/delete-traces"),
    ("POST", f"{API}/registered-models/create"),
    ("DELETE", f"{API}/model-versions/delete"),
    ("PATCH", f"{API}/registered-models/update"),
    ("POST", "/v1/traces"),
]
READS = ("/search", "/get-latest-versions", "/graphql", "/batchGetInfos", "/search-datasets")


@pytest.fixture(scope="module")
def reporting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """An MLflow server that names the route that a request has reached."""
    with reporting(tmp_path_factory.mktemp("reporting"), "--app-name", "reporting") as server:
        yield server.wait("/health")


def changed(method: str, answer: hostile.Answer) -> str:
    """Return the route of a request that may have changed something, "" if there is none."""
    route = answer.headers.get("x-reached", "")
    reads = method in ("GET", "HEAD", "OPTIONS") or route.endswith(READS)
    return "" if reads or "mlflow-artifacts" in route else route


def test_no_spelling_gets_through(reporting_server: lab.Server, shared_proxy: StartProxy) -> None:
    """With all changes refused, no target and no method override reaches one."""
    proxy = shared_proxy(reporting_server.url, external=("127.0.0.1",), refused=READ_ONLY)
    through, direct = hostile.Connection(proxy.url), hostile.Connection(reporting_server.url)
    for method, target in CHANGES:
        assert changed(method, direct.send(method, target)), "the answer names no route"
        assert through.send(method, target).status in (403, 501), target
    hits = 0
    for method, target in hostile.targets(SEED, COUNT // 2, endpoints=CHANGES):
        answer = through.send(method, target)
        assert not changed(method, answer), (method, target)
        assert answer.status, (method, target)
        hits += bool(changed(method, direct.send(method, target)))
    assert hits > COUNT // 20
    override = "X-HTTP-Method-Override: DELETE\r\n"
    assert through.send("POST", f"{API}/runs/search", override).status == 403


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"{API}/experiments/search?max_results=1"),
        ("POST", f"{API}/runs/search"),
        ("POST", "/ajax-api/2.0/mlflow/runs/search"),
        ("POST", f"{API}/registered-models/get-latest-versions"),
        ("POST", "/graphql"),
        ("GET", "/"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/a"),
        ("GET", f"{API}/runs/get?run_id=delete"),
    ],
)
def test_other_requests_pass(
    reporting_server: lab.Server, shared_proxy: StartProxy, method: str, target: str
) -> None:
    """Reads pass, also by POST, and so do artifacts."""
    proxy = shared_proxy(reporting_server.url, external=("127.0.0.1",), refused=READ_ONLY)
    got = hostile.Connection(proxy.url).send(method, target)
    assert "proxy-status" not in got.headers
    assert got.status == hostile.Connection(reporting_server.url).send(method, target).status


@pytest.mark.parametrize("version", [2, 3])
def test_the_client_shows_the_message(
    mlflow_server: lab.Server, shared_proxy: StartProxy, version: int
) -> None:
    """MLflow's client shows the message at once, and reads work."""
    proxy = shared_proxy(mlflow_server.url, refused=READ_ONLY)
    with Client(version) as client:
        assert "Default" in client.call("search_experiments", proxy.url).result
        refused = client.call("delete_experiment", proxy.url)
        assert refused.code == "PERMISSION_DENIED"
        assert "This operation is switched off here." in refused.message
        model = client.call("create_model", proxy.url)
        assert "Models are registered by the release pipeline alone." in model.message
    said = [line for line in proxy.text().splitlines() if "operation refused" in line]
    assert "operation refused: no-changes" in said[0]
    assert "operation refused: registry-read-only" in said[-1]


def test_a_request_that_an_option_changes(
    mlflow_server: lab.Server, shared_proxy: StartProxy
) -> None:
    """A request is judged again in the form in which it goes upstream."""
    options = ("--set", f"map_remote=|/(ajax-)?api/2.0/mlflow/runs/search|{API}/runs/delete")
    proxy = shared_proxy(mlflow_server.url, refused=READ_ONLY, options=options)
    got = request(proxy.url, f"{API}/runs/search", method="POST", body=b"{}")
    assert got.status == 403
    assert json.loads(got.body)["error_code"] == "PERMISSION_DENIED"
