"""What was decided for a flow: made once from its request, and asked by every later hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from .families import Family

if TYPE_CHECKING:
    from mitmproxy import http

Conversion = Literal["login_redirect", "login_page", "https_redirect", "html", "json", "other"]
"""What is put in other words: a redirect to a login or to https, a page, an error with a body."""

DECISION = "mlflow"
"""Key in `flow.metadata`."""

FAILED = "mlflow_failed"
"""Key in `flow.metadata`: the request id of a flow that an exception of ours has ended."""

FORWARDED = "mlflow_forwarded"
"""Key in `flow.metadata`: what `forwarded.Forwarded` holds, where the rules ask for it."""

WHY = "mlflow_why"
"""Key in `flow.metadata`: why the proxy answered with an error of its own (see `Reply.why`)."""

SAID = "mlflow_said"
"""Key in `flow.metadata`: the same for people, and of every answer of the proxy's own."""


class Decision(TypedDict):
    """What was decided for a flow: plain values, because mitmproxy writes them to flow files."""

    received: str
    """Path as the client sent it, as it may be shown (see `target.shown`)."""
    sent: str
    """Path and query that go upstream."""
    mount: str
    rule: str | None
    """Name of the rewrite rule that changed the path."""
    paths: list[str]
    """The path as a server reads it, here and where it goes if a rule has changed it."""
    api: bool
    """Whether errors have to be JSON."""
    family: Family
    """What it is for; "health" also if it is a probe of ours."""
    probe: bool
    """Whether the proxy itself asks: a health check, or what the upstream speaks."""
    artifact: bool
    """Whether the bodies are artifacts."""
    file: bool
    """Whether the answer is the bytes of an artifact, which may be HTML."""
    names: tuple[tuple[bytes, bytes], tuple[bytes, bytes]] | None
    """The headers (see `request_ids`) by which it went upstream; None if it did not."""
    answered: bool
    """Whether the proxy answered by itself."""
    graphql_fields: list[str]
    """The fields that the body must not name."""
    page: bool
    """Whether the answer may be a page that nobody asked for."""
    login: str | None
    """The place of the login page that the upstream redirects to."""
    secure: str | None
    """The URL by which the upstream has to be used, where it redirects to https alone."""
    upstream_status: int | None
    """What the upstream answered."""
    converted: Conversion | Literal[""]
    """What was put in other words; "" if nothing was."""


def of(flow: http.HTTPFlow) -> Decision | None:
    """The decision for a flow; None for one that is not ours."""
    decided: Decision | None = flow.metadata.get(DECISION)
    return decided
