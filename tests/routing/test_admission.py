"""Every refusal, in order of priority, and the requests that are exempt from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from addon.routing import admission, settings
from addon.routing.admission import Refused, Request
from addon.routing.flow_state import FlowState
from addon.routing.settings import Settings

RULES = """
mounts: [/mlflow]
upstream: {base_path: /deep}
allowed_hosts: [proxy]
rewrites: [{name: api, match: ^/api/, replace: /api/}]
limits: {api_body: 10, artifact_body: 20}
artifacts:
  write: false
  disabled_status: 501
  endpoints:
    - {path: "/api/artifacts/.*", files: true}
    - {path: "/", operation: write}
    - {path: /api/upload, methods: [POST], operation: read}
    - {path: /api/change, methods: [POST], operation: write}
    - {path: /graphql, graphql_field: listArtifacts, operation: write}
"""
ARTIFACT = "/mlflow/api/artifacts/x"
WORST: dict[str, Any] = {
    "method": "PUT",
    "path": "/api/artifacts/x#",
    "host": "elsewhere",
    "full": True,
    "origin": "https://evil.example",
    "accept": "text/html",
    "length": 10**6,
}
"""A request with every reason to be refused."""


@pytest.fixture(scope="module")
def in_force(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return the settings for these rules."""
    return read(tmp_path_factory.mktemp("rules"), RULES)


def read(folder: Path, text: str) -> Settings:
    path = folder / "rules.yaml"
    path.write_text(text)
    return settings.read(path, None, "")


def request(path: str, **values: Any) -> Request:
    """Return a request without any fault, in reverse mode."""
    fields = {
        name.encode(): str(values[name]).encode()
        for name in ("origin", "accept", "x-request-id", "x-http-method-override")
        if values.get(name)
    }
    return Request(
        values.get("method", "GET"),
        path,
        fields,
        values.get("length", 0),
        values.get("host", "proxy"),
        values.get("reverse", True),
        "some-uuid",
        values.get("sender", "client"),
    )


def admit(
    in_force: Settings, asked: Request, *, named: bool = True, full: bool = False
) -> tuple[FlowState, Refused | None]:
    state = FlowState()
    path = asked.path.partition("?")[0]
    state.begin(in_force.router.route(path, (0,)), in_force, asked.path)
    return state, admission.admit(state, asked, named=named, is_full=lambda: full)


def said(refused: Refused | None) -> tuple[int, str] | None:
    return (refused.reply.status, refused.reply.why) if refused else None


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        # Each row has all the faults of the rows below it, as far as its path allows.
        ({}, (404, "not_mounted")),
        ({"path": f"{ARTIFACT}#"}, (400, "ambiguous_target")),
        ({"path": f"{ARTIFACT}?a#"}, (400, "ambiguous_target")),
        ({"path": "/mlflow/livez"}, None),
        ({"path": ARTIFACT}, (403, "foreign_host")),
        ({"path": ARTIFACT, "host": "proxy"}, (503, "too_many_requests")),
        ({"path": "/mlflow", "host": "proxy", "full": False, "method": "GET"}, (308, "")),
        ({"path": ARTIFACT, "host": "proxy", "full": False}, (403, "foreign_origin")),
        (
            {"path": ARTIFACT, "host": "proxy", "full": False, "origin": ""},
            (501, "artifacts_disabled"),
        ),
        (
            {
                "path": "/mlflow/api/a;x/../artifacts/x",
                "host": "proxy",
                "full": False,
                "origin": "",
            },
            (400, "ambiguous_target"),
        ),
        (
            {"path": "/mlflow/api/x", "host": "proxy", "full": False, "origin": ""},
            (413, "body_too_large"),
        ),
        (
            {"path": "/mlflow/api/x", "host": "proxy", "full": False, "origin": "", "length": 10},
            None,
        ),
    ],
)
def test_order(
    in_force: Settings, better: dict[str, Any], expected: tuple[int, str] | None
) -> None:
    """The reason with the highest priority is reported."""
    values = WORST | better
    asked = request(**{name: value for name, value in values.items() if name != "full"})
    assert said(admit(in_force, asked, full=values["full"])[1]) == expected


