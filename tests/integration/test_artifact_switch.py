"""The artifact switch in front of a real MLflow server."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import lab
import pytest
from support.client import request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import Upstream

REFUSAL = {
    "error_code": "ARTIFACTS_DISABLED",
    "error": "ARTIFACTS_DISABLED",
    "message": "Artifact storage is not configured. Please contact your administrator.",
}

ARTIFACT_REQUESTS = [
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=a"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/a"),
    ("HEAD", "/api/2.0/mlflow-artifacts/artifacts/a"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/a"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/a"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/a"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/complete/a"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/abort/a"),
    ("GET", "/api/2.0/mlflow-artifacts/presigned/a"),
    ("GET", "/get-artifact?path=a&run_uuid=b"),
    ("GET", "/model-versions/get-artifact?path=a"),
    ("GET", "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=a"),
    ("GET", "/ajax-api/3.0/mlflow/get-trace-artifact?request_id=a"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files"),
    ("GET", "/api/2.0/mlflow/logged-models/m-1/artifacts/directories"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=a&path=b"),
    ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-download-url"),
    ("GET", "/api/2.0/mlflow/artifacts/list?run_id=a"),
    # MLflow 3.18 and newer.
    ("POST", "/api/3.0/mlflow/skills/a/versions"),
    ("POST", "/api/3.0/mlflow/skills/@lab/a/versions"),
    ("DELETE", "/api/3.0/mlflow/skills/a"),
    ("DELETE", "/api/3.0/mlflow/skills/@lab/a"),
]


@pytest.mark.parametrize(
    ("env", "options", "rules"),
    [
        ({}, (), {"enabled": False}),
        ({"MLFLOW_SERVE_ARTIFACTS": "False"}, (), {}),
        ({"MLFLOW_SERVE_ARTIFACTS": "1"}, ("--set", "mlflow_serve_artifacts=off"), {}),
    ],
)
@pytest.mark.parametrize("external", [("127.0.0.1",), ("registry.hokus.ai",)])
def test_artifacts_that_are_off(
    mlflow_server: lab.Server,
    start_proxy: StartProxy,
    env: dict[str, str],
    options: tuple[str, ...],
    rules: dict[str, bool],
    external: tuple[str, ...],
) -> None:
    """Every way to switch artifacts off covers every endpoint, and nothing else."""
    proxy = start_proxy(
        mlflow_server.url, external=external, env=env, options=options, artifacts=rules
    )
    before = mlflow_server.text()
    for method, target in ARTIFACT_REQUESTS:
        for mount in ("", "/mlflow", "/api/mlflow"):
            for path in {target, target.replace("/api/", "/ajax-api/")}:
                answer = request(proxy.url, mount + path, method=method, body=b"{}")
                assert answer.status == 503, path
                if method != "HEAD":
                    assert json.loads(answer.body) == REFUSAL
    assert mlflow_server.text() == before, "a request has reached MLflow"
    assert request(proxy.url, "/mlflow/health").body == b"OK"
    answer = request(proxy.url, "/api/2.0/mlflow/experiments/search?max_results=1")
    assert "experiments" in json.loads(answer.body)


READS = {"/presigned/", "/presigned-download-url"}


@pytest.mark.parametrize("off", ["read", "write", "delete"])
def test_reads_writes_and_deletes_apart(
    mlflow_server: lab.Server, start_proxy: StartProxy, off: str
) -> None:
    """An operation that is off is refused on every endpoint; the others reach MLflow."""
    proxy = start_proxy(mlflow_server.url, artifacts={off: False, "disabled_status": 403})
    covered = {"read": {"read"}, "write": {"write", "delete"}, "delete": {"delete"}}[off]
    for method, target in ARTIFACT_REQUESTS:
        operation = {"GET": "read", "HEAD": "read", "DELETE": "delete"}.get(method, "write")
        if any(part in target for part in READS):
            operation = "read"
        answer = request(proxy.url, target, method=method, body=b"{}")
        refused = answer.headers["Proxy-Status"] == "mlflow-proxy; error=http_request_denied"
        assert refused is (operation in covered), (method, target)
        if refused and method != "HEAD":
            assert answer.status == 403
            assert json.loads(answer.body)["error_code"] == "ARTIFACTS_DISABLED"


@pytest.mark.parametrize("enabled", [True, False])
def test_graphql(mlflow_server: lab.Server, start_proxy: StartProxy, enabled: bool) -> None:
    """The switch covers the UI's GraphQL artifact list; other GraphQL queries still work."""
    proxy = start_proxy(mlflow_server.url, artifacts={"enabled": enabled})
    headers = {"Content-Type": "application/json"}

    def query(text: str) -> tuple[int, dict[str, object]]:
        body = json.dumps({"query": text, "operationName": "Q"}).encode()
        answer = request(proxy.url, "/graphql", method="POST", headers=headers, body=body)
        return answer.status, json.loads(answer.body)

    status, content = query('query Q { mlflowListArtifacts(input: {runId: "x"}) { rootUri } }')
    assert (status, content == REFUSAL) == ((200, False) if enabled else (503, True))
    status, content = query(
        'query Q { mlflowGetRun(input: {runId: "x"}) { run { info { runId } } } }'
    )
    assert status == 200
    assert "data" in content


