"""The second try of a request under the other prefix."""

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
    """Begin a second try in an event loop, for its time limit."""

    async def run() -> bool:
        return tries.begin(flow)

    return asyncio.run(run())


def asked(addon: Assembled, path: str = PATH, method: str = "GET") -> http.HTTPFlow:
    """A flow that is decided and has the first answer: a page that says 404."""
    flow = make_flow(path, method=method, host=UNCLEAR[0])
    addon.run("requestheaders", flow)
    flow.response = http.Response.make(404, b"<html>", PAGE)
    return flow


def test_under_the_other_prefix(addon: Assembled) -> None:
    """The request is the same but for its path, and its state is a new one."""
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
def test_no_second_try(addon: Assembled, change: Callable[..., None]) -> None:
    """If it cannot help, or cannot be sent again, nothing is changed."""
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
    """They are sent once."""
    tries = second(addon)
    assert begin(tries, asked(addon, path, method)) is again


def test_the_switch_holds_for_it(addon: Assembled, use_rules: UseRules) -> None:
    """A request that would be refused under the other prefix stays as it was."""
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
        (PATH, 404, b"", PAGE, True, True, None),  # It is on its way already.
        (PATH, 404, b"<html>", PAGE, False, False, None),
        (PATH, 401, b"<html>", PAGE, False, False, None),
        (PATH, 502, b"", {}, False, True, None),
        # The content of an artifact may be anything, also what looks like the API.
        ("/mlflow/api/2.0/mlflow-artifacts/artifacts/x", 200, b"{}", JSON, False, True, None),
    ],
)
def test_the_answer_that_counts(
    addon: Assembled,
    path: str,
    status: int,
    content: bytes,
    headers: dict[str, str],
    stream: bool,
    counts: bool,
    learned: str | None,
) -> None:
    """The second one if it says more, and then the proxy knows the dialect."""
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


def test_an_answer_of_the_proxy_itself(addon: Assembled) -> None:
    """It says nothing of the upstream, and is what the client gets."""
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
def test_what_is_remembered(addon: Assembled, replay: str | None, host: str, kept: str) -> None:
    """The path as it came, only where a second try may need it."""
    flow, state = make_flow("/a?b", host=host), FlowState()
    flow.is_replay = replay
    second(addon).remember(flow, state)
    assert state.asked == kept
