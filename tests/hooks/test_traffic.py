"""A flow's way through the hooks: decided once, again for a replay, refused after a failure."""

import asyncio
import io
from typing import Any

import pytest
from mitmproxy import io as flow_io
from support.assembled import Assembled, make_flow, respond
from support.fixtures import UseRules

from addon.mitmweb import shown
from addon.protocol import target
from addon.registry import health_service
from addon.routing import flow_state
from addon.rules.rules_file import DEFAULT_PATH as RULES


def test_request_decides_on_undecided_flows(addon: Assembled) -> None:
    """A flow that has skipped requestheaders is rewritten in request."""
    flow = make_flow("/api/2.0/mlflow/runs/get")
    addon.run("request", flow)
    assert flow.request.path == "/ajax-api/2.0/mlflow/runs/get"


def test_hooks_decide_once(addon: Assembled, use_rules: UseRules) -> None:
    """The second hook changes nothing, even if a rule would match its own result."""
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


@pytest.mark.parametrize(
    ("edited", "sent", "received"),
    [
        # As mitmweb shows it, and as it went upstream.
        ("/mlflow/api/2.0/mlflow/y?z", "/base/ajax-api/2.0/mlflow/y?z", "/mlflow/api/2.0/mlflow/y"),
        ("/base/ajax-api/2.0/mlflow/y", *["/base/ajax-api/2.0/mlflow/y"] * 2),
        ("/api/2.0/mlflow/y", "/base/ajax-api/2.0/mlflow/y", "/api/2.0/mlflow/y"),
        ("/mlflowers", "/base/mlflowers", "/mlflowers"),
    ],
)
def test_an_edited_path_is_replayed(
    addon: Assembled, use_rules: UseRules, edited: str, sent: str, received: str
) -> None:
    """A path that was edited before the replay goes through the rules, with its mount."""
    use_rules(RULES.read_text().replace('base_path: ""', "base_path: /base"))
    flow = make_flow("/mlflow/api/2.0/mlflow/x")
    addon.run("requestheaders", flow)
    shown.show(flow)
    again = flow.copy()
    again.live, again.is_replay, again.request.path = True, "request", edited
    for hook in ("requestheaders", "request"):
        addon.run(hook, again)
        shown.show(again)
    state = flow_state.of(again)
    assert (again.request.path, state.received, state.mount) == (sent, received, "/mlflow")


def test_replay_does_not_pass_the_switch(addon: Assembled) -> None:
    """A replayed flow is refused if artifacts were switched off in the meantime."""
    flow = make_flow("/api/2.0/mlflow-artifacts/artifacts/x")
    addon.run("requestheaders", flow)
    assert flow.response is None
    addon.options(mlflow_serve_artifacts="false")
    flow.is_replay = "request"
    addon.run("request", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


def test_flows_can_be_saved(addon: Assembled) -> None:
    """The metadata of our flows can be stored in a flow file (mitmdump -w)."""
    flow = make_flow("/api/2.0/mlflow/x")
    addon.run("requestheaders", flow)
    file = io.BytesIO()
    flow_io.FlowWriter(file).add(flow)
    file.seek(0)
    (loaded,) = flow_io.FlowReader(file).stream()
    assert loaded.metadata == flow.metadata
    assert loaded.metadata[flow_state.METADATA]["received"] == "/api/2.0/mlflow/x"


def test_a_replayed_flow_forgets_the_first_time(addon: Assembled) -> None:
    """An error of the first attempt does not cut the replay's answer."""
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


@pytest.mark.parametrize("path", ["/livez", "/mlflow/livez", "/api/mlflow/livez"])
def test_livez(addon: Assembled, path: str) -> None:
    """The proxy answers /livez itself, under every mount."""
    flow = make_flow(path)
    answer = addon.run("requestheaders", flow)
    assert answer is not None
    asyncio.run(_await(answer))
    assert flow.response is not None
    assert flow.response.json() == {"status": "alive"}


async def _await(answer: Any) -> None:
    await answer


def test_health_goes_upstream(addon: Assembled) -> None:
    """/health belongs to MLflow."""
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
    """A bug in a decision gives a 500 and one log line; the request is not forwarded."""

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


"""mitmweb's default."""


@pytest.mark.parametrize("suffix", ["", health_service.AS_IT_IS])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_switch_applies_to_our_own_requests(
    use_rules: UseRules, addon: Assembled, suffix: str, method: str
) -> None:
    """The proxy's own requests skip the other checks, but not the switch."""
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


def test_requests_are_refused_without_rules(bare: Assembled) -> None:
    """No connection is opened either, even in the moment before the proxy ends."""
    flow = make_flow("/api/2.0/mlflow/x")
    assert not bare.traffic.may_go(flow)
    assert flow.response is not None
    assert flow.response.status_code == 500
    bare.run("client_connected", flow.client_conn)
    assert flow.client_conn.error == "no rules are loaded"
