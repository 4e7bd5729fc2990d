"""Flows with the state of a routed request."""

from __future__ import annotations

from typing import Any

from mitmproxy import http

from addon.routing import flow_state
from addon.routing.flow_state import METADATA, FlowState
from addon.routing.routes import Route

RECEIVED = "/api/2.0/a"


def begun(flow: http.HTTPFlow, *, rule: str | None = "rest-to-ajax", **fields: Any) -> FlowState:
    """Give a flow the state of a rewritten request, with other values for some fields."""
    state = flow_state.put(flow, FlowState())
    state.route = Route(None, RECEIVED, RECEIVED, rule=rule)
    values = {"received": RECEIVED, "sent": "/ajax-api/2.0/a?token=hidden", **fields}
    for name, value in values.items():
        setattr(state, name, value)
    flow.metadata[METADATA] = {"received": state.received, "mount": "", "authority": ""}
    return state
