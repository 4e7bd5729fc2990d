"""The wording and the log lines of the proxy's own answers."""

import json
from collections.abc import Callable

import pytest
from mitmproxy import http
from support.assembled import Assembled, make_flow
from support.fixtures import UseRules

from addon.errors import replies
from addon.hooks import time_limits
from addon.routing import flow_state


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/2.0/mlflow-artifacts/artifacts/x", {}),
        ("/api/2.0/mlflow-artifacts/artifacts/x", {"x-request-id": "mine-1"}),
        ("/api/2.0/mlflow/x", {"origin": "https://evil.example"}),
        ("/api/2.0/mlflow/x", {"origin": "https://evil.example", "x-request-id": "a b\x1b"}),
    ],
)
def test_own_errors_are_logged(
    addon: Assembled,
    path: str,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The request id in the answer is also in the log: the client's own if it is safe to show."""
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


def expired(problem: replies.Problem) -> Callable[[Assembled, http.HTTPFlow], None]:
    """A time limit has ended this flow."""

    def end(addon: Assembled, flow: http.HTTPFlow) -> None:
        addon.traffic.time_limits._expired[flow.id] = problem

    return end


@pytest.mark.parametrize(
    ("before", "status", "message", "answered", "code", "why"),
    [
        (None, 400, "Bad request", 400, "BAD_REQUEST", "malformed"),
        (None, 408, "", 408, "DEADLINE_EXCEEDED", "body_timeout"),
        (None, 413, "", 413, "RESOURCE_LIMIT_EXCEEDED", "body_too_large"),
        (None, 431, "", 431, "BAD_REQUEST", "head_too_large"),
        (expired(replies.TOO_LARGE), 502, "", 413, "RESOURCE_LIMIT_EXCEEDED", "body_too_large"),
        (None, 502, "Connection refused", 502, "TEMPORARILY_UNAVAILABLE", "connection_refused"),
        (None, 502, "timed out", 504, "DEADLINE_EXCEEDED", "connection_timeout"),
        (None, 502, "[Errno 24] Too many open files", 503, "TEMPORARILY_UNAVAILABLE",
         "connection_limit_reached"),
        (expired(time_limits.NO_RESPONSE), 502, "reset", 504, "DEADLINE_EXCEEDED",
         "http_response_timeout"),
        (expired(time_limits.NO_DATA), 502, "reset", 504, "DEADLINE_EXCEEDED",
         "connection_read_timeout"),
    ],
)  # fmt: skip
def test_errors_without_an_answer(
    addon: Assembled,
    before: Callable[[Assembled, http.HTTPFlow], None] | None,
    status: int,
    message: str,
    answered: int,
    code: str,
    why: str,
) -> None:
    """mitmproxy's errors get a status, code and reason; its own words do not reach the client."""
    flow = make_flow("/api/2.0/mlflow/x?token=secret")
    addon.run("requestheaders", flow)
    if before is not None:
        before(addon, flow)
    reply = addon.traffic.answers.to_error(flow, status, f"{message} 10.1.2.3 secret")
    content = json.loads(reply.body)
    assert (reply.status, content["error_code"], reply.why) == (answered, code, why)
    assert "secret" not in reply.body.decode()
    assert "10.1.2.3" not in reply.body.decode()
    state = flow_state.of(flow)
    assert (state.answered, state.why) == (True, why)
    assert state.said in content["message"]


def test_a_late_head(addon: Assembled) -> None:
    """A late head has no flow, unlike a late body."""
    reply = addon.traffic.answers.to_error(None, 408, "")
    assert (reply.status, reply.why) == (408, "head_timeout")


def test_an_error_before_rules_are_loaded(bare: Assembled) -> None:
    """Even this answer has MLflow's format."""
    reply = bare.traffic.answers.to_error(None, 400, "")
    assert json.loads(reply.body)["error_code"] == "INTERNAL_ERROR"


def test_an_exception_while_an_error_is_written(
    addon: Assembled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second failure becomes an error too, with a line in the log."""

    def broken(*_: object) -> None:
        raise RuntimeError("cause")

    monkeypatch.setattr(replies, "explain", broken)
    reply = addon.traffic.answers.to_error(make_flow("/x"), 502, "")
    assert (reply.status, reply.why) == (500, "internal_error")
    assert "cause" in caplog.text


@pytest.mark.parametrize(
    ("origin", "readable"),
    [("https://lab.example", True), ("https://evil.example", False)],
)
def test_cors_headers_of_own_errors(
    addon: Assembled, use_rules: UseRules, origin: str, readable: bool
) -> None:
    """Pages of an allowed origin can read the proxy's own errors, also after a failure."""
    use_rules("origins: {allowed: ['https://lab.example']}")
    flow = make_flow("/x", headers={"origin": origin})
    addon.run("requestheaders", flow)
    for reply in (
        addon.traffic.answers.to_error(flow, 502, ""),
        addon.traffic.answers.after_failure(flow),
    ):
        allowed = dict(reply.headers).get("Access-Control-Allow-Origin")
        assert allowed == (origin if readable else None)


def test_probes_log_only_changes(addon: Assembled, caplog: pytest.LogCaptureFixture) -> None:
    """While an upstream is down, repeated probe failures give one line until something changes."""
    answers = addon.traffic.answers

    def fails(message: str, *, probe: bool = True, host: str = "registry.example") -> int:
        flow = make_flow("/api/2.0/mlflow/x", host=host)
        flow_state.of(flow).probe = probe
        caplog.clear()
        answers.to_error(flow, 502, message)
        return len(caplog.records)

    assert [fails("refused"), fails("refused"), fails("reset"), fails("reset")] == [1, 0, 1, 0]
    assert [fails("reset", host="other.example"), fails("reset", probe=False)] == [1, 1]
    flow = make_flow("/x", host="registry.example")
    state = flow_state.of(flow)
    answers.has_answered(flow, state)  # A client's request, or the proxy's own answer.
    state.probe = state.answered = True
    answers.has_answered(flow, state)
    assert fails("reset") == 0
    state.answered = False
    answers.has_answered(flow, state)
    assert fails("reset") == 1


def test_fail_closed(addon: Assembled, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the request is forwarded, and nothing of the upstream's answer is returned."""
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x", method="PUT")
    flow.request.stream = True
    try:
        raise RuntimeError("cause")
    except RuntimeError:
        addon.traffic.answers.fail_closed(flow)
    state = flow_state.of(flow)
    assert (flow.request.stream, state.hold, state.dropped) == (False, 0, True)
    assert flow.response is not None
    assert flow.response.status_code == 500
    assert state.failed == flow.response.headers["x-request-id"]
    assert state.failed in caplog.text
    assert addon.traffic.answers.after_failure(flow).status == 500