@pytest.mark.parametrize(
    ("values", "named", "full", "expected"),
    [
        # The proxy's own probes come from this machine, and must be served when it is busy.
        ({"sender": "probe", "host": "elsewhere"}, True, True, None),
        ({"sender": "probe", "path": ARTIFACT, "method": "PUT"}, True, True, "artifacts_disabled"),
        ({"sender": "finder", "host": "elsewhere", "path": "/mlflow"}, True, True, None),
        ({"sender": "finder", "path": ARTIFACT, "method": "PUT"}, True, True, "artifacts_disabled"),
        ({"sender": "finder", "path": "/nowhere"}, True, False, "not_mounted"),
        # `explain` has no host.
        ({"host": "elsewhere"}, False, False, None),
        ({"host": "elsewhere"}, False, True, "too_many_requests"),
        # A forward proxy has neither a name nor a page of its own.
        ({"host": "elsewhere", "reverse": False}, True, False, None),
        ({"path": "/mlflow/livez", "reverse": False}, True, True, "too_many_requests"),
        ({"path": "/mlflow", "accept": "text/html", "reverse": False}, True, False,
         "artifacts_disabled"),
        # Neither a program that asks for the mount nor a submitted form is redirected.
        ({"path": "/mlflow", "accept": "*/*"}, True, False, "artifacts_disabled"),
        ({"path": "/mlflow", "accept": "text/html", "method": "POST"}, True, False,
         "artifacts_disabled"),
        # Pages of other sites may only read; the proxy's own page may do everything.
        ({"origin": "https://evil.example"}, True, False, None),
        ({"origin": "https://evil.example", "method": "POST"}, True, False, "foreign_origin"),
        ({"origin": "http://proxy", "method": "POST"}, True, False, None),
        # If no rule changes the path, the registry's own check applies.
        ({"path": "/mlflow/graphql", "origin": "https://evil.example", "method": "POST",
          "length": 5}, True, False, None),
        # The switch considers every method that a framework might read from the request.
        ({"path": ARTIFACT}, True, False, None),
        ({"path": ARTIFACT, "x-http-method-override": "PUT"}, True, False, "artifacts_disabled"),
        ({"path": "/mlflow/api/change", "method": "POST"}, True, False, "artifacts_disabled"),
        ({"path": "/mlflow/api/change", "method": "GET"}, True, False, None),
        # GraphQL is judged by its body: one that is too long to read is refused.
        ({"path": "/mlflow/graphql", "method": "POST", "length": 5}, True, False, None),
        ({"path": "/mlflow/graphql", "method": "POST", "length": None}, True, False,
         "artifacts_disabled"),
        ({"path": "/mlflow/graphql", "method": "POST", "length": 2**20 + 1}, True, False,
         "artifacts_disabled"),
        ({"path": "/mlflow/graphql", "method": "POST", "length": 2**20}, True, False,
         "body_too_large"),
        # The limit for artifacts also applies to an endpoint that only its method makes one.
        ({"path": ARTIFACT, "length": 20}, True, False, None),
        ({"path": ARTIFACT, "length": 21}, True, False, "body_too_large"),
        ({"path": "/mlflow/api/upload", "method": "POST", "length": 20}, True, False, None),
        ({"path": "/mlflow/api/upload", "method": "GET", "length": 20}, True, False,
         "body_too_large"),
        # A body of unknown length is counted as it passes.
        ({"length": None}, True, False, None),
    ],
)  # fmt: skip
def test_exemptions(
    in_force: Settings, values: dict[str, Any], named: bool, full: bool, expected: str | None
) -> None:
    """A request passes in spite of a reason if it is exempt; each reason has an exact limit."""
    asked = request(**{"path": "/mlflow/api/x"} | values)
    refused = admit(in_force, asked, named=named, full=full)[1]
    assert (refused and refused.reply.why) == expected


@pytest.mark.parametrize(
    ("path", "method", "artifact", "file", "fields"),
    [
        (ARTIFACT, "GET", True, True, ()),
        ("/mlflow/api/upload", "POST", True, False, ()),
        ("/mlflow/api/upload", "GET", False, False, ()),
        ("/mlflow/graphql", "POST", False, False, ("listArtifacts",)),
        ("/mlflow/api/x", "GET", False, False, ()),
    ],
)
def test_values_that_depend_on_the_method(
    in_force: Settings,
    path: str,
    method: str,
    artifact: bool,
    file: bool,
    fields: tuple[str, ...],
) -> None:
    """The flow's state gets the values that depend on the method."""
    state, refused = admit(in_force, request(path, method=method))
    assert refused is None
    assert (state.artifact, state.file, state.graphql_fields) == (artifact, file, fields)
    assert (state.family == "artifacts") is artifact


