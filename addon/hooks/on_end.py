"""The record of a finished flow for the access log and the metrics."""

from __future__ import annotations

import time

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.flow import Error

from ..errors.replies import Reply
from ..observe.measured import Ended
from ..protocol import target
from ..protocol.request_ids import REQUEST_ID
from ..routing import flow_state
from ..routing.flow_state import EndedBy
from . import answering


def ended(flow: http.HTTPFlow) -> Ended:
    """Return the record of a flow that has ended, with or without a response."""
    request, response, state = flow.request, flow.response, flow_state.of(flow)
    source: EndedBy | None
    if flow.error is not None:
        source = state.ended_by or _killed_by(flow.error)
        # A head that was held has not gone out, unless it is the proxy's own answer.
        if response is not None and not (response.stream or state.ended_by == "proxy"):
            response = None
    elif response is None or response.status_code < 400:
        source = None
    elif state.answered or state.failed or answering.is_by_addon(flow, state):
        source = "proxy"
    else:
        source = "upstream"
    status, head, bytes_out = None, None, 0
    if response is not None:
        status, head = response.data.status_code, response.data.timestamp_start
        bytes_out = state.bytes_out or len(response.data.content or b"")
    peer, told, route = flow.client_conn.peername, state.forwarded, state.route
    # mitmproxy sets the flow's server connection once it is made.
    went_on = flow.server_conn.timestamp_tcp_setup is not None
    names, in_force = state.names, state.settings
    # By position: keywords would take a seventh of the time of a line in the access log.
    return Ended(
        request.data.timestamp_start,
        head,
        time.time(),
        names[0][1].decode("ascii") if names else answering.request_id(flow),
        told.client if told else peer and peer[0],
        answering.shown_method(request),
        state.received or target.shown(request.path),
        target.shown(state.sent) if route and went_on else None,
        route.rule if route else None,
        state.upstream_status,
        status,
        source,
        state.converted,
        state.probe,
        state.bytes_in or len(request.data.content or b""),
        bytes_out,
        state.family,
        state.why,
        in_force.mount.path if in_force is not None and in_force.mount is not None else "",
    )


def ended_without_flow(client: Client, reply: Reply) -> Ended:
    """Return the record of bytes that were refused before they could be read as a request."""
    now = time.time()
    return Ended(
        start=now,
        head=now,
        end=now,
        request_id=dict(reply.headers)[REQUEST_ID],
        client=client.peername[0],
        status=reply.status,
        error_source="proxy",
        bytes_out=len(reply.body),
        why=reply.why,
    )


def _killed_by(error: Error) -> EndedBy:
    """Return which side ended a flow while addons handled its events."""
    return "proxy" if error.msg == Error.KILLED_MESSAGE else "client"
