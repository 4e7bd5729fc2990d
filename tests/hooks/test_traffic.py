"""The hooks, driven with mitmproxy's own test flows."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions, http
from mitmproxy import io as flow_io
from mitmproxy.proxy import mode_specs
from mitmproxy.test import taddons, tflow, tutils
from mitmproxy.tools.web import webaddons
from support.assembled import Assembled

from addon.hooks.rules_in_force import RulesInForce
from addon.protocol import target
from addon.registry import health_service
from addon.routing import flow_state, gate
from addon.rules.rules_file import DEFAULT_PATH as RULES


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Assembled]:
    """The addons in a mitmproxy, not configured yet."""
    monkeypatch.delenv(gate.ENVIRONMENT, raising=False)
    with taddons.context() as context:
        context.options.update(mode=["reverse:http://upstream"])
        assembled = Assembled(context)
        yield assembled
        assembled.done()


@pytest.fixture
def addon(bare: Assembled) -> Assembled:
    """The addons with the shipped rules."""
    bare.options(mlflow_rules=str(RULES))
    return bare


UseRules = Callable[[str], None]


@pytest.fixture
def use_rules(bare: Assembled, tmp_path: Path) -> UseRules:
    """Configures the addon with the text of a rules file."""

    def use(text: str) -> None:
        rules = tmp_path / "rules.yaml"
        rules.write_text(text)
        bare.options(mlflow_rules=str(rules))

    return use


def make_flow(
    path: str,
    *,
    method: str = "GET",
    host: str = "registry.hokus.ai",
    headers: dict[str, str] | None = None,
    content: bytes | None = b"",
    mode: str = "reverse:http://upstream",
) -> http.HTTPFlow:
    fields = http.Headers([(k.encode(), v.encode()) for k, v in (headers or {}).items()])
    request = tutils.treq(
        method=method.encode(),
        host=host,
        port=80,
        path=path.encode("utf-8", "surrogateescape"),
        headers=fields,
        content=content,
    )
    flow = tflow.tflow(req=request)
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse(mode)
    return flow


def respond(
    addon: Assembled,
    flow: http.HTTPFlow,
    *,
    status: int = 200,
    content: bytes = b"",
    headers: dict[str, str],
) -> http.Response:
    flow.response = http.Response.make(status, content, headers)
    addon.run("responseheaders", flow)
    addon.run("response", flow)
    return flow.response


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("registry.hokus.ai", "/ajax-api/2.0/mlflow/runs/get?run_id=1"),
        ("internal.example", "/api/2.0/mlflow/runs/get?run_id=1"),
    ],
)
def test_only_external_upstreams_are_rewritten(addon: Assembled, host: str, sent: str) -> None:
    """A listed host gets /ajax-api/, any other the path as it is below the mount."""
    flow = make_flow("/mlflow/api/2.0/mlflow/runs/get?run_id=1", host=host)
    addon.run("requestheaders", flow)
    assert flow.request.path == sent


def test_bytes_that_are_no_utf8_survive(addon: Assembled) -> None:
    """The rewrite works on what came over the wire."""
    flow = make_flow("/api/2.0/mlflow/\udcff%ff?\udcfe")
    addon.run("requestheaders", flow)
    assert flow.request.data.path == b"/ajax-api/2.0/mlflow/\xff%ff?\xfe"


def test_request_decides_what_requestheaders_did_not(addon: Assembled) -> None:
    """A flow that never passed requestheaders is rewritten in request."""
    flow = make_flow("/api/2.0/mlflow/runs/get")
    addon.run("request", flow)
    assert flow.request.path == "/ajax-api/2.0/mlflow/runs/get"


def test_hooks_decide_once(addon: Assembled, use_rules: UseRules) -> None:
    """The second hook changes nothing, also where a rule would match its own result."""
    use_rules("rewrites: [{name: grow, match: ^/a, replace: /a/a}]\nupstream: {base_path: /b}")
    flow = make_flow("/a")
    addon.run("requestheaders", flow)
    addon.run("request", flow)
    assert flow.request.path == "/b/a/a"


def test_replay_keeps_mount_and_base_path(addon: Assembled, use_rules: UseRules) -> None:
    """A replayed flow goes upstream under the same path as the first time."""
    use_rules(RULES.read_text().replace('base_path: ""', "base_path: /base"))
    flow = make_flow("/mlflow/api/2.0/mlflow/x")
    addon.run("requestheaders", flow)
    first = flow.request.path
    assert first == "/base/ajax-api/2.0/mlflow/x"
    again = flow.copy()
    again.is_replay = "request"
    addon.run("request", again)
    assert again.request.path == first


def test_replay_does_not_pass_the_switch(addon: Assembled) -> None:
    """Artifacts that were switched off meanwhile are refused for a replayed flow, too."""
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x")
    addon.run("requestheaders", flow)
    assert flow.response is None
    addon.options(mlflow_serve_artifacts="false")
    flow.is_replay = "request"
    addon.run("request", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


def test_flows_can_be_saved(addon: Assembled) -> None:
    """What we keep in a flow's metadata fits into a flow file (mitmdump -w)."""
    flow = make_flow("/api/2.0/mlflow/x")
    addon.run("requestheaders", flow)
    file = io.BytesIO()
    flow_io.FlowWriter(file).add(flow)
    file.seek(0)
    (loaded,) = flow_io.FlowReader(file).stream()
    assert loaded.metadata == flow.metadata
    assert loaded.metadata[flow_state.METADATA]["received"] == "/api/2.0/mlflow/x"


