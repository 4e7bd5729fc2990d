"""The artifact switch: its position, and which requests it covers."""

import json

import pytest

from addon.protocol.target import fold
from addon.routing import gate
from addon.rules import rules_file
from addon.rules.model import Operation

ARTIFACTS = rules_file.load(rules_file.DEFAULT_PATH).artifacts


@pytest.mark.parametrize(
    ("from_rules", "environment", "option", "expected"),
    [
        (True, None, "", True),
        (False, None, "", False),
        (True, "false", "", False),
        (False, "TRUE", "", True),
        (False, " Yes ", "", True),
        (True, "Off", "", False),
        (True, "0", "", False),
        (False, "1", "", True),
        (True, "true", "false", False),
        (False, "false", "on", True),
    ],
)
def test_position(from_rules: bool, environment: str | None, option: str, expected: bool) -> None:
    """The option overrides the environment, and the environment overrides the rules."""
    assert gate.switch(from_rules, environment, option).on is expected


@pytest.mark.parametrize(
    ("environment", "option", "message"),
    [
        ("maybe", "", "MLFLOW_SERVE_ARTIFACTS: 'maybe': expected true or false"),
        ("", "", "MLFLOW_SERVE_ARTIFACTS: '': expected true or false"),
        (None, "2", "mlflow_serve_artifacts: '2': expected true or false"),
    ],
)
def test_position_is_not_guessed(environment: str | None, option: str, message: str) -> None:
    """A value other than yes or no is an error that names its source."""
    with pytest.raises(rules_file.RulesError) as error:
        gate.switch(True, environment, option)
    assert str(error.value).startswith(message)


ARTIFACT_PATHS = [
    "/api/2.0/mlflow-artifacts/artifacts",
    "/api/2.0/mlflow-artifacts/artifacts/",
    "/ajax-api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/model.pkl",
    "/api/2.0/mlflow-artifacts/mpu/create/x",
    "/ajax-api/2.0/mlflow-artifacts/mpu/complete/x",
    "/api/2.0/mlflow-artifacts/mpu/abort/x",
    "/api/2.0/mlflow-artifacts/presigned/x",
    "/api/3.0/mlflow-artifacts/artifacts/x",
    "/get-artifact",
    "/model-versions/get-artifact",
    "/ajax-api/2.0/mlflow/get-trace-artifact",
    "/ajax-api/3.0/mlflow/get-trace-artifact",
    "/ajax-api/2.0/mlflow/upload-artifact",
    "/api/2.0/mlflow/upload-artifact",
    "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
    "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files",
    "/api/2.0/mlflow/logged-models/m-1/artifacts/directories",
    "/api/2.0/mlflow/artifacts/list",
    "/api/2.0/preview/mlflow/artifacts/list",
    "/ajax-api/2.0/mlflow/artifacts/presigned-upload-url",
    "/api/2.0/mlflow/artifacts/presigned-download-url",
    "/graphql",
    # MLflow treats repeated slashes as one.
    "//api/2.0/mlflow-artifacts/artifacts/x",
    "/api//2.0/mlflow-artifacts/artifacts/x",
]

SUSPECTED_PATHS = [
    "/api/2.0/mlflow/../mlflow-artifacts/artifacts/x",
    "/api/2.0/mlflow%2Dartifacts/artifacts/x",
    "/api/2.0/mlflow-artifacts;v=1/artifacts/x",
    "/api\\2.0\\mlflow-artifacts/artifacts/x",
    "/API/2.0/MLflow-Artifacts/artifacts/x",
    "/static-files/../get-artifact",
    "/get-artifact;x",
]

