"""What was decided for a flow: made once from its request, and asked by every later hook."""

from __future__ import annotations

from typing import TypedDict

from mitmproxy import http

DECISION = "mlflow"
"""Key in `flow.metadata`."""


FAILED = "mlflow_failed"
"""Key in `flow.metadata`: the request id of a flow that an exception of ours has ended."""

WHY = "mlflow_why"
"""Key in `flow.metadata`: why the proxy has answered by itself."""

FORWARDED = "mlflow_forwarded"
"""Key in `flow.metadata`: what `forwarded.Forwarded` holds, where the rules ask for it."""


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
    artifact: bool
    """Whether the bodies are artifacts."""
    file: bool
    """Whether the answer is the bytes of an artifact, which may be HTML."""
    request_id: str
    """Under which it went upstream; "" if it did not."""
    trace: str
    """Its traceparent."""
    answered: bool
    """Whether the proxy answered by itself."""
    graphql_fields: list[str]
    """The fields that the body must not name."""
    page: bool
    """Whether the answer may be a page that nobody asked for."""
    login: str | None
    """The place of the login page that the upstream redirects to."""
    upstream_status: int | None
    """What the upstream answered."""
    converted: bool
    """Whether the upstream's error was put in other words."""


def of(flow: http.HTTPFlow) -> Decision | None:
    """The decision for a flow; None for one that is not ours."""
    decided: Decision | None = flow.metadata.get(DECISION)
    return decided