@pytest.mark.parametrize(
    ("host", "touched"), [("registry.hokus.ai", True), ("elsewhere.example", False)]
)
def test_forward_proxy_touches_listed_hosts_alone(
    addon: Assembled, host: str, touched: bool
) -> None:
    """A developer's forward proxy sees the whole web, of which only the registry is ours."""
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
    """A rule's filter expression decides with the request at hand."""
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
    """Off means off: under every mount and prefix, for every upstream; the rest works on."""
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
    """What might be read as something refused is a bad request; what never is clear, too."""
    addon.options(mlflow_serve_artifacts=enabled)
    flow = make_flow(path)
    assert addon.run("requestheaders", flow) is None
    assert (flow.response and flow.response.status_code) == status
    if status == 400 and flow.response is not None:
        assert flow.response.json()["error_code"] == "BAD_REQUEST"
        assert flow.response.json()["source"] == "proxy"


def test_method_override(addon: Assembled, use_rules: UseRules) -> None:
    """A header that some frameworks take for the method does not lead around the switch."""
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


def test_a_rewrite_does_not_lead_around_the_switch(addon: Assembled, use_rules: UseRules) -> None:
    """Where a rule leads to artifacts, the path that goes upstream counts."""
    use_rules(
        "rewrites: [{name: files, match: ^/files/, replace: /api/2.0/mlflow-artifacts/a/}]\n"
        "artifacts: {enabled: false, endpoints: [{path: /api/2.0/mlflow-artifacts/.*}]}"
    )
    flow = make_flow("/files/x")
    addon.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


def test_a_rewrite_to_the_api_is_the_api(addon: Assembled, use_rules: UseRules) -> None:
    """Where a rule leads to the API, its errors become JSON."""
    use_rules(
        "rewrites: [{name: old, match: ^/old/, replace: /api/}]\nerrors: {api_paths: [/api/.*]}"
    )
    flow = make_flow("/old/x")
    addon.run("requestheaders", flow)
    response = respond(addon, flow, status=404, headers={"content-type": "text/html"})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "content", "refused"),
    [
        ({"content-length": "30"}, {"query": "{ mlflowListArtifacts }"}, True),
        ({"content-length": "30"}, {"query": "{ mlflowGetRun }"}, False),
        # A body that is too long to be read, or of unknown length, is refused unseen.
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
    """GraphQL works on while artifacts are off, but for the field that lists artifacts."""
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


def test_expect_is_not_continued_for_a_refusal(addon: Assembled) -> None:
    """A client that asks before it sends gets the refusal in place of '100 Continue'."""
    addon.options(mlflow_serve_artifacts="false")
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", headers={"expect": "100-continue"})
    addon.run("requestheaders", flow)
    assert "expect" not in flow.request.headers


def test_html_error_becomes_json(addon: Assembled) -> None:
    """Same status, MLflow's JSON, the path as the client sent it; other headers stay."""
    flow = make_flow("/mlflow/api/2.0/mlflow/nope?token=secret")
    addon.run("requestheaders", flow)
    response = respond(
        addon,
        flow,
        status=404,
        content=b"<title>404 Not Found</title>" + b"x" * 200_000,
        headers={
            "content-type": "text/html",
            "etag": "x",
            "content-encoding": "identity",
            "www-authenticate": "Basic",
            "retry-after": "5",
            "set-cookie": "a=b",
            "x-request-id": "r1",
        },
    )
    assert response.status_code == 404
    assert response.json() == {
        "error_code": "RESOURCE_NOT_FOUND",
        "message": "The requested resource was not found: /mlflow/api/2.0/mlflow/nope "
        "(request id r1)",
    }
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.raw_content or b""))
    assert "etag" not in response.headers
    assert "content-encoding" not in response.headers
    for kept in ("www-authenticate", "retry-after", "set-cookie", "x-request-id"):
        assert kept in response.headers


