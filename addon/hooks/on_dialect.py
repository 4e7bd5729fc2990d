"""Send a request that finds no API under one prefix again under the other prefix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import http

from ..errors.replies import Problem
from ..protocol import bodies
from ..protocol.headers import read as read_headers
from ..registry import dialect
from ..registry.health import Answer
from ..routing import decision
from ..routing.decision import Decision
from ..routing.settings import Settings
from . import on_request
from .answering import RefusedError

_ASKED = "_mlflow_asked"
"""Attribute of a flow: path and query as the client sent them, if they may be needed again."""
_FIRST = "_mlflow_first"
"""Attribute of a flow that is sent a second time: the result of the first try."""


@dataclass(frozen=True, slots=True)
class First:
    """The result of a request under the first prefix."""

    response: http.Response
    answer: Answer
    headers: http.Headers
    decided: Decision
    settings: Settings


def remember(flow: http.HTTPFlow) -> None:
    """Keep the path that the client sent, before it is rewritten."""
    if flow.is_replay is None:
        setattr(flow, _ASKED, flow.request.path)


def depends_on_it(flow: http.HTTPFlow) -> bool:
    """Return whether the path depends on the dialect: it is below /api/."""
    decided = decision.of(flow)
    return decided is not None and decided["paths"][0].startswith("/api/")


def may_go_again(flow: http.HTTPFlow) -> bool:
    """Return whether a request is worth a second try, given its complete answer."""
    decided, response = decision.of(flow), flow.response
    return (
        getattr(flow, _ASKED, None) is not None
        and first(flow) is None
        and decided is not None
        and not decided["answered"]
        and response is not None
        and not (flow.request.stream or flow.request.trailers)
        and dialect.may_ask_twice(flow.request.method, decided["paths"][0])
        and dialect.is_missing(_answer(response))
    )


def send_again(
    flow: http.HTTPFlow,
    before: Settings,
    other: Settings,
    cut: Callable[[http.HTTPFlow, Problem], None],
) -> bool:
    """Judge a request again for the other dialect, and rewrite it accordingly.

    Args:
        flow: with the first answer.
        before: the settings it was judged by.
        other: the settings for an upstream of the other dialect.
        cut: as for `on_request.send_on`.

    Returns:
        False if the rules refuse it, or if its path stays the same; then nothing has changed.
    """
    decided, response, request = decision.of(flow), flow.response, flow.request
    if decided is None or response is None:
        return False
    kept = First(response, _answer(response), request.headers.copy(), decided, before)
    path, request.path = request.path, getattr(flow, _ASKED)
    del flow.metadata[decision.DECISION]
    try:
        route = on_request.read(flow, other)
        on_request.send_on(flow, other, route, read_headers(request.headers.fields), cut)
        on_request.check_body(flow, flow.metadata[decision.DECISION], other)
        goes = request.path != path
    except RefusedError:
        goes = False
    if goes:
        flow.response = None
        setattr(flow, _FIRST, kept)
    else:
        request.path, request.headers = path, kept.headers
        flow.metadata[decision.DECISION] = decided
    return goes


def first(flow: http.HTTPFlow) -> First | None:
    """Return the result of the first try, if this is the second one."""
    kept: First | None = getattr(flow, _FIRST, None)
    return kept


def is_no_better(flow: http.HTTPFlow) -> bool:
    """Return whether the second answer is no better; the client has seen nothing of it yet."""
    decided, response = decision.of(flow), flow.response
    return (
        decided is not None
        and not decided["answered"]
        and response is not None
        and not response.stream
        and dialect.is_no_better(_answer(response))
    )


def put_back(flow: http.HTTPFlow, kept: First) -> None:
    """Put the first answer back in place of the second."""
    flow.response, flow.request.headers = kept.response, kept.headers
    flow.request.path = kept.decided["sent"]
    flow.metadata[decision.DECISION] = kept.decided


def learned(
    flow: http.HTTPFlow, kept: First, speaks: dialect.Dialect, base_path: str
) -> dialect.Finding | None:
    """Return what the two answers say about the upstream's dialect.

    An artifact says nothing: a file may have any content, JSON too.

    Args:
        flow: with the second answer.
        kept: the result of the first try.
        speaks: the dialect of the second try.
        base_path: the path below which the upstream serves.
    """
    decided, response = decision.of(flow), flow.response
    if decided is None or decided["answered"] or decided["artifact"] or response is None:
        return None
    streamed = bool(response.stream)
    return dialect.learned(speaks, base_path, kept.answer, _answer(response), streamed=streamed)


def _answer(response: http.Response) -> Answer:
    headers = response.headers
    body = bodies.decode(response.raw_content or b"", headers.get("content-encoding", ""))
    return Answer(
        response.status_code,
        headers.get("content-type", ""),
        body.content if body else b"",
        headers.get("location", ""),
    )