OTHER_PATHS = [
    "/",
    "/health",
    "/version",
    "/static-files/get-artifact",
    "/api/2.0/mlflow/experiments/search",
    "/api/2.0/mlflow/runs/log-batch",
    "/api/2.0/mlflow/logged-models/m-1",
    "/api/2.0/mlflow/logged-models/m-1/tags/artifacts",
    "/api/2.0/mlflow/registered-models/get",
    "/api/2.0/mlflow/model-versions/get-download-uri",
    "/api/2.0/mlflow-artifactsx/artifacts",
    "/api/2.0/mlflow/traces/mlflow-artifacts/info",
    "/api/2.0/mlflow/logged-models/m-1/tags/get-artifact",
    "/api/2.0/mlflow/logged-models/m-1/tags/graphql",
    "/ajax-api/2.0/mlflow/upload-artifacts",
    "/v1/traces",
]


@pytest.mark.parametrize("path", ARTIFACT_PATHS)
def test_artifact_endpoint(path: str) -> None:
    """MLflow's four groups of artifact endpoints are found in any spelling and below any prefix."""
    for prefix in ("", "/team-a", "/a/b", "/api", "/api/mlflow", "/x/api/2.0/mlflow/y"):
        if not prefix.endswith("y") or "api/" in path:
            assert gate.artifact_endpoints([prefix + path], ARTIFACTS), prefix


@pytest.mark.parametrize("path", SUSPECTED_PATHS)
def test_suspected_endpoint(path: str) -> None:
    """A path is suspected if not MLflow, but a server before it might read it as an artifact's."""
    assert not gate.artifact_endpoints([path], ARTIFACTS)
    assert gate.suspected_endpoints([fold(path).path], ARTIFACTS)


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_other_endpoint(path: str) -> None:
    """All other endpoints work while artifacts are off."""
    for below in (path, f"/team-a{path}", f"/a/b{path}"):
        assert not gate.artifact_endpoints([below], ARTIFACTS)
        assert not gate.suspected_endpoints([fold(below).path], ARTIFACTS)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([None, None], ["GET"]),
        (["", None], ["GET"]),
        ([" PUT ", "delete"], ["GET", "PUT", "delete"]),
    ],
)
def test_methods(overrides: list[str | None], expected: list[str]) -> None:
    """An override header adds a method that the request may be taken for."""
    assert gate.methods("GET", overrides) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (json.dumps({"query": "query { mlflowListArtifacts(input: {}) { files } }"}), True),
        (json.dumps({"query": "{x:mlflowListArtifacts}"}), True),
        (json.dumps({"query": "{ mlflowGetRun }"}), False),
        (json.dumps({"query": "{ mlflowListArtifactsX }"}), False),
        (r'{"query": "{ mlflowList\u0041rtifacts }"}', True),
        (json.dumps({"query": "{ # a\r mlflowListArtifacts }"}), True),
        # An unreadable body might contain anything.
        ("", True),
        ("{", True),
        ("[]", True),
        ('"text"', True),
        ('{"query": 5}', True),
        ('{"variables": {}}', True),
    ],
)
def test_graphql(body: str, expected: bool) -> None:
    """GraphQL is judged by the field names in its document."""
    assert gate.names_field(body.encode(), "mlflowListArtifacts") is expected
    assert gate.names_field(body.encode("utf-16"), "mlflowListArtifacts") is expected or not body


ENABLED, READ, WRITE, DELETE = (
    f"artifacts.{name}" for name in ("enabled", "read", "write", "delete")
)


@pytest.mark.parametrize(
    ("text", "enabled", "off"),
    [
        ("", True, {}),
        ("", False, {"read": ENABLED, "write": ENABLED, "delete": ENABLED}),
        ("read: false", True, {"read": READ}),
        ("write: false", True, {"write": WRITE, "delete": WRITE}),
        ("write: false, delete: false", True, {"write": WRITE, "delete": WRITE}),
        ("delete: false", True, {"delete": DELETE}),
        ("read: false, delete: false", True, {"read": READ, "delete": DELETE}),
        ("read: true", False, {"read": ENABLED, "write": ENABLED, "delete": ENABLED}),
    ],
)
def test_switched_off(text: str, enabled: bool, off: dict[str, str]) -> None:
    """Reads, writes and deletes have separate switches; without writes, deletes are off, too."""
    artifacts = rules_file.parse(f"artifacts: {{{text}}}", "test").artifacts
    assert gate.switched_off(artifacts, gate.Switch(enabled, ENABLED)) == off