@pytest.mark.parametrize(
    ("path", "status", "content_type", "content"),
    [
        (
            "/api/2.0/mlflow/x",
            404,
            "application/json",
            b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}',
        ),
        ("/", 404, "text/html", b"<html>"),
        ("/static-files/x.js", 500, "text/html", b"<html>"),
        ("/get-artifact?path=a.html", 200, "text/html", b"<html>"),
        ("/api/2.0/mlflow-artifacts/artifacts/a.html", 200, "text/html", b"<html>"),
        ("/v1/traces", 400, "application/x-protobuf", b"\x08\x01"),
    ],
)
def test_passes_unchanged(
    addon: Assembled, path: str, status: int, content_type: str, content: bytes
) -> None:
    """JSON errors, the UI's pages, HTML artifacts and protobuf are not ours to change."""
    flow = make_flow(path)
    addon.run("requestheaders", flow)
    headers = {"content-type": content_type, "etag": "x"}
    response = respond(addon, flow, status=status, content=content, headers=headers)
    assert response.raw_content == content
    assert response.headers["etag"] == "x"


def test_head(addon: Assembled) -> None:
    """The answer to HEAD describes what GET would give and has no body."""
    flow = make_flow("/api/2.0/mlflow/x", method="HEAD")
    addon.run("requestheaders", flow)
    response = respond(
        addon, flow, status=404, headers={"content-type": "text/html", "content-length": "99"}
    )
    assert response.headers["content-type"] == "application/json"
    assert "content-length" not in response.headers
    assert not response.raw_content


def test_head_of_json(addon: Assembled) -> None:
    """What a JSON label describes may be MLflow's own, so it stays."""
    flow = make_flow("/api/2.0/mlflow/x", method="HEAD")
    addon.run("requestheaders", flow)
    headers = {"content-type": "application/json", "etag": "x"}
    assert respond(addon, flow, status=400, headers=headers).headers["etag"] == "x"


def test_errors_are_held_whatever_mitmproxy_is_set_to(addon: Assembled) -> None:
    """Its option stream_large_bodies streams before anybody is asked."""
    flow = make_flow("/api/2.0/mlflow/x")
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(404, b"", {"content-type": "text/html"})
    flow.response.stream = True
    addon.run("responseheaders", flow)
    assert flow.response.stream is False


@pytest.mark.parametrize(
    ("path", "status", "headers", "streams"),
    [
        (
            "/api/2.0/mlflow/x",
            200,
            {"content-type": "application/json", "content-length": "9"},
            False,
        ),
        ("/api/2.0/mlflow/x", 200, {"content-type": "application/json"}, True),
        ("/v1/traces", 200, {"content-type": "text/event-stream"}, True),
        ("/api/2.0/mlflow-artifacts/artifacts/x", 200, {"content-length": "9"}, True),
        # Errors that may have to be converted are held, whatever they claim.
        ("/api/2.0/mlflow-artifacts/artifacts/x", 404, {"content-type": "text/html"}, False),
        ("/api/2.0/mlflow/x", 500, {"content-length": str(2**40)}, False),
        (
            "/api/2.0/mlflow/x",
            400,
            {"content-type": "application/json", "content-length": "9"},
            False,
        ),
        ("/api/2.0/mlflow/x", 400, {"content-type": "application/json"}, False),
        # So are pages where nobody asked for one.
        ("/api/2.0/mlflow/x", 200, {"content-type": "text/html"}, False),
        ("/api/2.0/mlflow-artifacts/artifacts/x.html", 200, {"content-type": "text/html"}, True),
        ("/", 200, {"content-type": "text/html"}, True),
    ],
)
def test_streaming(
    addon: Assembled, path: str, status: int, headers: dict[str, str], streams: bool
) -> None:
    """What is held and what passes through."""
    flow = make_flow(path)
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(status, b"", headers)
    if "content-length" not in headers:
        del flow.response.headers["content-length"]
    addon.run("responseheaders", flow)
    assert bool(flow.response.stream) is streams


