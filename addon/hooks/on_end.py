"""The record of a finished flow for the access log and the metrics."""

from __future__ import annotations

import time

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.flow import Error

from ..engine.interface import BYTES_IN, BYTES_OUT, ENDED_BY
from ..errors.replies import Reply
from ..observe.measured import Ended
from ..protocol import target
from ..protocol.request_ids import REQUEST_ID
from ..routing import decision
from ..routing.decision import FAILED, FORWARDED, WHY
from . import answering


def ended(flow: http.HTTPFlow) -> Ended:
    """Return the record of a flow that has ended, with or without a response."""
    request, response, marks = flow.request, flow.response, flow.metadata
    decided: decision.Decision | None = marks.get(decision.DECISION)
    if flow.error is not None:
        ended_by = marks.get(ENDED_BY)
        source = ended_by or _killed_by(flow.error)
        # A head that was held has not gone out, unless it is the proxy's own answer.
        if response is not None and not (response.stream or ended_by == "proxy"):
            response = None
    elif response is None or response.status_code < 400:
        source = None
    elif FAILED in marks or answering.is_by_addon(flow) or (decided and decided["answered"]):
        source = "proxy"
    else:
        source = "upstream"
    status, head, bytes_out = None, None, 0
    if response is not None:
        status, head = response.data.status_code, response.data.timestamp_start
        bytes_out = marks.get(BYTES_OUT) or len(response.data.content or b"")
    peer, forwarded = flow.client_conn.peername, marks.get(FORWARDED)
    # mitmproxy sets the flow's server connection once it is made.
    went_on = flow.server_conn.timestamp_tcp_setup is not None
    return Ended(
        start=request.data.timestamp_start,
        head=head,
        end=time.time(),
        request_id=_request_id(flow, decided),
        client=forwarded["client"] if forwarded else peer and peer[0],
        method=answering.shown_method(request),
        path=decided["received"] if decided else target.shown(request.path),
        sent_path=target.shown(decided["sent"]) if decided and went_on else None,
        rule=decided and decided["rule"],
        upstream_status=decided and decided["upstream_status"],
        status=status,
        error_source=source,
        converted=decided["converted"] if decided else "",
        probe=decided is not None and decided["probe"],
        bytes_in=marks.get(BYTES_IN) or len(request.data.content or b""),
        bytes_out=bytes_out,
        family=decided["family"] if decided else "other",
        why=marks.get(WHY, ""),
    )


def _request_id(flow: http.HTTPFlow, decided: decision.Decision | None) -> str:
    if decided is not None and (names := decided["names"]) is not None:
        return names[0][1].decode("ascii")
    return answering.request_id(flow)


def ended_without_flow(client: Client, reply: Reply) -> Ended:
    """Return the record of bytes that were refused before they could be read as a request."""
    now = time.time()
    return Ended(
        start=now,
        head=now,
        end=now,
        request_id=dict(reply.headers)[REQUEST_ID],
        client=client.peername[0],
        method=None,
        path=None,
        sent_path=None,
        rule=None,
        upstream_status=None,
        status=reply.status,
        error_source="proxy",
        converted="",
        probe=False,
        bytes_in=0,
        bytes_out=len(reply.body),
        family="other",
        why=reply.why,
    )


def _killed_by(error: Error) -> str:
    """Return which side ended a flow while addons handled its events."""
    return "proxy" if error.msg == Error.KILLED_MESSAGE else "client"
