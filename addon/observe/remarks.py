"""The marker and the comment on a flow, for people who look at flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..protocol import bodies
from ..protocol.target import shown
from ..routing.decision import Decision

HEALTH = "health"
"""The reason in the comment on a health request."""

FAILURE = "internal error of the proxy"
"""The reason in the comment on a flow that one of our exceptions has ended."""

REDIRECT = "the page of a mount ends with a slash"
"""The reason in the comment on a redirect of a browser."""

_REWRITTEN = ":arrow_right:"
_CONVERTED = ":wrench:"
_LOGIN = ":key:"
_HEALTHY = ":green_heart:"
_REFUSED = ":no_entry:"
_FAILED = ":boom:"
_MARKERS = {HEALTH: _HEALTHY, FAILURE: _FAILED, REDIRECT: _REWRITTEN}


class Remark(NamedTuple):
    """A marker and a comment; both are empty for a flow that the proxy did not change."""

    marker: str
    """The name of an emoji in mitmproxy."""
    comment: str


@dataclass(frozen=True, slots=True)
class Original:
    """The upstream's answer, if the client got another one.

    Plain values, because mitmproxy writes them to flow files.
    """

    status: int
    content_type: str
    encoding: str
    """The Content-Encoding header, "" if there is none."""
    body: bytes
    """As much of it as was held."""
    whole: bool
    """Whether that is the whole body."""


def remark(decided: Decision, status: int | None, why: str, original: Original | None) -> Remark:
    """Return the remark on a flow, with the most important part first.

    Args:
        decided: the decision for the flow.
        status: the status for the client; None while it is not known.
        why: why the proxy itself has answered, "" if it has not.
        original: the upstream's answer, if it was converted.
    """
    marker, said = "", []
    if why:
        marker = _MARKERS.get(why, _REFUSED)
        said.append(f"{why} (answered {status})")
    if original is not None:
        marker = marker or (_LOGIN if decided["login"] or decided["page"] else _CONVERTED)
        became = "json" if status == original.status else f"json {status}"
        said.append(f"{_kind(decided, original)} {original.status} -> {became}")
    sent = shown(decided["sent"])
    if decided["rule"] and sent != decided["received"]:
        marker = marker or _REWRITTEN
        said.append(bodies.printable(f"{decided['rule']}: {decided['received']} -> {sent}"))
    return Remark(marker, "; ".join(said))


def _kind(decided: Decision, original: Original) -> str:
    """Return the kind of a body, in a word or two."""
    content_type = original.content_type
    if decided["login"]:
        return "login redirect"
    if decided["page"]:
        return "login page"
    if not original.body:
        return "empty"
    if bodies.is_html(content_type):
        return "html"
    if bodies.is_json(content_type):
        return "json"
    return "xml" if "xml" in content_type.lower() else "text"
