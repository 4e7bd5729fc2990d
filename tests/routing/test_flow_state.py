"""The state object of a flow."""

from __future__ import annotations

from mitmproxy.test import tflow

from addon.routing import flow_state, settings
from addon.routing.flow_state import FlowState
from addon.rules.rules_file import DEFAULT_PATH


def test_one_state_per_flow() -> None:
    """A flow's state is created at first use and stays until the flow is sent again."""
    flow, other = tflow.tflow(), tflow.tflow()
    first = flow_state.of(flow)
    assert flow_state.of(flow) is first
    assert flow_state.of(other) is not first
    again = flow_state.put(flow, FlowState("proxy.example"))
    assert flow_state.of(flow) is again is not first
    assert again.authority == "proxy.example"


def test_a_copy_gets_a_new_state() -> None:
    """A copy of a flow, as mitmproxy replays it, gets a new state."""
    flow = tflow.tflow()
    flow_state.of(flow).converted = "html"
    assert flow_state.of(flow.copy()).converted == ""


def test_begin() -> None:
    """A new state takes over the values that depend only on the path."""
    in_force = settings.read(DEFAULT_PATH, None, "")
    path = "/mlflow/api/2.0/mlflow-artifacts/artifacts/a%20b"
    state, route = FlowState(), in_force.router.route(path, ())
    state.begin(route, in_force, f"{path}?token=secret")
    assert (state.route, state.settings, state.sent) == (route, in_force, f"{path}?token=secret")
    assert (state.received, state.mount) == (route.shown, "/mlflow")
    assert (state.api, state.family, state.artifact) == (True, "artifacts", True)
    assert (state.file, state.graphql_fields, state.answered) == (False, (), False)
