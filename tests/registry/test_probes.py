"""Verdicts on answers, and the requests behind them."""

import json

import pytest
from support.upstream import Upstream, silent

from addon.registry import probes as probing
from addon.registry.answers import Answer
from addon.registry.client import client_from_environment
from addon.registry.diagnosis import UNKNOWN
from addon.rules.model import Probe

JSON = "application/json"
NO_ARTIFACTS = (
    b"Endpoint: /api/2.0/mlflow-artifacts/artifacts disabled due to the mlflow server running with "
    b"`--no-serve-artifacts`. To enable artifacts server functionality, run `mlflow server` with "
    b"`--serve-artifacts`"
)
NO_ARTIFACTS_SAID = "disabled: the registry runs with --no-serve-artifacts"
ONLY_ARTIFACTS = (
    b"Endpoint: /api/2.0/mlflow/runs/search disabled due to the mlflow server running in "
    b"`--artifacts-only` mode. To enable tracking server functionality, run `mlflow server` "
    b"without `--artifacts-only`"
)
API = Probe(name="experiments_api", path="/api/2.0/mlflow/experiments/search?max_results=1")


@pytest.mark.parametrize(
    ("changes", "answer", "state", "message"),
    [
        ({}, Answer(200, JSON, b'{"experiments": []}'), "ok", "ok"),
        ({}, Answer(200, JSON, b"{}"), "ok", "ok"),
        ({}, Answer(200, "text/html", b"<html>"), "critical", "200 with an HTML page"),
        ({}, Answer(404, "text/html", b"<!doctype html>"), "critical", "404 with an HTML page"),
        ({}, Answer(404, JSON, b'{"error_code": "RESOURCE_NOT_FOUND"}'),
         "critical", "404 RESOURCE_NOT_FOUND"),
        ({}, Answer(200, "text/plain", b"OK"), "critical", "200, but not JSON"),
        ({}, Answer(404, JSON, b'{"error_code": "RESOURCE_NOT_FOUND", "message": "No route. '
                               + UNKNOWN.encode() + b'"}'),
         "critical", "404: the proxy does not know yet which API the registry serves"),
        ({}, Answer(500, JSON, b'{"error_code": "INTERNAL_ERROR"}'),
         "critical", "500 INTERNAL_ERROR"),
        ({}, Answer(500, JSON, b"{}"), "critical", "500"),
        ({}, Answer(None, error="no answer within 5 s"), "critical", "no answer within 5 s"),
        ({}, Answer(503, JSON, b'{"error_code": "ARTIFACTS_DISABLED"}'), "disabled", "disabled"),
        # From MLflow itself, and from a proxy that has reworded it.
        ({}, Answer(503, "text/html", NO_ARTIFACTS), "disabled", NO_ARTIFACTS_SAID),
        ({}, Answer(503, JSON, b'{"detail":"Artifact serving is disabled. Run `mlflow server` with '
                               b'`--serve-artifacts` to enable."}'), "disabled", NO_ARTIFACTS_SAID),
        ({}, Answer(501, JSON, b'{"error_code": "NOT_IMPLEMENTED", "message": "The server answered '
                               b'503: ' + ONLY_ARTIFACTS + b'"}'),
         "disabled", "disabled: the registry runs with --artifacts-only"),
        ({"optional": True}, Answer(503, "text/html", ONLY_ARTIFACTS),
         "disabled", "disabled: the registry runs with --artifacts-only"),
        ({}, Answer(200, JSON, b'{"a": "server running with `--no-serve-artifacts`"}'), "ok", "ok"),
        ({}, Answer(503, "text/html", b"disabled"), "critical", "503"),
        ({}, Answer(401, JSON, b'{"error_code": "UNAUTHENTICATED"}'),
         "warning", "401: there, but it asks for credentials"),
        ({}, Answer(401, "text/html", b"<html>"), "critical", "401 with an HTML page"),
        ({"optional": True}, Answer(404, JSON, b"{}"), "warning", "404"),
        ({"error_codes": ["RESOURCE_DOES_NOT_EXIST"]},
         Answer(404, JSON, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'),
         "ok", "ok (RESOURCE_DOES_NOT_EXIST)"),
        ({"statuses": [404]}, Answer(404, JSON, b"{}"), "ok", "ok"),
        ({"expect": "text"}, Answer(200, "text/html", b"3.17.2"), "ok", "ok"),
        ({"expect": "text"}, Answer(404, "text/html", b"<html>"),
         "critical", "404 with an HTML page"),
        ({"expect": "any"}, Answer(404, "text/html", b"<html>"), "ok", "reachable"),
        ({"expect": "any"}, Answer(502, JSON, b'{"error_code": "X"}'), "critical", "502 X"),
        ({"expect": "any"}, Answer(504, "", b""), "critical", "504"),
        ({"method": "HEAD"}, Answer(200, JSON, b""), "ok", "ok"),
    ],
)  # fmt: skip
def test_verdict(changes: dict[str, object], answer: Answer, state: str, message: str) -> None:
    """Each answer gives a verdict and a message."""
    probe = Probe.model_validate(API.model_dump() | changes)
    result = probing.verdict(probe, "http://proxy/", answer, 0.25)
    assert (result.state, result.message) == (state, message)
    assert result.success is (state in ("ok", "disabled"))
    assert result.url == f"http://proxy{API.path}"
    assert result.status_code == answer.status
    assert result.response_time == 0.25


def test_refused_credentials_are_critical() -> None:
    """A 401 to a request with credentials means that they are wrong."""
    answer = Answer(401, JSON, b'{"error_code": "UNAUTHENTICATED"}')
    result = probing.verdict(API, "http://proxy", answer, 0, authorization="Bearer x")
    assert (result.state, result.message) == ("critical", "401: the credentials were refused")


def test_an_expected_refusal() -> None:
    """A 403 with an expected code is not counted as refused credentials."""
    probe = Probe(name="x", path="/x", error_codes=["PERMISSION_DENIED"])
    answer = Answer(403, JSON, b'{"error_code": "PERMISSION_DENIED"}')
    known = probing.verdict(probe, "http://proxy", answer, 0, authorization="Bearer x")
    assert (known.state, known.message) == ("ok", "ok (PERMISSION_DENIED)")
    assert probing.verdict(probe, "http://proxy", answer, 0).state == "warning"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "ok"),
        (["ok", "disabled"], "ok"),
        (["ok", "warning"], "warning"),
        (["warning", "critical", "ok"], "critical"),
    ],
)
def test_overall(states: list[probing.State], expected: str) -> None:
    """The worst verdict wins."""
    results = [probing.Result("n", "u", 200, True, 0, "m", state) for state in states]
    assert probing.overall(results) == expected


