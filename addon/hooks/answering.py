"""Answer a flow in the upstream's place, with a line in the log."""

from __future__ import annotations

import logging
from collections.abc import Container
from http import HTTPMethod

from mitmproxy import http

from ..engine.responses import to_response
from ..errors import cors, replies
from ..protocol import bodies, request_ids, target
from ..routing import flow_state
from ..routing.flow_state import FlowState

logger = logging.getLogger(__name__)

HEALTH = "health"
"""The text for an answer to a health request, in place of a reason."""

_METHODS = {method.encode(): str(method) for method in HTTPMethod}


def for_page(flow: http.HTTPFlow, reply: replies.Reply, origins: Container[str]) -> replies.Reply:
    """Return the answer so that a page of an allowed origin may read it (see `cors.for_page`)."""
    request = flow.request
    return cors.for_page(reply, method=request.method, headers=request.headers, allowed=origins)


def answer(flow: http.HTTPFlow, reply: replies.Reply) -> None:
    """Answer in the upstream's place."""
    flow_state.of(flow).answered = True
    note(flow, reply)
    # Otherwise mitmproxy tells the client to send a body that is not needed.
    flow.request.headers.pop("expect", None)
    flow.request.stream = False  # mitmproxy's options may have set it.
    flow.response = to_response(reply, flow.request.method)


def is_by_addon(flow: http.HTTPFlow, state: FlowState) -> bool:
    """Return whether an addon (this or another) answered the flow, and not the upstream."""
    # mitmproxy sets the flow's server connection once it is made.
    return state.answered_late or flow.server_conn.timestamp_tcp_setup is None


def note(flow: http.HTTPFlow, reply: replies.Reply) -> None:
    """Keep why the proxy answers with its own error, for the access log and the metrics."""
    if reply.why:
        flow_state.of(flow).why = reply.why


def request_id(flow: http.HTTPFlow | None) -> str:
    """Return the client's request id or mitmproxy's flow id; without a flow, a new id."""
    if flow is None:
        return request_ids.request_id(None)
    return request_ids.request_id(flow.request.headers.get(request_ids.REQUEST_ID), flow.id)


def shown_method(request: http.Request) -> str:
    """Return the method in a form that is safe to log.

    If a body is longer than its declared length, the rest is read as a method.
    """
    return _METHODS.get(request.data.method, "(other method)")


def log(flow: http.HTTPFlow | None, reply: replies.Reply, why: str) -> None:
    """Log one of the proxy's own errors under the id that the client sees."""
    what = "a malformed request" if flow is None else _named(flow)
    shown = dict(reply.headers)[request_ids.REQUEST_ID]
    logger.warning("answered %d to %s: %s (request id %s)", reply.status, what, why, shown)


def log_cut(flow: http.HTTPFlow, why: str) -> None:
    """Log that a time limit cut a transfer midway: the client gets no answer that says so."""
    logger.warning("cut %s: %s (request id %s)", _named(flow), why, request_id(flow))


def _named(flow: http.HTTPFlow) -> str:
    path = flow_state.of(flow).received or target.shown(flow.request.path)
    return bodies.printable(f"{shown_method(flow.request)} {path}")


def log_exception(flow: http.HTTPFlow | None) -> str:
    """Log the exception that is being handled, and return the request id in that log line."""
    shown = request_id(flow)
    logger.exception("internal error; nothing was passed on (request id %s)", shown)
    return shown


def failure(shown: str) -> replies.Reply:
    """Return the answer for an exception in this addon, with `log_exception`'s request id."""
    message = "Internal error of the proxy; see its log."
    kind, why = "proxy_internal_error", "internal_error"
    return replies.own_error(500, "INTERNAL_ERROR", message, kind, shown, why)
