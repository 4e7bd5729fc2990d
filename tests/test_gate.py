"""The artifact switch: its position, and what it covers."""

import json

import pytest

from addon import gate, rules_file

ENDPOINTS = rules_file.load(rules_file.DEFAULT_PATH).artifacts.endpoints


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
    """The option is over the environment, the environment over the rules."""
    assert gate.artifacts_enabled(from_rules, environment, option) is expected


@pytest.mark.parametrize(
    ("environment", "option", "message"),
    [
        ("maybe", "", "MLFLOW_SERVE_ARTIFACTS: 'maybe': expected true or false"),
        ("", "", "MLFLOW_SERVE_ARTIFACTS: '': expected true or false"),
        (None, "2", "mlflow_serve_artifacts: '2': expected true or false"),
    ],
)
def test_position_is_not_guessed(environment: str | None, option: str, message: str) -> None:
    """Anything but yes and no is an error that names where it was said."""
    with pytest.raises(rules_file.RulesError) as error:
        gate.artifacts_enabled(True, environment, option)
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
    # Other readings that something upstream may have.
    "//api/2.0/mlflow-artifacts/artifacts/x",
    "/api//2.0/mlflow-artifacts/artifacts/x",
    "/api/2.0/mlflow/../mlflow-artifacts/artifacts/x",
    "/api/2.0/mlflow%2Dartifacts/artifacts/x",
    "/api/2.0/mlflow-artifacts;v=1/artifacts/x",
    "/api\\2.0\\mlflow-artifacts/artifacts/x",
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
    "/ajax-api/2.0/mlflow/upload-artifacts",
    "/v1/traces",
]


@pytest.mark.parametrize("path", ARTIFACT_PATHS)
def test_artifact_endpoint(path: str) -> None:
    """All four groups of MLflow's artifact endpoints, however spelled."""
    assert gate.artifact_endpoint([path], ENDPOINTS) is not None


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_other_endpoint(path: str) -> None:
    """Everything else works on while artifacts are off."""
    assert gate.artifact_endpoint([path], ENDPOINTS) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (json.dumps({"query": "query { mlflowListArtifacts(input: {}) { files } }"}), True),
        (json.dumps({"query": "{x:mlflowListArtifacts}"}), True),
        (json.dumps({"query": "{ mlflowGetRun }"}), False),
        (json.dumps({"query": "{ mlflowListArtifactsX }"}), False),
        (r'{"query": "{ mlflowList\u0041rtifacts }"}', True),
        (json.dumps({"query": "{ # a\r mlflowListArtifacts }"}), True),
        # What cannot be read might be anything.
        ("", True),
        ("{", True),
        ("[]", True),
        ('"text"', True),
        ('{"query": 5}', True),
        ('{"variables": {}}', True),
    ],
)
def test_graphql(body: str, expected: bool) -> None:
    """GraphQL is judged by the fields its document names."""
    assert gate.names_field(body.encode(), "mlflowListArtifacts") is expected
    assert gate.names_field(body.encode("utf-16"), "mlflowListArtifacts") is expected or not body


@pytest.mark.parametrize(("status", "retry_after"), [(503, "1"), (501, None), (403, None)])
def test_refusal(status: int, retry_after: str | None) -> None:
    """The exact answer that clients and their users rely on; only a 503 asks to come back."""
    reply = gate.refusal(status)
    assert reply.status == status
    headers = dict(reply.headers)
    assert headers["Content-Type"] == "application/json"
    assert headers.get("Retry-After") == retry_after
    assert json.loads(reply.body) == {
        "error_code": "ARTIFACTS_DISABLED",
        "error": "ARTIFACTS_DISABLED",
        "message": "Artifact storage is not configured. Please contact your administrator.",
    }
