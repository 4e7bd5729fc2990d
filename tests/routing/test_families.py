"""The families of requests, by path."""

import pytest

from addon.routing.routes import Router
from addon.rules import rules_file

ROUTER = Router(rules_file.load(rules_file.DEFAULT_PATH), artifacts_off=False)


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/api/2.0/mlflow/runs/get", "tracking"),
        ("/mlflow/api/2.0/mlflow/experiments/search", "tracking"),
        ("/ajax-api/3.0/mlflow/traces", "tracking"),
        ("/api/2.0/preview/mlflow/runs/get", "tracking"),
        ("/version", "tracking"),
        ("/api/2.0/mlflow/registered-models/get", "registry"),
        ("/ajax-api/2.0/mlflow/model-versions/search", "registry"),
        ("/%61pi/2.0/mlflow/model-versions/search", "registry"),
        ("/api/2.0/mlflow-artifacts/artifacts/a/b", "artifacts"),
        ("/mlflow/api/2.0/mlflow-artifacts/artifacts", "artifacts"),
        ("/get-artifact", "artifacts"),
        ("/model-versions/get-artifact", "artifacts"),
        ("/api/2.0/mlflow/artifacts/list", "artifacts"),
        ("/api/2.0/preview/mlflow/registered-models/get", "registry"),
        ("/api/2.0/mlflow/unity-catalog/x", "registry"),
        ("/api/2.0/mlflow/model-versionsx", "tracking"),
        ("/api/2.0/mlflow", "tracking"),
        ("/api/2.0/mlflowx", "other"),
        ("/versions", "other"),
        ("/v1/traces", "otlp"),
        ("/v1/metrics", "otlp"),
        ("/v1/logs", "otlp"),
        ("/v1/traces/more", "other"),
        ("/", "ui"),
        ("/mlflow/", "ui"),
        ("/static-files/main.js", "ui"),
        ("/graphql", "ui"),
        ("/favicon.ico", "ui"),
        ("/index.html", "ui"),
        ("/index.html/x", "other"),
        ("/livez", "health"),
        ("/mlflow/readyz", "health"),
        ("/health/mlflow/detailed", "health"),
        ("/health", "health"),
        ("/health/x", "other"),
        ("/api/2.0/other/x", "other"),
        ("/wp-login.php", "other"),
        ("/\udcff", "other"),
    ],
)
def test_families(path: str, family: str) -> None:
    """The family does not depend on the mount or on the spelling of the path."""
    assert ROUTER.route(path, ()).family == family


def test_family_of_a_rewritten_path() -> None:
    """The family is that of the rewritten path."""
    rules = rules_file.parse(
        "rewrites: [{name: old, match: ^/files/, replace: /api/2.0/mlflow-artifacts/artifacts/}]\n"
        "artifacts: {endpoints: [{path: /api/2.0/mlflow-artifacts/artifacts/.+}]}",
        "rules.yaml",
    )
    router = Router(rules, artifacts_off=False)
    applicable = router.applicable("registry.example", 80)
    assert router.route("/files/a", applicable).family == "artifacts"
