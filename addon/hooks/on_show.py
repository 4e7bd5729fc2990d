"""What mitmproxy shows of a flow: its marker, its comment, and the upstream's answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mitmproxy import ctx, flow, http

from ..observe import remarks
from ..routing import decision
from ..routing.decision import FAILED, SAID
from . import lean

_ORIGINAL = "mlflow_original"
"""Key in `flow.metadata`: the fields of `remarks.Original`."""

_REMARK = "mlflow_remark"
"""Key in `flow.metadata`: the marker and the comment that this addon has set."""

FILE_OPTIONS = frozenset({"save_stream_file", "hardump"})
"""mitmproxy options that write flows to a file."""


def goes_to_a_file() -> bool:
    """Return whether flows are written to a file."""
    return any(getattr(ctx.options, name) for name in FILE_OPTIONS if name in ctx.options)


def show_comments() -> None:
    """Add the comment to the columns of mitmweb's list, unless the user has chosen columns."""
    if "web_columns" not in ctx.options or lean.is_set(ctx.options, "web_columns"):
        return
    columns: list[str] = ctx.options.web_columns
    # Next to the marker, which is shown at the end of the path.
    columns.insert(columns.index("path") + 1, "comment")
    ctx.options.web_columns = columns


def keep_original(flow: http.HTTPFlow, original: remarks.Original) -> None:
    """Remember the upstream's answer."""
    flow.metadata[_ORIGINAL] = asdict(original)


def original(flow: flow.Flow) -> remarks.Original | None:
    """Return the upstream's answer, if it was converted."""
    kept = flow.metadata.get(_ORIGINAL)
    return remarks.Original(**kept) if kept else None


def forget(flow: http.HTTPFlow) -> None:
    """Drop the remembered answer of a flow that is sent again; it gets a new remark."""
    flow.metadata.pop(_ORIGINAL, None)


def show(flow: http.HTTPFlow) -> None:
    """Mark and comment a flow, but keep markers and comments that a user has changed."""
    if (decided := decision.of(flow)) is None:
        return
    status = flow.response.status_code if flow.response else None
    why = remarks.FAILURE if FAILED in flow.metadata else flow.metadata.get(SAID, "")
    before = _set_by_us(flow)
    now = remarks.remark(decided, status, why, original(flow))
    if now == before:
        return
    if flow.marked == before.marker:
        flow.marked = now.marker
    if flow.comment == before.comment:
        flow.comment = now.comment
    flow.metadata[_REMARK] = [*now]


def is_marked_by_hand(flow: flow.Flow) -> bool:
    """Return whether a user has marked the flow."""
    return bool(flow.marked) and flow.marked != _set_by_us(flow).marker


def _set_by_us(flow: flow.Flow) -> remarks.Remark:
    kept: Any = flow.metadata.get(_REMARK, ("", ""))
    return remarks.Remark(*kept)