def test_run_keeps_the_order_and_sends_bodies() -> None:
    """Probes run in parallel. Results keep the order; bodies and credentials are sent."""
    probes = [
        API,
        Probe(name="runs_api", method="POST", path="/api/runs", body={"max_results": 1}),
    ]
    with Upstream() as upstream:
        client = client_from_environment(f"{upstream.url}/base/", 5, {"MLFLOW_TRACKING_TOKEN": "t"})
        results = probing.run(client, probes)
    assert [(r.name, r.state) for r in results] == [("experiments_api", "ok"), ("runs_api", "ok")]
    by_target = {request.target: request for request in upstream.requests}
    assert set(by_target) == {"/base" + API.path, "/base/api/runs"}
    post = by_target["/base/api/runs"]
    assert json.loads(post.body) == {"max_results": 1}
    assert post.header("content-type") == ["application/json"]
    assert post.header("authorization") == ["Bearer t"]


def test_silence_ends_with_the_timeout() -> None:
    """An upstream that never answers takes the timeout and no longer."""
    with Upstream(silent) as upstream:
        client = client_from_environment(upstream.url, 0.2, {})
        result = probing.run(client, [API])[0]
    assert (result.state, result.message) == ("critical", "no answer within 0.2 s")


def test_garbage_is_an_answer_too() -> None:
    """An answer that is not HTTP is reported, neither raised nor retried."""
    with Upstream(b"garbage\r\n\r\n") as upstream:
        client = client_from_environment(upstream.url, 5, {})
        result = probing.run(client, [API])[0]
    assert (result.state, result.message) == ("critical", "no answer: BadStatusLine")


def test_write_probe_cleans_up_after_a_wrong_reading() -> None:
    """The artifact is deleted even if it was read back with other content."""
    with Upstream() as upstream:
        client = client_from_environment(upstream.url, 5, {})
        result = probing.write_probe(client)
    assert (result.state, result.message) == ("critical", "read back: 200")
    assert [r.head.split(b" ")[0] for r in upstream.requests] == [b"PUT", b"GET", b"DELETE"]
    assert len({r.target for r in upstream.requests}) == 1
