"""The decision for a flow: made once from its request, and read by every later hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from .families import Family

if TYPE_CHECKING:
    from mitmproxy import http

Conversion = Literal["login_redirect", "login_page", "https_redirect", "html", "json", "other"]
"""Kinds of answers that are converted: a redirect to a login or to https, a page, an error."""

DECISION = "mlflow"
"""Key in `flow.metadata`."""

FAILED = "mlflow_failed"
"""Key in `flow.metadata`: the request id of a flow that one of our exceptions has ended."""

FORWARDED = "mlflow_forwarded"
"""Key in `flow.metadata`: the values of `forwarded.Forwarded`, if the rules need them."""

WHY = "mlflow_why"
"""Key in `flow.metadata`: why the proxy answered with its own error (see `Reply.why`)."""

SAID = "mlflow_said"
"""Key in `flow.metadata`: the same in words, for every answer of the proxy itself."""


class Decision(TypedDict):
    """The decision for a flow: plain values, because mitmproxy writes them to flow files."""

    received: str
    """Path as the client sent it, safe to show (see `target.shown`)."""
    sent: str
    """Path and query that go upstream."""
    mount: str
    rule: str | None
    """Name of the rewrite rule that changed the path."""
    paths: list[str]
    """The path as a server reads it, here and, if a rule has changed it, upstream."""
    api: bool
    """Whether errors have to be JSON."""
    family: Family
    """The purpose of the request; "health" also for our own probes."""
    probe: bool
    """Whether the proxy itself sent it: for a health check, or to detect the dialect."""
    artifact: bool
    """Whether the bodies are artifacts."""
    file: bool
    """Whether the answer is the bytes of an artifact, which may be HTML."""
    names: tuple[tuple[bytes, bytes], tuple[bytes, bytes]] | None
    """The ids (see `request_ids`) with which it went upstream; None if it did not."""
    answered: bool
    """Whether the proxy itself answered."""
    graphql_fields: list[str]
    """The GraphQL fields that the body must not contain."""
    page: bool
    """Whether the answer may be an unwanted page."""
    login: str | None
    """The place of the login page that the upstream redirects to."""
    secure: str | None
    """The URL that has to be used for the upstream, if it only redirects to https."""
    upstream_status: int | None
    """The upstream's status."""
    converted: Conversion | Literal[""]
    """The kind of answer that was converted; "" if none was."""


def of(flow: http.HTTPFlow) -> Decision | None:
    """Return the decision for a flow; None if the flow is not for MLflow."""
    decided: Decision | None = flow.metadata.get(DECISION)
    return decided