ASKS = 'query Q { mlflowListArtifacts(input: {runId: "x"}) { rootUri } }'
JSON = json.dumps({"query": ASKS}).encode()
HARMLESS = json.dumps({"query": "query Q { mlflowGetRun { apiError { code } } }"}).encode()


@pytest.fixture(scope="module")
def closed_proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A proxy with artifacts switched off."""
    folder = tmp_path_factory.mktemp("closed")
    with running_proxy(folder, scripted.url, artifacts={"enabled": False}) as server:
        yield server


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(JSON)),
        ({"Content-Encoding": "deflate"}, zlib.compress(JSON)),
        ({"Content-Encoding": "gzip"}, gzip.compress(HARMLESS)),
        ({"Content-Type": "application/graphql"}, ASKS.encode()),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"query=" + quote(ASKS).encode()),
        ({"Content-Type": "application/json; charset=utf-7"}, JSON.decode().encode("utf-7")),
        ({}, json.dumps([{"query": ASKS}]).encode()),
        ({}, HARMLESS[:-1] + b', "query": "{ mlflowListArtifacts { rootUri } }"}'),
        ({}, b" " * 2**20 + JSON),
        ({}, iter([JSON])),
    ],
)
def test_graphql_in_other_forms(
    scripted: Upstream, closed_proxy: lab.Server, headers: dict[str, str], body: bytes
) -> None:
    """GraphQL in a form that the proxy cannot read with certainty is refused."""
    scripted.requests.clear()
    for method in ("POST", "GET"):
        got = request(closed_proxy.url, "/graphql", method=method, headers=headers, body=body)
        assert (got.status, json.loads(got.body)) == (503, REFUSAL)
    target = "/graphql?query=" + quote(ASKS)
    assert request(closed_proxy.url, target).status == 503
    assert scripted.requests == []


Refusals = dict[tuple[int, int], "subprocess.CompletedProcess[str]"]
SHOWN = {
    503: "too many 503 error responses",
    501: "Artifact storage is not configured. Please contact your administrator.",
    403: "Artifact storage is not configured. Please contact your administrator.",
}


@pytest.fixture(scope="module")
def refusals(
    mlflow_server: lab.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Refusals]:
    """Results of refused uploads by real clients, by version and status; all run in parallel."""

    def upload(version: int, url: str) -> subprocess.CompletedProcess[str]:
        script = "import mlflow; mlflow.start_run(); mlflow.log_text('x', 'x.txt')"
        return subprocess.run(
            [lab.mlflow(version), "-c", script],
            env=os.environ | {"MLFLOW_TRACKING_URI": url, "GIT_PYTHON_REFRESH": "quiet"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    with contextlib.ExitStack() as started, ThreadPoolExecutor() as pool:
        running = {}
        for status in SHOWN:
            rules = {"enabled": False, "disabled_status": status}
            folder = tmp_path_factory.mktemp("refusing")
            proxy = started.enter_context(running_proxy(folder, mlflow_server.url, artifacts=rules))
            for version in (3, 2):
                running[version, status] = pool.submit(upload, version, proxy.url)
        yield {key: future.result() for key, future in running.items()}


@pytest.mark.parametrize("version", [3, 2])
@pytest.mark.parametrize("status", SHOWN)
def test_a_refused_upload_ends_soon(refusals: Refusals, version: int, status: int) -> None:
    """A real client with its default settings gives up within seconds and shows why.

    Without a Retry-After it would repeat a 503 for four minutes.
    """
    run = refusals[version, status]
    assert run.returncode == 1
    assert SHOWN[status] in run.stderr
    assert "<html" not in run.stderr


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"MLFLOW_SERVE_ARTIFACTS": "maybe"},
         "MLFLOW_SERVE_ARTIFACTS: 'maybe': expected true or false"),
        ({"MLFLOW_SERVE_ARTIFACTS": ""}, "MLFLOW_SERVE_ARTIFACTS: '': expected true or false"),
    ],
)  # fmt: skip
def test_an_invalid_switch_value_stops_the_start(
    start_proxy: StartProxy, env: dict[str, str], message: str
) -> None:
    """A switch value that is neither true nor false stops the proxy at start."""
    with pytest.raises(lab.StartError) as error:
        start_proxy("http://127.0.0.1:9", env=env)
    assert "(exit code 1)" in str(error.value)
    assert message in str(error.value)
