"""The marker and the comment on a flow, for people who look at flows."""

from __future__ import annotations

from typing import NamedTuple

from ..errors.upstream import Answer
from ..hooks.answering import HEALTH
from ..protocol import bodies
from ..protocol.target import shown
from ..routing.admission import TO_THE_PAGE
from ..routing.flow_state import FlowState

FAILURE = "internal error of the proxy"
"""The reason in the comment on a flow that one of our exceptions has ended."""

_REWRITTEN = ":arrow_right:"
_CONVERTED = ":wrench:"
_LOGIN = ":key:"
_HEALTHY = ":green_heart:"
_REFUSED = ":no_entry:"
_FAILED = ":boom:"
_MARKERS = {HEALTH: _HEALTHY, FAILURE: _FAILED, TO_THE_PAGE: _REWRITTEN}


class Remark(NamedTuple):
    """A marker and a comment; both are empty for a flow that the proxy did not change."""

    marker: str
    """The name of an emoji in mitmproxy."""
    comment: str


def remark(state: FlowState, status: int | None) -> Remark:
    """Return the remark on a flow, with the most important part first.

    Args:
        state: of the flow.
        status: the status for the client; None while it is not known.
    """
    marker, said, original = "", [], state.original
    if why := FAILURE if state.failed else state.said:
        marker = _MARKERS.get(why, _REFUSED)
        said.append(f"{why} (answered {status})")
    if original is not None:
        marker = marker or (_LOGIN if state.login or state.page else _CONVERTED)
        became = "json" if status == original.status else f"json {status}"
        said.append(f"{_kind(state, original)} {original.status} -> {became}")
    rule, sent = state.route and state.route.rule, shown(state.sent)
    if rule and sent != state.received:
        marker = marker or _REWRITTEN
        said.append(bodies.printable(f"{rule}: {state.received} -> {sent}"))
    return Remark(marker, "; ".join(said))


def _kind(state: FlowState, original: Answer) -> str:
    """Return the kind of a body, in a word or two."""
    content_type = original.content_type
    if state.login:
        return "login redirect"
    if state.page:
        return "login page"
    if not original.body:
        return "empty"
    if bodies.is_html(content_type):
        return "html"
    if bodies.is_json(content_type):
        return "json"
    return "xml" if "xml" in content_type.lower() else "text"
