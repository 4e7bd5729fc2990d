"""What a person sees of a flow: its marker, its comment, and the upstream's answer.

Plain values go into `flow.metadata`, because mitmproxy writes it to flow files.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mitmproxy import flow, http

from ..errors.upstream import Answer
from ..routing import flow_state
from ..routing.flow_state import METADATA
from . import remarks

_ORIGINAL = "original"
_REMARK = "mlflow_remark"
"""Key in `flow.metadata`: the marker and the comment that this addon has set."""


def show(flow: http.HTTPFlow) -> None:
    """Mark and comment a flow, but keep markers and comments that a user has changed."""
    state = flow_state.of(flow)
    if state.route is None:
        return
    flow.metadata[METADATA] |= {
        "sent": state.sent,
        "rule": state.route.rule,
        "family": state.family,
        "api": state.api,
        "file": state.file,
        _ORIGINAL: asdict(state.original) if state.original else None,
    }
    before = _set_by_us(flow)
    now = remarks.remark(state, flow.response.status_code if flow.response else None)
    if now == before:
        return
    if flow.marked == before.marker:
        flow.marked = now.marker
    if flow.comment == before.comment:
        flow.comment = now.comment
    flow.metadata[_REMARK] = [*now]


def is_json_of_api(flow: flow.Flow | None) -> bool:
    """Return whether an answer may be JSON of MLflow's API, and not an artifact."""
    kept = _kept(flow)
    return bool(kept.get("api")) and not kept.get("file")


def original(flow: flow.Flow | None) -> Answer | None:
    """Return the upstream's answer, if it was converted."""
    kept = _kept(flow).get(_ORIGINAL)
    return Answer(**kept) if kept else None


def received(flow: http.HTTPFlow) -> str | None:
    """Return the client's path; None if the flow's is no longer the one that was made of it."""
    kept = _kept(flow)
    return kept.get("received") if kept.get("sent") == flow.request.path else None


def is_marked_by_hand(flow: flow.Flow) -> bool:
    """Return whether a user has marked the flow."""
    return bool(flow.marked) and flow.marked != _set_by_us(flow).marker


def _kept(flow: flow.Flow | None) -> dict[str, Any]:
    kept: dict[str, Any] = flow.metadata.get(METADATA, {}) if flow is not None else {}
    return kept


def _set_by_us(flow: flow.Flow) -> remarks.Remark:
    kept: Any = flow.metadata.get(_REMARK, ("", ""))
    return remarks.Remark(*kept)
