"""Incoming requests are rewritten or refused."""

import asyncio
import json

import pytest
from support.assembled import Assembled, make_flow, respond
from support.fixtures import UseRules

from addon.routing import flow_state, gate
from addon.rules.rules_file import DEFAULT_PATH as RULES


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("registry.hokus.ai", "/ajax-api/2.0/mlflow/runs/get?run_id=1"),
        ("internal.example", "/api/2.0/mlflow/runs/get?run_id=1"),
    ],
)
def test_only_external_upstreams_are_rewritten(addon: Assembled, host: str, sent: str) -> None:
    """A listed host gets /ajax-api/. Any other host gets the path below the mount."""
    flow = make_flow("/mlflow/api/2.0/mlflow/runs/get?run_id=1", host=host)
    addon.run("requestheaders", flow)
    assert flow.request.path == sent


@pytest.mark.parametrize("query", ["?", "?a=1&a=&=&b=2?c", "?u=/api/2.0/mlflow/%2f"])
def test_the_query_is_kept(addon: Assembled, query: str) -> None:
    """The query is everything from the first question mark on; it goes upstream unchanged."""
    flow = make_flow(f"/mlflow/api/2.0/mlflow/runs/get{query}")
    addon.run("requestheaders", flow)
    assert flow.request.path == f"/ajax-api/2.0/mlflow/runs/get{query}"


def test_bytes_that_are_not_utf8_survive(addon: Assembled) -> None:
    """The rewrite works on the raw bytes."""
    flow = make_flow("/api/2.0/mlflow/\udcff%ff?\udcfe")
    addon.run("requestheaders", flow)
    assert flow.request.data.path == b"/ajax-api/2.0/mlflow/\xff%ff?\xfe"


@pytest.mark.parametrize(
    ("host", "touched"), [("registry.hokus.ai", True), ("elsewhere.example", False)]
)
def test_forward_proxy_changes_only_listed_hosts(
    addon: Assembled, host: str, touched: bool
) -> None:
    """A developer's forward proxy sees all web traffic. Only the registry's is changed."""
    flow = make_flow("/api/2.0/mlflow/x", host=host, mode="regular")
    addon.run("requestheaders", flow)
    assert flow.request.path.startswith("/ajax-api") is touched
    response = respond(
        addon, flow, status=404, content=b"<html>", headers={"content-type": "text/html"}
    )
    assert response.headers["content-type"] == ("application/json" if touched else "text/html")
    health = make_flow("/livez", host=host, mode="regular")
    assert addon.run("requestheaders", health) is None
    assert health.response is None


def test_rules_with_filters(addon: Assembled, use_rules: UseRules) -> None:
    """A rule's filter expression is matched against the request."""
    use_rules('rewrites: [{name: a, match: ^/a, replace: /b, filter: "~m PUT"}]')
    for method, path in (("PUT", "/b"), ("GET", "/a")):
        flow = make_flow("/a", method=method)
        addon.run("requestheaders", flow)
        assert flow.request.path == path


