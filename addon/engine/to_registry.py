"""An exchange's way to the registry: a connection, the request on it, and its failure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import messages
from .back import Back
from .endings import break_off, is_killed, on_gone, worded
from .exchange import Answered, Asked, Exchange
from .sending import send_refusal

Step = Callable[[Exchange], None]


def connect(exchange: Exchange, then: Step) -> None:
    """Find or open a connection, then take a step."""
    exchange.waits = True
    exchange.front.behind_what_is_there(partial(_connect_now, exchange, then))


def _connect_now(exchange: Exchange, then: Step) -> None:
    if exchange.gone is not None:
        exchange.go_on(on_gone, exchange.gone)
        return
    registries = exchange.engine.registries
    if (upstream := registries.idle(exchange.flow)) is not None:
        exchange.go_on(_use, upstream, then)
    else:
        made = partial(_made, exchange, then)
        exchange.opening = registries.open(exchange.flow, made)


def _made(exchange: Exchange, then: Step, upstream: Back | None, error: str) -> None:
    exchange.opening = None
    if upstream is None:
        exchange.go_on(on_failed, error)
    else:
        exchange.go_on(_use, upstream, then)


def _use(exchange: Exchange, upstream: Back, then: Step) -> None:
    """Take a step with a connection, if the request may still go."""
    exchange.upstream = upstream
    exchange.flow.server_conn = upstream.conn
    if exchange.gone is not None:
        # No client waits for an answer: do not ask the registry.
        on_gone(exchange, exchange.gone)
        return
    # No hook runs between this check and sending the request.
    if exchange.addon.may_go(exchange.flow):
        then(exchange)
    else:
        exchange.let_upstream_go()
        send_refusal(exchange)


def send_whole(exchange: Exchange) -> None:
    """Send a request whose body is complete."""
    upstream, request = exchange.connected(), exchange.flow.request
    content = request.raw_content or b""
    if content and request.is_http2 and "content-length" not in request.headers:
        request.headers["content-length"] = str(len(content))
    exchange.answered = Answered.AWAITED
    upstream.begin(exchange, request, content, whole=True)


def begin_stream(exchange: Exchange) -> None:
    """Send the head of a request whose body follows in parts."""
    upstream, request = exchange.connected(), exchange.flow.request
    if request.is_http2 and "content-length" not in request.headers:
        request.headers["transfer-encoding"] = "chunked"
    exchange.asked = Asked.STREAMED
    exchange.answered = Answered.AWAITED
    upstream.begin(exchange, request, b"", whole=False)


def begin_stream_with(begin: bytes, exchange: Exchange) -> None:
    """Do the same for a body of which a part was held."""
    begin_stream(exchange)
    exchange.state.bytes_in += len(begin)
    stream_up(exchange, begin)


def stream_up(exchange: Exchange, data: bytes) -> None:
    """Send a part of the body; b"" for its end."""
    upstream = exchange.connected()
    for part in messages.streamed(exchange.flow.request.stream, data):
        if exchange.engine.store_streamed:
            exchange.body.append(part)
        upstream.send(part)


def failed(exchange: Exchange, message: str) -> None:
    """The connection to the registry could not be made, or has ended too early."""
    exchange.take(on_failed, message)


def on_failed(exchange: Exchange, message: str) -> None:
    """Try again, answer with an error, or break off."""
    if _may_retry(exchange):
        exchange.state.retried = True
        exchange.upstream = None
        connect(exchange, send_whole)
        return
    can_answer = exchange.gone is None and exchange.answered in (
        Answered.NOT_YET,
        Answered.AWAITED,
        Answered.HELD,
    )
    if not can_answer:
        # A client that has gone takes its connections to registries with it.
        gone = exchange.gone is not None or exchange.flow.client_conn.timestamp_end
        break_off(exchange, "client" if gone else "upstream", message)
        return
    if is_killed(exchange):
        return
    exchange.close_upstream()
    exchange.flow.response = worded(exchange, 502, message)
    send_refusal(exchange)


def _may_retry(exchange: Exchange) -> bool:
    """Return whether to retry a request that met a connection closed by the upstream.

    A server may close an idle connection just as the next request is sent on it; an idempotent
    request can be sent again without harm (RFC 9112, section 9.3.1).
    """
    request, upstream = exchange.flow.request, exchange.upstream
    return (
        upstream is not None
        and not upstream.heard
        and exchange.gone is None
        and exchange.answered is Answered.AWAITED
        and exchange.asked is Asked.DONE
        and not exchange.state.retried
        and request.method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
        and not (request.stream or request.raw_content or request.trailers)
        and (upstream.conn.timestamp_start or 0) < request.timestamp_start
    )
