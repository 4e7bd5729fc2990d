"""How an exchange ends without the registry's answer: refused, broken, killed, or left alone."""

from __future__ import annotations

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from ..routing.flow_state import EndedBy
from .exchange import Answered, Exchange
from .responses import to_response


def refuse(exchange: Exchange, status: int, message: str) -> None:
    """Answer with one of the proxy's own errors; an HTTP/1 connection is then closed."""
    exchange.flow.error = exchange.flow.error or mitmproxy_flow.Error(message)
    exchange.flow.response = worded(exchange, status, message)
    exchange.state.ended_by = "proxy"
    exchange.hook(HttpErrorHook, _refused)


def _refused(exchange: Exchange) -> None:
    exchange.flow.live = False
    exchange.over = True
    exchange.front.refuse(exchange.key, exchange.response())


def worded(exchange: Exchange, status: int, message: str) -> http.Response:
    """Return the addon's answer for an error.

    Args:
        exchange: the exchange.
        status: the HTTP status.
        message: the description of the error.
    """
    reply = exchange.addon.own_reply(exchange.flow, status, message)
    return to_response(reply, exchange.flow.request.method)


def break_off(exchange: Exchange, by: EndedBy, message: str) -> None:
    """End without an answer, or in the middle of one."""
    flow = exchange.flow
    exchange.state.ended_by = by
    exchange.note_body()
    exchange.close_upstream()
    exchange.answered = Answered.FAILED
    flow.error = flow.error or mitmproxy_flow.Error(message)
    exchange.hook(HttpErrorHook, _broken)


def _broken(exchange: Exchange) -> None:
    exchange.flow.live = False
    exchange.over = True
    # Once more if the client has gone: a hook that was running then may have counted it since.
    exchange.addon.over(exchange.flow)
    exchange.front.abort(exchange.key)


def gone(exchange: Exchange, why: str) -> None:
    """The client has gone, or has sent a malformed body."""
    exchange.gone = why
    if (conn := exchange.opening) is None:
        exchange.take(on_gone, why)
    else:
        # mitmproxy does not say that it gives up a connection whose turn has not come.
        exchange.opening = None
        exchange.engine.registries.leave(conn)
        exchange.go_on(on_gone, why)


def on_gone(exchange: Exchange, why: str) -> None:
    """End the exchange of a client that has gone."""
    if exchange.answered is Answered.DONE:
        # The answer has gone out; only the rest of the request is missing.
        exchange.flow.live = False
        exchange.over = True
        exchange.close_upstream()
        return
    break_off(exchange, "client", why)


def is_killed(exchange: Exchange, *, report: bool = True) -> bool:
    """End a flow that an addon has killed or whose client has gone; return whether it did."""
    error, why = exchange.flow.error, exchange.gone
    if why is None and (error is None or error.msg != mitmproxy_flow.Error.KILLED_MESSAGE):
        return False
    if why is not None and error is None:
        exchange.flow.error = mitmproxy_flow.Error(why)
        exchange.state.ended_by = "client"
    exchange.close_upstream()
    exchange.answered = Answered.FAILED
    if report:
        exchange.hook(HttpErrorHook, _broken)
    else:
        _broken(exchange)
    return True