@pytest.mark.parametrize("mount", ["", "/mlflow", "/api/mlflow"])
@pytest.mark.parametrize("prefix", ["/api", "/ajax-api"])
@pytest.mark.parametrize("host", ["registry.hokus.ai", "internal.example"])
def test_disabled_artifacts(
    addon: Assembled,
    mount: str,
    prefix: str,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Artifacts are refused under every mount and prefix, for every upstream; the rest works."""
    monkeypatch.setenv(gate.ENVIRONMENT, "false")
    addon.options(mlflow_rules=str(RULES))
    flow = make_flow(f"{mount}{prefix}/2.0/mlflow-artifacts/artifacts/x", method="PUT", host=host)
    addon.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503
    assert flow.response.json()["error_code"] == "ARTIFACTS_DISABLED"
    assert not flow.request.stream
    other = make_flow(f"{mount}{prefix}/2.0/mlflow/runs/get", host=host)
    addon.run("requestheaders", other)
    assert other.response is None


@pytest.mark.parametrize(
    ("path", "enabled", "status"),
    [
        ("/api/2.0/mlflow-artifacts/artifacts/x", "false", 503),
        ("/api/2.0/mlflow;x/../mlflow-artifacts/artifacts/x", "false", 400),
        ("/api/2.0/mlflow;x/../mlflow-artifacts/artifacts/x", "true", None),
        ("/get-artifact#x", "true", 400),
        ("/health%0a", "true", 400),
        ("/livez#", "true", 400),
    ],
)
def test_ambiguous_targets(addon: Assembled, path: str, enabled: str, status: int | None) -> None:
    """A path that could mean a refused operation is a bad request; so is one that stays unclear."""
    addon.options(mlflow_serve_artifacts=enabled)
    flow = make_flow(path)
    assert addon.run("requestheaders", flow) is None
    assert (flow.response and flow.response.status_code) == status
    if status == 400 and flow.response is not None:
        assert flow.response.json()["error_code"] == "BAD_REQUEST"
        assert flow.response.json()["source"] == "proxy"


def test_method_override(addon: Assembled, use_rules: UseRules) -> None:
    """A header that some frameworks read as the method does not bypass the switch."""
    use_rules(RULES.read_text().replace("\n  write: true", "\n  write: false"))
    for method, header, refused in (
        ("GET", "X-HTTP-Method-Override", True),
        ("POST", "X-HTTP-Method", True),
        ("GET", "X-Other", False),
    ):
        flow = make_flow(
            "/api/2.0/mlflow-artifacts/artifacts/x", method=method, headers={header: "PUT"}
        )
        addon.run("requestheaders", flow)
        assert (flow.response is not None) is refused


def test_a_rewrite_does_not_bypass_the_switch(addon: Assembled, use_rules: UseRules) -> None:
    """If a rule leads to artifacts, the final path is judged."""
    use_rules(
        "rewrites: [{name: files, match: ^/files/, replace: /api/2.0/mlflow-artifacts/a/}]\n"
        "artifacts: {enabled: false, endpoints: [{path: /api/2.0/mlflow-artifacts/.*}]}"
    )
    flow = make_flow("/files/x")
    addon.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


@pytest.mark.parametrize(
    ("headers", "content", "refused"),
    [
        ({"content-length": "30"}, {"query": "{ mlflowListArtifacts }"}, True),
        ({"content-length": "30"}, {"query": "{ mlflowGetRun }"}, False),
        # A body that is too long to read, or of unknown length, is refused unread.
        ({"content-length": str(2**21)}, {"query": "{ mlflowGetRun }"}, True),
        ({"transfer-encoding": "chunked"}, {"query": "{ mlflowGetRun }"}, True),
    ],
)
def test_disabled_artifacts_in_graphql(
    addon: Assembled,
    headers: dict[str, str],
    content: dict[str, str],
    refused: bool,
) -> None:
    """GraphQL keeps working while artifacts are off, except for the field that lists artifacts."""
    addon.options(mlflow_serve_artifacts="no")
    flow = make_flow(
        "/graphql", method="POST", headers=headers, content=json.dumps(content).encode()
    )
    addon.run("requestheaders", flow)
    assert not flow.request.stream

    async def complete() -> None:
        addon.run("request", flow)

    asyncio.run(complete())
    assert (flow.response is not None) is refused


def test_a_refusal_replaces_100_continue(addon: Assembled) -> None:
    """A client that waits for '100 Continue' gets the refusal instead."""
    addon.options(mlflow_serve_artifacts="false")
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", headers={"expect": "100-continue"})
    addon.run("requestheaders", flow)
    assert "expect" not in flow.request.headers


@pytest.mark.parametrize(
    ("off", "method", "refused"),
    [
        ("read", "GET", True),
        ("read", "PUT", False),
        ("write", "PUT", True),
        ("write", "DELETE", True),
        ("write", "GET", False),
        ("delete", "DELETE", True),
        ("delete", "PUT", False),
    ],
)
def test_reads_writes_and_deletes(
    addon: Assembled, use_rules: UseRules, off: str, method: str, refused: bool
) -> None:
    """Each can be switched off while the others keep working."""
    use_rules(RULES.read_text().replace(f"\n  {off}: true", f"\n  {off}: false"))
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", method=method)
    addon.run("requestheaders", flow)
    assert (flow.response is not None) is refused
    if flow.response is not None:
        assert flow.response.json()["error_code"] == "ARTIFACTS_DISABLED"


def test_outside_of_every_mount(addon: Assembled, use_rules: UseRules) -> None:
    """Without a root mount, the proxy answers other paths itself and forwards nothing."""
    use_rules("mounts: [/mlflow]")
    flow = make_flow("/secret")
    addon.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 404
    assert flow.response.json()["source"] == "proxy"


@pytest.mark.parametrize("skill", ["a", "@lab/a"])
@pytest.mark.parametrize("path", ["", "/versions", "/versions/1", "/tags", "/versions/1/tags"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("wary", [False, True])
def test_skills(
    use_rules: UseRules, addon: Assembled, skill: str, path: str, method: str, wary: bool
) -> None:
    """An archive streams as an artifact does. Deleting a skill also deletes its files."""
    if wary:
        use_rules(RULES.read_text().replace("\n  write: true", "\n  write: false"))
    flow = make_flow(
        f"/api/3.0/mlflow/skills/{skill}{path}", method=method, headers={"Content-Length": "9"}
    )
    addon.run("requestheaders", flow)
    moves_files = (method, path) in {("POST", "/versions"), ("DELETE", "")}
    assert flow_state.of(flow).artifact is (moves_files and not wary)
    assert (flow.response is not None) is (moves_files and wary)
    assert bool(flow.request.stream) is (moves_files and not wary)
