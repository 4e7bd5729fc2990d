"""What a person who looks at flows reads about one: a marker and a comment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..protocol import bodies
from ..protocol.target import shown
from ..routing.decision import Decision

HEALTH = "health"
"""Why the proxy has answered a health request."""

FAILURE = "internal error of the proxy"
"""Why the proxy has answered what an exception of ours has ended."""

REDIRECT = "the page of a mount ends with a slash"
"""Why the proxy has redirected a browser."""

_REWRITTEN = ":arrow_right:"
_CONVERTED = ":wrench:"
_LOGIN = ":key:"
_HEALTHY = ":green_heart:"
_REFUSED = ":no_entry:"
_FAILED = ":boom:"
_MARKERS = {HEALTH: _HEALTHY, FAILURE: _FAILED, REDIRECT: _REWRITTEN}


class Remark(NamedTuple):
    """Both are empty for a flow that the proxy passed on as it was."""

    marker: str
    """An emoji's name as mitmproxy knows it."""
    comment: str


@dataclass(frozen=True, slots=True)
class Original:
    """What the upstream had sent where the client got something else.

    Plain values, because mitmproxy writes them to flow files.
    """

    status: int
    content_type: str
    encoding: str
    """The Content-Encoding header, "" if there is none."""
    body: bytes
    """As far as it was held."""
    whole: bool
    """Whether that is all of it."""


def remark(decided: Decision, status: int | None, why: str, original: Original | None) -> Remark:
    """Word what was done to a flow, what matters most first.

    Args:
        decided: what was decided for it.
        status: what the client gets; None while that is not known.
        why: why the proxy has answered by itself, "" if it has not.
        original: what the upstream had sent, if that was converted.
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
    """What a body is, in a word."""
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
