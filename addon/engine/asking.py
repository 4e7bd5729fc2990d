"""The request's half of an exchange: its head, its body, and what hooks make of them."""

from __future__ import annotations

import time
from functools import partial

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.proxy.layers.http._hooks import HttpRequestHeadersHook, HttpRequestHook

from ..protocol import framing, headers
from ..routing import flow_state
from ..routing.flow_state import FlowState
from . import heads, messages
from .endings import break_off, is_killed, refuse
from .exchange import Answered, Asked, Exchange, keep
from .readers import BrokenError
from .sending import answer_before_body, answer_locally, complete
from .sizes import Verdict
from .to_registry import begin_stream, begin_stream_with, connect, send_whole, stream_up

REQUEST_TOO_LARGE = "Request body exceeds mitmproxy's body_size_limit."
BODY_STALLED = "The request body stalled for too long."


def begin(
    exchange: Exchange, request: http.Request, *, host: str, ended: bool, expects: bool = False
) -> None:
    """Take the head of the request.

    Args:
        exchange: the exchange.
        request: the request as received.
        host: the host that the client asks for.
        ended: whether the request has no body.
        expects: whether there is an Expect header.
    """
    engine = exchange.engine
    context = engine.context
    exchange.flow = flow = messages.flow(context.client, context.server, request)
    flow_state.put(flow, FlowState(host))
    exchange.expects = expects
    if problem := _problem(request, validate=engine.validate):
        flow.error = mitmproxy_flow.Error(problem)
        exchange.hook(HttpRequestHeadersHook, refuse, 400, problem)
        return
    data = request.data
    data.host, data.port, data.scheme = engine.address[0], engine.address[1], engine.scheme
    if not request.is_http2:
        # A target in absolute form would still contain the client's name for the host.
        data.authority = b""
        if (name := engine.host_header) is not None:
            pairs = data.headers.fields
            fields = {**headers.read(pairs), b"host": name}
            others = [pair for pair in pairs if pair[0].lower() != b"host"]
            data.headers.fields = pairs = (*others, (b"Host", name))
            headers.remember(pairs, fields)
    elif engine.host_header is not None:
        request.host_header = engine.host_header.decode()
    exchange.ended_with_head = ended
    if not ended and engine.sizes.are_limited:
        verdict = engine.sizes.judge_head(request)
        if verdict is Verdict.REFUSE:
            flow.error = mitmproxy_flow.Error(REQUEST_TOO_LARGE)
            exchange.hook(HttpRequestHeadersHook, refuse, 413, REQUEST_TOO_LARGE)
            return
        request.stream = verdict is Verdict.STREAM
    exchange.hook(HttpRequestHeadersHook, _decided)


def _problem(request: http.Request, *, validate: bool) -> str | None:
    """Return why to refuse a request; None for a valid one.

    Args:
        request: the request as received.
        validate: mitmproxy's option validate_inbound_headers.
    """
    data = request.data
    if data.method == b"CONNECT":
        return "CONNECT is for forward proxies"
    if data.scheme not in (b"http", b"https", b""):
        return "an unknown scheme"
    if not validate:
        return None
    pairs = data.headers.fields
    fields = headers.read(pairs)
    version, method, path = data.http_version, data.method, data.path
    if not request.is_http2:
        # The front has checked the lines and the framing.
        return framing.head_flaw(version, method, path, data.scheme, data.authority, fields)
    try:
        heads.framing(fields, version)  # Old hyper-h2 accepts any length.
    except BrokenError as error:
        return str(error)
    return framing.request_flaw(version, method, path, data.scheme, data.authority, pairs)


def body(exchange: Exchange, data: bytes) -> None:
    """Take a part of the request's body."""
    exchange.take(_on_body, data)


def end(exchange: Exchange) -> None:
    """The request is complete."""
    exchange.take(_on_end)


def stalled(exchange: Exchange) -> None:
    """The rest of the request's body did not arrive in time."""
    exchange.take(_on_stalled)


def _decided(exchange: Exchange) -> None:
    flow = exchange.flow
    if is_killed(exchange):
        return
    if flow.response is not None and not exchange.ended_with_head:
        answer_before_body(exchange)
        return
    if exchange.expects and flow.request.headers.get("expect", "").lower() == "100-continue":
        exchange.front.go_on(exchange.key)
        del flow.request.headers["expect"]
    if not exchange.ended_with_head and flow.request.stream:
        connect(exchange, begin_stream)


def _on_body(exchange: Exchange, data: bytes) -> None:
    if exchange.asked is Asked.HELD:
        keep(exchange.body, data)
        exchange.held += len(data)
        if exchange.is_too_much(exchange.held):
            exchange.note_body()
            _drop_body(exchange)
            exchange.addon.refuse_to_hold(exchange.flow)
            answer_before_body(exchange)
        elif exchange.engine.sizes.are_limited:
            _check_held(exchange)
    elif exchange.asked is Asked.STREAMED and data:
        exchange.state.bytes_in += len(data)
        stream_up(exchange, data)


def _drop_body(exchange: Exchange) -> None:
    exchange.body.clear()
    exchange.held = 0
    if exchange.counted:
        exchange.is_room()


def _check_held(exchange: Exchange) -> None:
    """Apply mitmproxy's body_size_limit and stream_large_bodies to a body held so far."""
    verdict = exchange.engine.sizes.judge(exchange.held)
    if verdict is Verdict.REFUSE:
        refuse(exchange, 413, REQUEST_TOO_LARGE)
    elif verdict is Verdict.STREAM and not exchange.state.whole:
        exchange.flow.request.stream = True
        begun = b"".join(exchange.body)
        _drop_body(exchange)
        connect(exchange, partial(begin_stream_with, begun))


def _on_end(exchange: Exchange) -> None:
    request = exchange.flow.request
    if exchange.asked is Asked.HELD:
        request.timestamp_end = time.time()
        request.data.content = b"".join(exchange.body)
        exchange.body.clear()
        exchange.asked = Asked.DONE
        exchange.hook(HttpRequestHook, _asked_whole)
    elif exchange.asked is Asked.STREAMED:
        if callable(request.stream):
            stream_up(exchange, b"")
        if exchange.engine.store_streamed:
            request.data.content = b"".join(exchange.body)
            exchange.body.clear()
        request.timestamp_end = time.time()
        exchange.hook(HttpRequestHook, _asked_streamed)


def _asked_whole(exchange: Exchange) -> None:
    if exchange.flow.response is not None:
        answer_locally(exchange)
    elif not is_killed(exchange):
        connect(exchange, send_whole)


def _asked_streamed(exchange: Exchange) -> None:
    exchange.asked = Asked.DONE
    if exchange.answered is not Answered.DONE and is_killed(exchange):
        return
    if exchange.answered is Answered.AWAITED and exchange.flow.response is not None:
        # An addon answered after the body had been streamed.
        exchange.state.answered_late = True
        exchange.close_upstream()
        answer_locally(exchange)
        return
    if exchange.upstream is not None:
        exchange.upstream.finish()
    if exchange.answered is Answered.DONE:
        complete(exchange)


def _on_stalled(exchange: Exchange) -> None:
    if exchange.answered is Answered.DONE:
        # The registry did not wait for the rest either: its answer is final.
        exchange.asked = Asked.DROPPED
        complete(exchange)
        return
    if exchange.answered is Answered.STREAMED:
        exchange.addon.was_cut(exchange.flow, BODY_STALLED)
        break_off(exchange, "client", BODY_STALLED)
        return
    exchange.note_body()
    exchange.close_upstream()
    refuse(exchange, 408, BODY_STALLED)
