"""The retry of a request under the other API prefix."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from mitmproxy import http
from support.assembled import Assembled, make_flow
from support.fixtures import UseRules

from addon.hooks.second_try import SecondTry
from addon.routing import flow_state
from addon.routing.flow_state import FlowState

UNCLEAR = ("unclear.example", 80)
PATH = "/mlflow/api/2.0/mlflow/runs/get"
PAGE = {"content-type": "text/html"}
JSON = {"content-type": "application/json"}


def second(addon: Assembled) -> SecondTry:
    addon.traffic.dialects.watch.unclear.add(UNCLEAR)
    return addon.traffic.second_try


def begin(tries: SecondTry, flow: http.HTTPFlow) -> bool:
    """Start a retry in an event loop, which its time limit needs."""

    async def run() -> bool:
        return tries.begin(flow)

    return asyncio.run(run())


def asked(addon: Assembled, path: str = PATH, method: str = "GET") -> http.HTTPFlow:
    """A flow after its decision and its first answer: an HTML 404."""
    flow = make_flow(path, method=method, host=UNCLEAR[0])
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(404, b"<html>", PAGE)
    return flow


def test_retry_under_the_other_prefix(addon: Assembled) -> None:
    """The retry differs in its path only, and its state is new."""
    tries = second(addon)
    flow = asked(addon, f"{PATH}?run_id=1")
    first = flow_state.of(flow)
    assert flow.request.path == "/api/2.0/mlflow/runs/get?run_id=1"
    assert begin(tries, flow)
    state = flow_state.of(flow)
    assert (flow.request.path, flow.response) == ("/ajax-api/2.0/mlflow/runs/get?run_id=1", None)
    assert state.first is not None
    assert state.first.state is first is not state
    assert (state.received, state.mount) == (PATH, "/mlflow")


def answered(status: int, content: bytes, headers: dict[str, str]) -> Callable[..., None]:
    def change(_: Assembled, flow: http.HTTPFlow) -> None:
        flow.response = http.Response.make(status, content, headers)

    return change


def clear(addon: Assembled, _: http.HTTPFlow) -> None:
    addon.traffic.dialects.watch.unclear.clear()


def streamed(_: Assembled, flow: http.HTTPFlow) -> None:
    flow.request.stream = True


def with_trailers(_: Assembled, flow: http.HTTPFlow) -> None:
    flow.request.trailers = http.Headers(a="b")


def by_the_proxy(_: Assembled, flow: http.HTTPFlow) -> None:
    flow_state.of(flow).answered = True


def twice(addon: Assembled, flow: http.HTTPFlow) -> None:
    assert begin(addon.traffic.second_try, flow)
    flow.response = http.Response.make(404, b"<html>", PAGE)


def without_an_answer(_: Assembled, flow: http.HTTPFlow) -> None:
    flow.response = None


@pytest.mark.parametrize(
    "change",
    [
        answered(200, b"{}", JSON),
        answered(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', JSON),
        answered(500, b"<html>", PAGE),
        clear,
        streamed,
        with_trailers,
        by_the_proxy,
        twice,
        without_an_answer,
    ],
)
def test_requests_without_a_retry(addon: Assembled, change: Callable[..., None]) -> None:
    """Nothing changes if a retry cannot help or the request cannot be sent again."""
    tries = second(addon)
    flow = asked(addon)
    change(addon, flow)
    before = (flow.request.path, flow.response, flow_state.of(flow))
    assert not begin(tries, flow)
    assert (flow.request.path, flow.response, flow_state.of(flow)) == before


@pytest.mark.parametrize(
    ("method", "path", "again"),
    [
        ("POST", "/api/2.0/mlflow/runs/search", True),
        ("POST", "/api/2.0/mlflow/runs/create", False),
        ("DELETE", PATH, False),
        # The other prefix makes no difference here.
        ("GET", "/version", False),
    ],
)
def test_requests_that_change_something(
    addon: Assembled, method: str, path: str, again: bool
) -> None:
    """They are sent only once."""
    tries = second(addon)
    assert begin(tries, asked(addon, path, method)) is again


def test_the_switch_applies_to_the_retry(addon: Assembled, use_rules: UseRules) -> None:
    """There is no retry if the switch would refuse it."""
    use_rules(
        "rewrites: [{name: r, match: ^/api/, replace: /ajax-api/, upstream: external}]\n"
        "artifacts: {enabled: false, endpoints: [{path: /ajax-api/files}]}"
    )
    tries = second(addon)
    flow = make_flow("/api/files", host=UNCLEAR[0])
    state = flow_state.of(flow)
    addon.run("requestheaders", flow)
    assert flow.response is None
    flow.response = http.Response.make(404, b"<html>", PAGE)
    metadata = dict(flow.metadata)
    assert not begin(tries, flow)
    assert (flow.request.path, flow_state.of(flow)) == ("/api/files", state)
    assert flow.metadata == metadata


@pytest.mark.parametrize(
    ("path", "status", "content", "headers", "stream", "counts", "learned"),
    [
        (PATH, 200, b"{}", JSON, False, True, "ajax"),
        (PATH, 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', JSON, False, True, "ajax"),
        (PATH, 200, b"", JSON, True, True, "ajax"),
        (PATH, 404, b"", PAGE, True, True, None),  # It is already being sent.
        (PATH, 404, b"<html>", PAGE, False, False, None),
        (PATH, 401, b"<html>", PAGE, False, False, None),
        (PATH, 502, b"", {}, False, True, None),
        # An artifact's content may be anything, even something that looks like the API.
        ("/mlflow/api/2.0/mlflow-artifacts/artifacts/x", 200, b"{}", JSON, False, True, None),
    ],
)
def test_the_client_gets_one_of_two_answers(
    addon: Assembled,
    path: str,
    status: int,
    content: bytes,
    headers: dict[str, str],
    stream: bool,
    counts: bool,
    learned: str | None,
) -> None:
    """The retry's answer counts if it says more. The proxy then knows the dialect."""
    tries = second(addon)
    flow = asked(addon, path)
    first, before = flow_state.of(flow), flow.response
    sent = flow.request.path
    assert begin(tries, flow)
    state = flow_state.of(flow)
    assert state.first is not None
    flow.response = http.Response.make(status, content, headers)
    flow.response.stream = stream
    settled = tries.settle(flow, state, state.first)
    assert settled is flow_state.of(flow) is (state if counts else first)
    assert (flow.response is before) is not counts
    assert (flow.request.path == sent) is not counts
    found = addon.traffic.dialects.watch.findings.get(UNCLEAR)
    assert (found and found.dialect) == learned


def test_an_answer_from_the_proxy_itself(addon: Assembled) -> None:
    """It says nothing about the upstream, and the client gets it."""
    tries = second(addon)
    flow = asked(addon)
    assert begin(tries, flow)
    state = flow_state.of(flow)
    state.answered = True
    flow.response = http.Response.make(404, b"<html>", PAGE)
    assert state.first is not None
    assert tries.settle(flow, state, state.first) is state
    assert flow.response.status_code == 404
    assert not addon.traffic.dialects.watch.findings


@pytest.mark.parametrize(("replay", "host", "kept"), [
    (None, UNCLEAR[0], "/a?b"), ("request", UNCLEAR[0], ""), (None, "clear.example", ""),
])  # fmt: skip
def test_remembered_paths(addon: Assembled, replay: str | None, host: str, kept: str) -> None:
    """The raw path is remembered only if a retry may need it."""
    flow, state = make_flow("/a?b", host=host), FlowState()
    flow.is_replay = replay
    second(addon).remember(flow, state)
    assert state.asked == kept