FILE = "/api/2.0/mlflow-artifacts/artifacts/a"
SERVICE = "/ajax-api/2.0/mlflow-artifacts"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", FILE, {"read"}),
        ("HEAD", FILE, {"read"}),
        ("OPTIONS", FILE, {"read"}),
        ("PUT", FILE, {"write"}),
        ("DELETE", FILE, {"delete"}),
        ("delete", FILE, {"delete"}),
        ("get", FILE, {"read"}),
        ("PROPFIND", FILE, {"write"}),
        ("GET", f"{SERVICE}/artifacts", {"read"}),
        ("POST", f"{SERVICE}/mpu/create/x", {"write"}),
        ("POST", f"{SERVICE}/mpu/abort/x", {"write"}),
        ("GET", f"{SERVICE}/presigned/x", {"read"}),
        ("POST", "/api/2.0/mlflow/artifacts/presigned-download-url", {"read"}),
        ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", {"write"}),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact", {"write"}),
        ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run", {"write"}),
        ("GET", "/api/2.0/mlflow/logged-models/m-1/artifacts/directories", {"read"}),
        ("POST", "/graphql", {"read"}),
        # Two readings with two operations.
        ("POST", "/api/2.0/mlflow/artifacts//presigned-download-url", {"read", "write"}),
    ],
)  # fmt: skip
def test_operation(method: str, path: str, expected: set[str]) -> None:
    """The operation on artifacts depends on method and route."""
    endpoints = gate.artifact_endpoints([path], ARTIFACTS)
    assert {gate.operation(method, endpoint) for endpoint in endpoints} == expected


@pytest.mark.parametrize(
    ("path", "files"),
    [
        (FILE, True),
        ("/api/2.0/mlflow-artifacts/artifacts", False),
        ("/api/2.0/mlflow-artifacts/mpu/create/a", False),
        ("/api/2.0/mlflow-artifacts/presigned/a", False),
        ("/get-artifact", True),
        ("/model-versions/get-artifact", True),
        ("/ajax-api/3.0/mlflow/get-trace-artifact", True),
        ("/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files", True),
        ("/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/directories", False),
        ("/api/2.0/mlflow/artifacts/list", False),
    ],
)
def test_files(path: str, files: bool) -> None:
    """On routes that return files, HTML is not a login page."""
    assert any(endpoint.files for endpoint in gate.artifact_endpoints([path], ARTIFACTS)) is files


@pytest.mark.parametrize(("status", "retry_after"), [(503, "1"), (501, None), (403, None)])
def test_refusal(status: int, retry_after: str | None) -> None:
    """The refusal is exactly the answer that clients rely on; only a 503 has Retry-After."""
    reply = gate.refusal(status, "read", frozenset(), "id-1")
    assert reply.status == status
    headers = dict(reply.headers)
    assert headers["Content-Type"] == "application/json"
    assert headers["Proxy-Status"] == "mlflow-proxy; error=http_request_denied"
    assert headers["X-Request-Id"] == "id-1"
    assert headers.get("Retry-After") == retry_after
    assert json.loads(reply.body) == {
        "error_code": "ARTIFACTS_DISABLED",
        "error": "ARTIFACTS_DISABLED",
        "message": "Artifact storage is not configured. Please contact your administrator.",
    }


@pytest.mark.parametrize(
    ("operation", "allowed", "words"),
    [
        ("read", {"write"}, "Downloading and listing"),
        ("write", {"read"}, "this registry is read-only"),
        ("delete", {"read", "write"}, "Deleting"),
    ],
)
def test_refusal_of_one_operation(
    operation: Operation, allowed: set[Operation], words: str
) -> None:
    """If other operations work, the message names the one that does not."""
    content = json.loads(gate.refusal(403, operation, frozenset(allowed), "id-1").body)
    assert content["error_code"] == "ARTIFACTS_DISABLED"
    assert words in content["message"]
