"""The marker and the comment on a flow, for people who look at flows."""

from __future__ import annotations

from collections.abc import Mapping
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

WORDS: Mapping[str, str] = {
    "ambiguous_target": "ambiguous",
    "artifacts_disabled": "disabled",
    "body_timeout": "body stalled",
    "body_too_large": "too large",
    "foreign_host": "foreign host",
    "foreign_origin": "foreign origin",
    "head_timeout": "late head",
    "head_too_large": "too large",
    "internal_error": "internal error",
    "malformed": "malformed",
    "not_mounted": "not mounted",
    "operation_refused": "refused",
    "too_many_connections": "busy",
    "too_many_requests": "busy",
    "too_much_held": "busy",
    "connection_limit_reached": "no open files",
    "connection_read_timeout": "timeout",
    "connection_refused": "not listening",
    "connection_terminated": "no answer",
    "connection_timeout": "timeout",
    "connection_write_timeout": "timeout",
    "destination_ip_unroutable": "no route",
    "destination_unavailable": "no connection",
    "dns_error": "unknown name",
    "http_protocol_error": "not HTTP",
    "http_response_header_section_size": "large headers",
    "http_response_timeout": "timeout",
    "tls_certificate_error": "certificate",
    "tls_protocol_error": "TLS failed",
}
"""Why the proxy answered with its own error (see `Reply.why`), in `SHORT` with the status."""

SHORT = 18
"""Characters of a comment that mitmweb's list shows."""


class Remark(NamedTuple):
    """A marker and a comment; both are empty for a flow that the proxy did not change."""

    marker: str
    """The name of an emoji in mitmproxy."""
    comment: str


def remark(state: FlowState, status: int | None) -> Remark:
    """Return the remark on a flow, with the most important part in its first characters.

    Args:
        state: of the flow.
        status: the status for the client; None while it is not known.
    """
    marker, said, original = "", [], state.original
    if why := FAILURE if state.failed else state.said:
        marker = _MARKERS.get(why, _REFUSED)
        said += [f"{status} {_word(state, why)}", f"answered by the proxy: {why}"]
    if original is not None:
        marker = marker or (_LOGIN if state.converted.startswith("login") else _CONVERTED)
        became = "json" if status == original.status else f"json {status}"
        said.append(f"{_kind(state, original)} {original.status} -> {became}")
    rule, sent = state.route and state.route.rule, shown(state.sent)
    if rule and sent != state.received:
        marker = marker or _REWRITTEN
        said.append(bodies.printable(f"rewritten by {rule}: {state.received} -> {sent}"))
    if state.first is not None:
        said.append("second try")
    if state.authorization:
        said.append("credentials added")
    return Remark(marker, "; ".join(said))


def _word(state: FlowState, why: str) -> str:
    if why == HEALTH:
        return "health"
    if why == TO_THE_PAGE:
        return "slash added"
    return WORDS.get("internal_error" if state.failed else state.why, "refused")


def _kind(state: FlowState, original: Answer) -> str:
    """Return the kind of an answer, in a word or two."""
    if state.converted in ("html", "json", "other"):
        if not original.body:
            return "empty"
        if state.converted == "other":
            return "xml" if "xml" in original.content_type.lower() else "text"
    return state.converted.replace("_", " ")
