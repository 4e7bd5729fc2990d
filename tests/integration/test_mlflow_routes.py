"""Every route of the installed MLflow, read from its own Flask and FastAPI tables."""

from __future__ import annotations

import json
import re
import subprocess
from urllib.parse import quote

import lab
import pytest
from support.client import request
from support.fixtures import StartProxy
from support.upstream import OK, Upstream

from addon.routing import gate, operations
from addon.rules import rules_file
from addon.rules.model import RefusedOperation

Route = tuple[str, str]

# MLflow misspells the path of this 404 stub: no segment "mlflow", so it is no REST path.
MISSPELLED = "/api/2.0mlflow/experiments/search-datasets"


# Routes that move files, or bodies of any form, but no artifacts.
DECIDED = {
    "/": "the page of the web UI",
    "/static-files/<path:path>": "the files of the web UI",
    "/v1/(traces|metrics)": "OpenTelemetry",
    "/gateway/.*": "what language models are asked, and their answers",
    "/api/3.0/mlflow/assistant/.*": "what the assistant of the web UI says",
}


@pytest.fixture(scope="module")
def signs() -> dict[Route, list[str]]:
    """The signs that a route may move files, by route (see `mlflow_routes.py`)."""
    script = lab.ROOT / "tests" / "support" / "mlflow_routes.py"
    run = subprocess.run([lab.mlflow(3), script], stdout=subprocess.PIPE, check=True)
    lines = map(json.loads, run.stdout.splitlines())
    return {(method, path): signs for method, path, signs in lines}


@pytest.fixture(scope="module")
def routes(signs: dict[Route, list[str]]) -> list[Route]:
    return [*signs]


def fill(path: str) -> str:
    """Return a path for a route, with a value that must be kept byte for byte."""
    return re.sub(r"<[^>]+>|\{[^}]+\}", "a%2Fb%20" + quote("ü"), path)


def test_rest_routes_move(
    routes: list[Route], scripted: Upstream, scripted_proxy: lab.Server
) -> None:
    """Each REST route reaches an external upstream under /ajax-api/, where MLflow serves it too."""
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
    routes: list[Route], scripted: Upstream, scripted_proxy: lab.Server, start_proxy: StartProxy
) -> None:
    """Routes outside /api/, and all routes of an internal upstream, are not rewritten."""
    scripted.answer = OK
    internal = start_proxy(scripted.url, external=("registry.hokus.ai",))
    for method, path in routes:
        for proxy in (internal,) if path.startswith("/api/") else (internal, scripted_proxy):
            request(proxy.url, fill(path), method=method, body=b"{}")
            assert scripted.requests[-1].target == fill(path)


def test_the_switch_covers_every_artifact_route(routes: list[Route]) -> None:
    """No route that names artifacts is missing from the list in rules.yaml.

    A new route of MLflow fails this test until it is listed there or added to `harmless`.
    """
    artifacts = rules_file.load(lab.ROOT / "rules.yaml").artifacts
    suspicious = re.compile("artifact|presigned|mpu|promptlab|graphql|upload|download")
    harmless = {"/api/2.0/mlflow/model-versions/get-download-uri"}
    for _, path in routes:
        plain = re.sub("^/ajax-api", "/api", path)
        expected = suspicious.search(path) is not None and plain not in harmless
        found = gate.artifact_endpoints([fill(path)], artifacts) != []
        assert found is expected, path


def test_every_route_that_moves_files_is_decided(signs: dict[Route, list[str]]) -> None:
    """A new route of MLflow that can move files fails this test, whatever its name.

    Add the route to the list in rules.yaml or to `DECIDED`.
    """
    artifacts = rules_file.load(lab.ROOT / "rules.yaml").artifacts
    others = {
        (method, re.sub("^/ajax-api", "/api", path)): found
        for (method, path), found in signs.items()
        if found
        and not any(
            gate.counts(method, endpoint)
            for endpoint in gate.artifact_endpoints([fill(path)], artifacts)
        )
    }
    for place in others:
        assert any(re.fullmatch(known, place[1]) for known in DECIDED), (place, others[place])
    assert all(any(re.fullmatch(known, path) for _, path in others) for known in DECIDED)


POST_READS = {
    "/graphql",
    MISSPELLED,
    "/api/2.0/mlflow/experiments/search",
    "/api/2.0/mlflow/experiments/search-datasets",
    "/api/2.0/mlflow/logged-models/search",
    "/api/2.0/mlflow/registered-models/get-latest-versions",
    "/api/2.0/mlflow/runs/search",
    "/api/3.0/jobs/search",
    "/api/3.0/mlflow/datasets/search",
    "/api/3.0/mlflow/issues/search",
    "/api/3.0/mlflow/prompt-optimization/jobs/search",
    "/api/3.0/mlflow/traces/batchGetInfos",
    "/api/3.0/mlflow/traces/calculate-filter-correlation",
    "/api/3.0/mlflow/traces/metrics",
    "/api/3.0/mlflow/traces/search",
}
"""Routes that read although their method is POST."""


def test_posts_that_read(routes: list[Route]) -> None:
    """With writes refused exactly these POSTs pass, whatever else MLflow serves.

    A new route of MLflow that reads by POST fails this test if its name looks like a search.
    """
    entries = [
        RefusedOperation(name=family, family=family, operations=("write", "delete"))
        for family in ("tracking", "registry")
    ]
    passed = set()
    for method, path in routes:
        concerned = operations.concerned([fill(path)], [fill(path)], entries)
        refused = operations.refusing(concerned, [method]) is not None
        if method in ("GET", "HEAD", "OPTIONS"):
            assert not refused, path
        elif not refused and "mlflow-artifacts" not in path:
            passed.add(re.sub("^/ajax-api", "/api", path))
    # Questions for language models are no operations of the registry.
    assert {path for path in passed if not path.startswith("/gateway/")} == POST_READS
