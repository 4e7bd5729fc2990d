"""The end of an answer, the registry's or the proxy's own: its last hooks, then the client."""

from __future__ import annotations

import time

from mitmproxy.proxy.layers.http._hooks import (
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.websocket import WebSocketData

from .endings import is_killed
from .exchange import Answered, Asked, Exchange
from .websocket import begin, begins


def send(exchange: Exchange, *, streamed: bool = False, abandon: bool = False) -> None:
    """Run the hook of a complete answer, then send it.

    Args:
        exchange: the exchange.
        streamed: whether it was sent already.
        abandon: whether to drop the rest of the request.
    """
    response = exchange.response()
    response.timestamp_end = time.time()
    if response.data.status_code == 101 and begins(exchange.flow):
        exchange.flow.websocket = WebSocketData()  # Addons see in the hook that one follows.
    exchange.hook(HttpResponseHook, _sent, streamed, abandon)


def _sent(exchange: Exchange, streamed: bool, abandon: bool) -> None:
    response = exchange.response()
    exchange.answered = Answered.DONE
    if is_killed(exchange, report=False):
        return
    if not streamed:
        exchange.front.answer(exchange.key, response)
    if abandon and exchange.asked is not Asked.DONE:
        exchange.asked = Asked.DROPPED
    if exchange.asked in (Asked.DONE, Asked.DROPPED):
        complete(exchange)


def complete(exchange: Exchange) -> None:
    """End the exchange: its request and its answer are complete."""
    flow = exchange.flow
    exchange.over = True
    if flow.websocket:
        begin(exchange.engine, flow, exchange.connected(), exchange.front.take_rest())
        return
    flow.live = False
    if exchange.upstream is not None:
        exchange.upstream.release(exchange)
    exchange.front.finish(exchange.key)


def answer_locally(exchange: Exchange) -> None:
    """Send the answer that an addon has put into the flow."""
    if is_killed(exchange):
        return
    exchange.response().timestamp_start = time.time()
    exchange.hook(HttpResponseHeadersHook, _send_local)


def _send_local(exchange: Exchange) -> None:
    if not is_killed(exchange):
        send(exchange, abandon=True)


def answer_before_body(exchange: Exchange) -> None:
    """Answer at once; read and drop the rest of the request."""
    exchange.flow.request.raw_content = b""
    exchange.asked = Asked.DROPPED
    exchange.hook(HttpRequestHook, answer_locally)


def send_refusal(exchange: Exchange) -> None:
    """Send the addon's refusal, without a hook for its head."""
    exchange.response().timestamp_start = time.time()
    send(exchange, abandon=True)
