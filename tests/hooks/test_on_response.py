"""Responses on their way to the client: held, converted and mapped back."""

import pytest
from mitmproxy import http
from support.assembled import Assembled, make_flow, respond
from support.fixtures import UseRules

from addon.routing import flow_state


def test_a_rewrite_to_the_api_counts_as_the_api(addon: Assembled, use_rules: UseRules) -> None:
    """If a rule leads to the API, its errors become JSON."""
    use_rules(
        "rewrites: [{name: old, match: ^/old/, replace: /api/}]\nerrors: {api_paths: [/api/.*]}"
    )
    flow = make_flow("/old/x")
    addon.run("requestheaders", flow)
    response = respond(addon, flow, status=404, headers={"content-type": "text/html"})
    assert response.headers["content-type"] == "application/json"


def test_html_error_becomes_json(addon: Assembled) -> None:
    """The status stays; the body becomes MLflow's JSON, naming the path that the client sent."""
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
    """JSON errors, the UI's pages, HTML artifacts and protobuf are left alone."""
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
    """An error labelled as JSON may be MLflow's own, so it stays."""
    flow = make_flow("/api/2.0/mlflow/x", method="HEAD")
    addon.run("requestheaders", flow)
    headers = {"content-type": "application/json", "etag": "x"}
    assert respond(addon, flow, status=400, headers=headers).headers["etag"] == "x"


def test_errors_are_held_despite_stream_large_bodies(addon: Assembled) -> None:
    """mitmproxy's option stream_large_bodies would stream before any hook runs."""
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
        # Errors that may need conversion are held, whatever length they claim.
        ("/api/2.0/mlflow-artifacts/artifacts/x", 404, {"content-type": "text/html"}, False),
        ("/api/2.0/mlflow/x", 500, {"content-length": str(2**40)}, False),
        (
            "/api/2.0/mlflow/x",
            400,
            {"content-type": "application/json", "content-length": "9"},
            False,
        ),
        ("/api/2.0/mlflow/x", 400, {"content-type": "application/json"}, False),
        # So are HTML pages that the client has not asked for.
        ("/api/2.0/mlflow/x", 200, {"content-type": "text/html"}, False),
        ("/api/2.0/mlflow-artifacts/artifacts/x.html", 200, {"content-type": "text/html"}, True),
        ("/", 200, {"content-type": "text/html"}, True),
    ],
)
def test_streaming(
    addon: Assembled, path: str, status: int, headers: dict[str, str], streams: bool
) -> None:
    """Which responses are held and which are streamed."""
    flow = make_flow(path)
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(status, b"", headers)
    if "content-length" not in headers:
        del flow.response.headers["content-length"]
    addon.run("responseheaders", flow)
    assert bool(flow.response.stream) is streams


def test_location(addon: Assembled) -> None:
    """A redirect to the upstream is mapped to the client's host and the mount."""
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
    """A login page in place of an API response is an error, but not for a browser."""
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
    """The rules can set another status and code, or switch the conversion off."""
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


def test_a_login_page_behind_the_proxy_gets_its_url(addon: Assembled) -> None:
    """The message names the proxy's URL for a login page of the upstream itself."""
    flow = make_flow("/mlflow/api/2.0/mlflow/x")
    flow_state.of(flow).authority = "proxy.example:8080"
    flow.client_conn.tls = False
    addon.run("requestheaders", flow)
    response = respond(addon, flow, status=303, headers={"location": "/login?next=secret"})
    assert " at http://proxy.example:8080/mlflow/login (" in response.json()["message"]


def test_overridden_status(addon: Assembled, use_rules: UseRules) -> None:
    """A status overridden by the rules gets its own reason phrase and keeps the body."""
    use_rules("errors: {api_paths: [/api/.*], overrides: [{statuses: [500], status: 404}]}")
    flow = make_flow("/api/x")
    addon.run("requestheaders", flow)
    content = b'{"error_code": "X",  "message": "m"}'
    headers = {"content-type": "application/json", "content-language": "en", "etag": "x"}
    response = respond(addon, flow, status=500, content=content, headers=headers)
    assert (response.status_code, response.reason) == (404, "Not Found")
    assert response.raw_content == content
    assert response.headers["content-language"] == "en"
    assert "etag" not in response.headers  # A cache would use it to ask again.


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
    """A held body is released as soon as it clearly needs no change."""
    flow = make_flow(path)
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(status, b"", {"content-type": "text/html"})
    addon.run("responseheaders", flow)
    assert addon.traffic.may_pass(flow, begin) is passes
