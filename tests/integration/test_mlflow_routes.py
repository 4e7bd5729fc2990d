"""Every route of the installed MLflow, read from its own Flask and FastAPI tables."""

from __future__ import annotations

import json
import re
import subprocess
from urllib.parse import quote

import pytest
import stack
from support.client import request
from support.fixtures import StartProxy
from support.upstream import OK, Upstream

from addon import gate, rules_file

Route = tuple[str, str]

# A 404 stub whose name MLflow itself has misspelled: no segment "mlflow", hence no REST path.
MISSPELLED = "/api/2.0mlflow/experiments/search-datasets"


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    script = stack.ROOT / "tests" / "support" / "mlflow_routes.py"
    run = subprocess.run([stack.mlflow(3), script], stdout=subprocess.PIPE, check=True)
    return [tuple(json.loads(line)) for line in run.stdout.splitlines()]


def fill(path: str) -> str:
    """A concrete path for a route, with a value that has to be kept byte for byte."""
    return re.sub(r"<[^>]+>|\{[^}]+\}", "a%2Fb%20" + quote("ü"), path)


def test_rest_routes_move(
    routes: list[Route], scripted: Upstream, scripted_proxy: stack.Server
) -> None:
    """Each REST route reaches an external upstream under /ajax-api/, where MLflow knows it too."""
    rest = [(method, path) for method, path in routes if path.startswith("/api/")]
    assert len(rest) > 200
    twins = {path for _, path in routes}
    scripted.answer = OK
    for method, path in rest:
        received = fill(path) + "?a=1&a="
        request(scripted_proxy.url, received, method=method, body=b"{}")
        if path == MISSPELLED:
            assert scripted.requests[-1].target == received
            continue
        assert scripted.requests[-1].target == "/ajax-api" + received.removeprefix("/api")
        assert re.sub("^/api", "/ajax-api", path) in twins


def test_other_routes_stay(
    routes: list[Route], scripted: Upstream, scripted_proxy: stack.Server, start_proxy: StartProxy
) -> None:
    """Routes outside of /api/ and everything for an internal upstream stay as they are."""
    scripted.answer = OK
    internal = start_proxy(scripted.url, external=("registry.hokus.ai",))
    for method, path in routes:
        for proxy in (internal,) if path.startswith("/api/") else (internal, scripted_proxy):
            request(proxy.url, fill(path), method=method, body=b"{}")
            assert scripted.requests[-1].target == fill(path)


def test_the_switch_covers_every_artifact_route(routes: list[Route]) -> None:
    """No route that names artifacts is missing from the list in rules.yaml.

    A route that MLflow adds fails this test until somebody has decided about it.
    """
    artifacts = rules_file.load(stack.ROOT / "rules.yaml").artifacts
    suspicious = re.compile("artifact|presigned|mpu|promptlab|graphql|upload|download")
    harmless = {"/api/2.0/mlflow/model-versions/get-download-uri"}
    for _, path in routes:
        plain = re.sub("^/ajax-api", "/api", path)
        expected = suspicious.search(path) is not None and plain not in harmless
        found = gate.artifact_endpoints([fill(path)], artifacts) != []
        assert found is expected, path