def test_location(addon: Assembled) -> None:
    """A redirect to the upstream comes back under the client's host and the mount."""
    flow = make_flow("/mlflow/x")
    flow_state.of(flow).authority = "proxy.example:8080"
    flow.client_conn.tls = False
    addon.run("requestheaders", flow)
    headers = {"location": "http://registry.hokus.ai/y?z", "content-location": "/y"}
    response = respond(addon, flow, status=308, headers=headers)
    assert response.headers["location"] == "http://proxy.example:8080/mlflow/y?z"
    assert response.headers["content-location"] == "/mlflow/y"


LOGIN = b"<!doctype html><title>Sign in</title>"


@pytest.mark.parametrize(
    ("path", "accept", "status", "headers", "becomes"),
    [
        ("/api/2.0/mlflow/x", "*/*", 200, {"content-type": "text/html"}, 401),
        ("/api/2.0/mlflow/x", "*/*", 200, {}, 401),
        ("/api/2.0/mlflow/x", "text/html", 200, {"content-type": "text/html"}, 200),
        ("/api/2.0/mlflow/x", "*/*", 302, {"location": "https://sso.example/?state=secret"}, 401),
        ("/api/2.0/mlflow/x", "text/html", 302, {"location": "https://sso.example/"}, 302),
        ("/api/2.0/mlflow/x", "*/*", 308, {"location": "/api/2.0/mlflow/x/"}, 308),
        ("/api/2.0/mlflow/x", "*/*", 300, {"location": "https://sso.example/"}, 300),
        ("/", "*/*", 302, {"location": "https://sso.example/"}, 302),
        ("/", "*/*", 200, {"content-type": "text/html"}, 200),
        ("/api/2.0/mlflow-artifacts/artifacts/x", "*/*", 200, {"content-type": "text/html"}, 200),
    ],
)
def test_login_pages(
    addon: Assembled, path: str, accept: str, status: int, headers: dict[str, str], becomes: int
) -> None:
    """A login page in place of an API's answer is an error; for a browser it is none."""
    flow = make_flow(path, headers={"accept": accept})
    addon.run("requestheaders", flow)
    response = respond(addon, flow, status=status, content=LOGIN, headers=headers)
    assert response.status_code == becomes
    if becomes == 401:
        assert response.reason == "Unauthorized"
        assert response.json()["error_code"] == "UNAUTHENTICATED"
        assert "location" not in response.headers
        assert "secret" not in (response.text or "")
    else:
        assert response.raw_content == LOGIN
        assert response.headers.get("location") == headers.get("location")


def test_login_pages_as_the_rules_say(addon: Assembled, use_rules: UseRules) -> None:
    """Another status and code, or no conversion at all."""
    for changes, becomes in (
        ("status: 403, error_code: PERMISSION_DENIED", 403),
        ("enabled: false", None),
    ):
        use_rules(f"errors: {{api_paths: [/api/.*], login: {{{changes}}}}}")
        for status, headers in (
            (200, {"content-type": "text/html"}),
            (302, {"location": "/login"}),
        ):
            flow = make_flow("/api/x")
            addon.run("requestheaders", flow)
            response = respond(addon, flow, status=status, content=LOGIN, headers=headers)
            assert response.status_code == (becomes or status)


def test_a_place_is_named_as_the_client_knows_it(addon: Assembled) -> None:
    """A login page of the upstream itself is reached through the proxy."""
    flow = make_flow("/mlflow/api/2.0/mlflow/x")
    flow_state.of(flow).authority = "proxy.example:8080"
    flow.client_conn.tls = False
    addon.run("requestheaders", flow)
    response = respond(addon, flow, status=303, headers={"location": "/login?next=secret"})
    assert " at http://proxy.example:8080/mlflow/login (" in response.json()["message"]


def test_overridden_status(addon: Assembled, use_rules: UseRules) -> None:
    """A status that the rules map goes out with its own reason and an unchanged body."""
    use_rules("errors: {api_paths: [/api/.*], overrides: [{statuses: [500], status: 404}]}")
    flow = make_flow("/api/x")
    addon.run("requestheaders", flow)
    content = b'{"error_code": "X",  "message": "m"}'
    headers = {"content-type": "application/json", "content-language": "en", "etag": "x"}
    response = respond(addon, flow, status=500, content=content, headers=headers)
    assert (response.status_code, response.reason) == (404, "Not Found")
    assert response.raw_content == content
    assert response.headers["content-language"] == "en"
    assert "etag" not in response.headers  # By which a cache would ask for it again.


