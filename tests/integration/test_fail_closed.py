"""An exception in the addon ends only the request in which it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support import faults
from support.client import request
from support.upstream import Received, Upstream, response

API = "/mlflow/api/2.0/mlflow/runs/create?token=secret"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.pkl"
PAGE = b"<title>Sign in</title>"
LONG = b'{"detail": "' + b"x" * 1_000_000 + b'"}'
ORIGIN = {"Origin": "https://evil.example"}
OK = response("200 OK", b"{}", ("Content-Type", "application/json"))

# The target, the upstream's answer, and how many requests the upstream gets.
CASES: dict[str, tuple[str, bytes, int]] = {
    "protocol.target.read": (API, OK, 0),
    "protocol.target.ambiguity": (API, OK, 0),
    "routing.gate.artifact_endpoints": (API, OK, 0),
    "routing.gate.suspected_endpoints": (API, OK, 0),
    "routing.gate.refusal": (FILE, OK, 0),
    "routing.operations.concerned": (API, OK, 0),
    "routing.operations.refusing": ("/refused", OK, 0),
    "routing.rewrite.rewrite": (API, OK, 0),
    "routing.origin.is_foreign": (API, OK, 0),
    "routing.streaming.stream_request": (API, OK, 0),
    "errors.upstream.may_need_conversion": (API, response("404 Not Found", PAGE), 1),
    "errors.login.may_be_page": (API, response("200 OK", PAGE), 1),
    "errors.login.redirect_place": (API, response("302 Found", PAGE, ("Location", "/login")), 1),
    "routing.rewrite.map_location": (API, response("201 Created", b"x", ("Location", "/x")), 1),
    "routing.streaming.stream_response": (API, OK, 1),
    "errors.upstream.convert": (API, response("404 Not Found", PAGE), 1),
    "errors.upstream.is_long_native": (API, response("500 Oops", LONG), 1),
    "errors.login.convert_page": (API, response("200 OK", PAGE), 1),
    "errors.login.is_no_page": (API, response("200 OK", LONG, framing="chunked"), 1),
    "errors.replies.explain": (API, b"", 1),
}


@pytest.fixture(scope="module")
def faulty_proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A read-only proxy whose functions fail when a request asks for it."""
    folder = tmp_path_factory.mktemp("faulty")
    rules = lab.write_rules(
        folder / "rules.model.yaml",
        external=["127.0.0.1"],
        artifacts={"write": False},
        refused=[{"name": "a", "path": "/refused", "methods": ["GET"]}],
    )
    script = Path(faults.__file__)
    with lab.proxy(
        scripted.url,
        rules,
        log=folder / "log",
        options=("--set", "flow_detail=0"),
        before=["-s", script],
        # The script is loaded first and imports the addon, which must be this one.
        env={"PYTHONPATH": str(lab.ROOT)},
    ) as server:
        yield server.wait("/livez")


def test_every_function_has_a_case() -> None:
    """Every function that `faults` can break has a case."""
    assert set(CASES) == set(faults.FUNCTIONS)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("body", [b"{}", b"x" * 2_000_000])
def test_an_exception(scripted: Upstream, faulty_proxy: lab.Server, name: str, body: bytes) -> None:
    """An exception gives a 500 in JSON and one log entry; the request or answer does not pass."""
    target, answer, asked = CASES[name]
    # The meaning of a path is cached, so each case needs a new path.
    target = target.replace("create", f"create/{name}/{len(body)}")

    def send(_: Received, connection: object) -> None:
        connection.sendall(answer)  # type: ignore[attr-defined]

    scripted.answer = send
    scripted.requests.clear()
    before = faulty_proxy.text()
    headers = {"X-Fault": name, "Origin": faulty_proxy.url}
    got = request(faulty_proxy.url, target, method="POST", headers=headers, body=body)
    assert got.status == 500
    content = json.loads(got.body)
    assert (content["error_code"], content["source"]) == ("INTERNAL_ERROR", "proxy")
    assert len(scripted.requests) == asked
    logged = faulty_proxy.text().removeprefix(before)
    assert logged.count("Traceback") == 1, logged
    assert logged.count("RuntimeError\n") == 1
    assert f"injected into {name}" not in logged  # The message may repeat client data.
    assert content["request_id"] in logged
    assert "secret" not in logged
    # The next request is served as usual.
    scripted.answer = OK
    again = request(faulty_proxy.url, API, method="POST", body=body)
    assert (again.status, again.body) == (200, b"{}")