REFUSED = """
mounts: [/mlflow]
upstream: {base_path: /deep}
rewrites: [{name: api, match: ^/api/, replace: /api/}]
refused:
  - {name: no-deletions, family: tracking, operations: [delete]}
  - {name: frozen, path: /api/.+/frozen, status: 503, message: Frozen until Monday.}
"""


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("/mlflow/api/2.0/mlflow/runs/delete", "POST", (403, "operation_refused")),
        ("/mlflow/api/2.0/mlflow/runs/create", "POST", None),
        ("/mlflow/api/2.0/frozen", "GET", (503, "operation_refused")),
    ],
)
def test_refused_operations(
    tmp_path: Path, path: str, method: str, expected: tuple[int, str] | None
) -> None:
    """An operation that the rules list is refused as it comes, and as it goes upstream."""
    in_force = read(tmp_path, REFUSED)
    assert in_force.wary
    refused = admit(in_force, request(path, method=method))[1]
    assert said(refused) == expected
    sent = request(path.replace("/mlflow", "/deep", 1), method=method)
    assert said(admission.admit_sent(in_force, sent, b"")) == expected
    if refused is None:
        return
    message = json.loads(refused.reply.body)["message"]
    words = "Frozen until Monday." if "frozen" in path else "This operation is switched off here."
    assert message.startswith(words)
    pause = "1" if refused.reply.status == 503 else None
    assert dict(refused.reply.headers).get("Retry-After") == pause


def test_an_upload_is_no_file(tmp_path: Path) -> None:
    """An upload's answer is not a file, so a web page in place of it is an error."""
    in_force = read(tmp_path, RULES.replace("write: false", "delete: false"))
    state, refused = admit(in_force, request(ARTIFACT, method="PUT"))
    assert refused is None
    assert (state.artifact, state.file) == (True, False)


def test_the_page_of_a_mount(in_force: Settings) -> None:
    """The redirect is relative and keeps the query."""
    refused = admit(in_force, request("/mlflow?a=b", accept="text/html"))[1]
    assert refused is not None
    assert dict(refused.reply.headers)["Location"] == "mlflow/?a=b"
    assert refused.why == admission.TO_THE_PAGE


@pytest.mark.parametrize(
    ("sent", "shown"), [("mine-1", "mine-1"), ("a b\x1b", "some-uuid"), ("", "some-uuid")]
)
def test_request_id_of_a_refusal(in_force: Settings, sent: str, shown: str) -> None:
    """A refusal shows the client's own ID if that is safe, and the reason."""
    asked = request("/nowhere", **{"x-request-id": sent})
    refused = admit(in_force, asked)[1]
    assert refused is not None
    content = json.loads(refused.reply.body)
    kind = dict(refused.reply.headers)["Proxy-Status"]
    assert kind == "mlflow-proxy; error=http_request_denied"
    assert (content["request_id"], content["source"]) == (shown, "proxy")
    assert content["message"].startswith("Nothing is served here. Expected a path under /mlflow.")


@pytest.mark.parametrize(
    ("path", "method", "body", "refused"),
    [
        ("/deep/api/artifacts/x", "PUT", b"", True),
        ("/deep/api/artifacts/x", "GET", b"", False),
        ("/deep/api/a;x/../artifacts/x", "PUT", b"", True),
        ("/deep/graphql", "POST", b'{"query": "{ listArtifacts }"}', True),
        ("/deep/graphql", "POST", b'{"query": "{ other }"}', False),
        ("/deep/api/x", "PUT", b"", False),
    ],
)
def test_the_final_path_is_checked(
    in_force: Settings, path: str, method: str, body: bytes, refused: bool
) -> None:
    """The switch checks the final path again, as another addon may have changed it."""
    asked = request(path, method=method, length=len(body), host="elsewhere")
    assert (admission.admit_sent(in_force, asked, body) is not None) is refused


def test_the_final_path_if_nothing_is_off(tmp_path: Path) -> None:
    """If no artifact operation is off, the final path is not checked."""
    in_force = read(tmp_path, RULES.replace("write: false", "write: true"))
    asked = request("/deep/api/artifacts/x", method="PUT")
    assert admission.admit_sent(in_force, asked, b"") is None


@pytest.mark.parametrize(
    ("body", "refused"),
    [(b'{"query": "{ listArtifacts }"}', True), (b'{"query": "{ other }"}', False)],
)
def test_bodies(in_force: Settings, body: bytes, refused: bool) -> None:
    """A GraphQL request for a field that is off is refused once its body is complete."""
    asked = request("/mlflow/graphql", method="POST", length=len(body))
    state, before = admit(in_force, request("/mlflow/graphql", method="POST", length=5))
    assert before is None
    assert (admission.admit_body(state, asked, body) is not None) is refused


def test_no_room(in_force: Settings) -> None:
    """Without room for its body, a request gets 503 with Retry-After."""
    refused = admission.too_much_held(request("/mlflow/x"), in_force.rules)
    assert said(refused) == (503, "too_much_held")
    assert "Retry-After" in dict(refused.reply.headers)
    assert not admission.no_room()


def test_a_flow_without_a_route() -> None:
    """A flow without a route raises, so that a wrong order of hooks lets no request pass."""
    with pytest.raises(RuntimeError):
        admission.admit(FlowState(), request("/mlflow/x"))
    with pytest.raises(RuntimeError):
        admission.admit_body(FlowState(), request("/mlflow/x"), b"")