@pytest.mark.parametrize(
    ("path", "status", "begin", "passes"),
    [
        ("/api/2.0/mlflow/x", 500, b'{"error_code": "X", "message": "', True),
        ("/api/2.0/mlflow/x", 500, b'{"detail": "', False),
        ("/api/2.0/mlflow/x", 500, b"<html>", False),
        ("/api/2.0/mlflow/x", 200, b"<html>", False),
        ("/api/2.0/mlflow/x", 200, b"3.17.2", True),
        ("/api/2.0/mlflow/x", 200, b"  ", None),
    ],
)
def test_held_bodies_that_grow(
    addon: Assembled, path: str, status: int, begin: bytes, passes: bool | None
) -> None:
    """What is held passes as soon as it is clear that it has not to be changed."""
    flow = make_flow(path)
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(status, b"", {"content-type": "text/html"})
    addon.run("responseheaders", flow)
    assert addon.traffic.may_pass(flow, begin) is passes


def test_a_replayed_flow_forgets_the_first_time(addon: Assembled) -> None:
    """The marks of an error do not cut the answer that comes at the second try."""
    flow = make_flow("/api/2.0/mlflow/x")
    addon.run("requestheaders", flow)
    respond(addon, flow, status=404, headers={"content-type": "text/html"})
    before = flow_state.of(flow)
    assert (before.hold, before.converted) != (None, "")
    flow.is_replay, flow.response = "request", None
    addon.run("request", flow)
    respond(addon, flow, headers={"content-type": "application/json"})
    after = flow_state.of(flow)
    assert (after.hold, after.converted, after.received) == (None, "", before.received)


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
    """One of them is switched off, the others work on."""
    use_rules(RULES.read_text().replace(f"\n  {off}: true", f"\n  {off}: false"))
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", method=method)
    addon.run("requestheaders", flow)
    assert (flow.response is not None) is refused
    if flow.response is not None:
        assert flow.response.json()["error_code"] == "ARTIFACTS_DISABLED"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/2.0/mlflow-artifacts/artifacts/x", {}),
        ("/api/2.0/mlflow-artifacts/artifacts/x", {"x-request-id": "mine-1"}),
        ("/api/2.0/mlflow/x", {"origin": "https://evil.example"}),
        ("/api/2.0/mlflow/x", {"origin": "https://evil.example", "x-request-id": "a b\x1b"}),
    ],
)
def test_own_errors_stand_in_the_log(
    addon: Assembled,
    path: str,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The id that the client sees, its own if it is fit to be shown, leads to a line of the log."""
    addon.options(mlflow_serve_artifacts="false")
    flow = make_flow(f"{path}?token=secret", method="POST", headers=headers)
    addon.run("requestheaders", flow)
    assert flow.response is not None
    request_id = flow.response.headers["x-request-id"]
    assert (request_id == headers.get("x-request-id")) is (headers.get("x-request-id") == "mine-1")
    (record,) = caplog.records
    assert record.message.startswith(f"answered {flow.response.status_code} to POST {path}: ")
    assert record.message.endswith(f" (request id {request_id})")
    assert "secret" not in record.message


def test_outside_of_every_mount(addon: Assembled, use_rules: UseRules) -> None:
    """Without a root mount, other paths are answered here and go nowhere."""
    use_rules("mounts: [/mlflow]")
    flow = make_flow("/secret")
    addon.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 404
    assert flow.response.json()["source"] == "proxy"


@pytest.mark.parametrize("path", ["/livez", "/mlflow/livez", "/api/mlflow/livez"])
def test_livez(addon: Assembled, path: str) -> None:
    """The proxy says by itself that it runs, under every mount."""
    flow = make_flow(path)
    answer = addon.run("requestheaders", flow)
    assert answer is not None
    asyncio.run(_await(answer))
    assert flow.response is not None
    assert flow.response.json() == {"status": "alive"}


async def _await(answer: Any) -> None:
    await answer


def test_health_goes_upstream(addon: Assembled) -> None:
    """/health is MLflow's own."""
    flow = make_flow("/mlflow/health")
    assert addon.run("requestheaders", flow) is None
    assert flow.response is None
    assert flow.request.path == "/health"


@pytest.mark.parametrize("hooks", [["requestheaders"], ["request"], ["requestheaders", "request"]])
def test_our_own_exceptions_do_not_let_requests_through(
    addon: Assembled,
    hooks: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in a decision is a 500 and one line in the log, not a forwarded request."""

    def broken(*_: object) -> None:
        raise RuntimeError("cause")

    monkeypatch.setattr(target, "read", broken)
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", method="PUT")
    for hook in hooks:
        addon.run(hook, flow)
    assert flow.response is not None
    assert flow.response.status_code == 500
    assert flow.response.json()["error_code"] == "INTERNAL_ERROR"
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
    assert "cause" in caplog.text


OWN = ["tls", "icon", "path", "method", "status", "size", "time"]
"""mitmweb's default."""


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (None, ["tls", "icon", "path", "comment", "method", "status", "size", "time"]),
        (OWN, OWN),
        (["comment", "status"], ["comment", "status"]),
        ([], []),
    ],
)
def test_columns_of_mitmweb(chosen: list[str] | None, shown: list[str]) -> None:
    """Comments are among them, unless the user has chosen others, be it the default."""
    with taddons.context(webaddons.WebAddon()) as context:
        if chosen is not None:
            context.options.web_columns = chosen
        addon = Assembled(context)
        assert context.options.web_columns == shown
        addon.done()


