"""Which requests an entry of `refused` refuses."""

from __future__ import annotations

from typing import Any

import pytest

from addon.protocol.target import fold
from addon.routing import operations
from addon.rules.model import RefusedOperation

TRACKING: dict[str, Any] = {"family": "tracking"}
REGISTRY: dict[str, Any] = {"family": "registry"}
DELETIONS = {"operations": ["delete"]}
CHANGES = {"operations": ["write", "delete"]}
READS = {"operations": ["read"]}
API = "/api/2.0/mlflow"


def refuses(entry: dict[str, Any], path: str, *methods: str) -> bool:
    rule = RefusedOperation.model_validate({"name": "a"} | entry)
    concerned = operations.concerned([path], [fold(path).path], [rule])
    return operations.refusing(concerned, methods) is not None


@pytest.mark.parametrize(
    ("entry", "method", "path", "expected"),
    [
        (TRACKING | DELETIONS, "POST", f"{API}/experiments/delete", True),
        (TRACKING | DELETIONS, "POST", f"{API}/runs/delete-tag", True),
        (TRACKING | DELETIONS, "POST", "/ajax-api/3.0/mlflow/traces/delete-traces", True),
        (TRACKING | DELETIONS, "DELETE", f"{API}/logged-models/m-1", True),
        (TRACKING | DELETIONS, "delete", f"{API}/logged-models/m-1/tags/search", True),
        (TRACKING | DELETIONS, "PATCH", f"{API}/runs/delete", True),
        (TRACKING | DELETIONS, "POST", f"{API}/runs/create", False),
        (TRACKING | DELETIONS, "GET", f"{API}/runs/delete", False),
        (TRACKING | DELETIONS, "POST", f"{API}/runs/deleted", False),
        # A route that is not known, of MLflow or of a plugin.
        (TRACKING | CHANGES, "POST", f"{API}/brand-new", True),
        (TRACKING | CHANGES, "POST", "/api/4.0/plugin/x", True),
        (TRACKING | CHANGES, "BREW", f"{API}/runs/get", True),
        (TRACKING | CHANGES, "POST", "/v1/traces", True),
        (TRACKING | CHANGES, "PATCH", f"{API}/workspaces/search", True),
        (TRACKING | CHANGES, "PUT", f"{API}/runs/search", True),
        (TRACKING | CHANGES, "POST", f"{API}/runs/search", False),
        (TRACKING | CHANGES, "POST", "/api/3.0/mlflow/traces/batchGetInfos", False),
        (TRACKING | CHANGES, "POST", "/api/3.0/mlflow/traces/metrics", False),
        (TRACKING | CHANGES, "POST", f"{API}/metrics", True),
        (TRACKING | CHANGES, "POST", "/graphql", False),
        (TRACKING | CHANGES, "HEAD", f"{API}/runs/get", False),
        # The two families, and neither.
        (TRACKING, "POST", f"{API}/registered-models/create", False),
        (TRACKING, "POST", f"{API}/registered-models-2/create", True),
        (TRACKING, "PUT", "/api/2.0/mlflow-artifacts/artifacts/a", False),
        (TRACKING, "GET", "/static-files/a.js", False),
        (TRACKING, "GET", "/", False),
        (REGISTRY, "POST", f"{API}/registered-models/create", True),
        (REGISTRY, "GET", "/ajax-api/2.0/preview/mlflow/model-versions/search", True),
        (REGISTRY, "POST", f"{API}/runs/create", False),
        (REGISTRY | CHANGES, "POST", f"{API}/registered-models/get-latest-versions", False),
        (REGISTRY | CHANGES, "DELETE", f"{API}/model-versions/delete", True),
        (REGISTRY | READS, "POST", "/graphql", True),
        # A path and methods in place of a family.
        ({"path": "/(ajax-)?api/.+/runs/.*"}, "GET", f"{API}/runs/get", True),
        ({"path": "/(ajax-)?api/.+/runs/.*"}, "GET", f"{API}/run", False),
        ({"path": "/x", "methods": ["GET"]}, "GET", "/x", True),
        ({"path": "/x", "methods": ["GET"]}, "POST", "/x", False),
        ({"path": "/x", "methods": ["GET"], "operations": ["write"]}, "GET", "/x", False),
    ],
)
def test_an_entry_refuses_its_operations(
    entry: dict[str, Any], method: str, path: str, expected: bool
) -> None:
    """An entry refuses the operations and methods that it lists, also below a prefix."""
    assert refuses(entry, path, method) is expected
    assert refuses(entry, f"/team-a{path}", method) is expected


@pytest.mark.parametrize(
    "path",
    [
        f"{API}//runs/delete",
        f"/{API}/runs/delete/",
        f"{API}/runs/search/../delete",
        f"{API}/runs/delete;x=/",
        f"{API}/runs;/delete",
        f"{API.upper()}/RUNS/DELETE",
        f"{API}\\runs\\delete",
        f"{API}/runs/%64elete",
        f"{API}/registered-models/../runs/delete",
        "/api/2.0/mlflow-artifacts/../mlflow/runs/delete",
    ],
)
def test_spellings(path: str) -> None:
    """A path that a server may read as a refused one is refused."""
    assert refuses(TRACKING | DELETIONS, path, "POST")


def test_every_method_that_a_server_may_use() -> None:
    """A method override counts, and the first entry that refuses is the reason."""
    assert refuses(TRACKING | DELETIONS, f"{API}/logged-models/m-1", "POST", "DELETE")
    entries = [
        RefusedOperation.model_validate({"name": name, "path": "/x"} | more)
        for name, more in (("gets", {"methods": ["GET"]}), ("all", {}), ("late", {}))
    ]
    concerned = operations.concerned(["/x"], ["/x"], entries)
    first = operations.refusing(concerned, ["PUT"])
    assert first is not None
    assert first.name == "all"