def test_bad_rules_at_start_are_logged_and_nothing_is_served(
    bare: Assembled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """mitmproxy ends for a logged error; should it live on, every request is refused."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("x: 1")
    bare.options(mlflow_rules=str(rules))
    errors = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert "x: unknown key" in errors[0].message
    assert errors[0].exc_info is None
    flow = make_flow("/api/2.0/mlflow/x")
    bare.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 500


def test_bad_rules_later_keep_the_old_ones(addon: Assembled, tmp_path: Path) -> None:
    """An option that cannot be used is refused and changes nothing."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("x: 1")
    before = addon.the(RulesInForce).settings
    with pytest.raises(exceptions.OptionsError, match="x: unknown key"):
        addon.options(mlflow_rules=str(rules))
    with pytest.raises(exceptions.OptionsError, match="mlflow_keep_flows: -1: expected 0 or more"):
        addon.options(mlflow_keep_flows=-1)
    with pytest.raises(exceptions.OptionsError, match="mlflow_serve_artifacts: 'perhaps'"):
        addon.options(mlflow_serve_artifacts="perhaps")
    assert addon.the(RulesInForce).settings == before


@pytest.mark.parametrize("suffix", ["", health_service.AS_IT_IS])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_switch_holds_for_our_own_requests(
    use_rules: UseRules, addon: Assembled, suffix: str, method: str
) -> None:
    """What opens everything else of the proxy does not open that."""
    use_rules(RULES.read_text().replace("\n  enabled: true", "\n  enabled: false", 1))
    headers = {health_service.PROBE_HEADER: addon.traffic.health.token + suffix}
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", method=method, headers=headers)
    addon.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503
    flow = make_flow("/api/2.0/mlflow/x", headers=headers)
    addon.run("requestheaders", flow)
    assert (flow.response, addon.traffic.may_go(flow)) == (None, True)
    flow.request.path = "/ajax-api/2.0/mlflow-artifacts/artifacts/x"
    assert not addon.traffic.may_go(flow)


@pytest.mark.parametrize("difference", ["", "x", " as it is?", "\udcff"])
def test_senders(addon: Assembled, difference: str) -> None:
    """Only the whole token makes a request one of ours."""
    health = addon.traffic.health
    assert health.sender(None) == "client"
    assert health.sender(health.token + difference) == ("client" if difference else "probe")
    assert health.sender(health.token[:-1]) == "client"
    assert health.sender(health.token + health_service.AS_IT_IS) == "finder"


def test_a_request_without_rules_goes_nowhere(bare: Assembled) -> None:
    """Nor does a connection, be it for the moment until the proxy ends."""
    flow = make_flow("/api/2.0/mlflow/x")
    assert not bare.traffic.may_go(flow)
    assert flow.response is not None
    assert flow.response.status_code == 500
    bare.run("client_connected", flow.client_conn)
    assert flow.client_conn.error == "no rules are loaded"


@pytest.mark.parametrize("skill", ["a", "@lab/a"])
@pytest.mark.parametrize("path", ["", "/versions", "/versions/1", "/tags", "/versions/1/tags"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("wary", [False, True])
def test_skills(
    use_rules: UseRules, addon: Assembled, skill: str, path: str, method: str, wary: bool
) -> None:
    """An archive streams as an artifact does, and with a skill its files are deleted."""
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
