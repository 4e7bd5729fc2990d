"""The answer's half of an exchange: its head, its body, and what hooks make of them."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.proxy.layers.http._hooks import HttpResponseHeadersHook

from ..protocol import headers, hop_by_hop
from ..protocol.bodies import HELD_LIMIT
from ..routing.flow_state import FlowState
from . import messages
from .endings import is_killed, refuse
from .exchange import Answered, Asked, Exchange
from .sending import send, send_refusal
from .sizes import Verdict
from .to_registry import connect, on_failed, send_whole

RESPONSE_TOO_LARGE = "Response body exceeds mitmproxy's body_size_limit."


def head(exchange: Exchange, response: http.Response, *, ended: bool) -> None:
    """Take the head of the answer."""
    exchange.take(_on_head, response, ended)


def part(exchange: Exchange, data: bytes) -> None:
    """Take a part of the answer's body."""
    exchange.take(_on_answer, data)


def end(exchange: Exchange, *, by_end: bool = False) -> None:
    """The answer is complete.

    Args:
        exchange: the exchange.
        by_end: whether only the end of the connection says so.
    """
    exchange.take(_on_answer_end, by_end)


# The head.


def _on_head(exchange: Exchange, response: http.Response, ended: bool) -> None:
    if response.data.status_code == 101 and not _may_switch(exchange, response):
        # The bytes after it would be a pipe that bypasses the rules.
        exchange.state.retried = True
        exchange.close_upstream()
        on_failed(exchange, "unexpected switch of protocols")
        return
    exchange.flow.response = response
    exchange.answer_ended_with_head = ended
    sizes = exchange.engine.sizes
    if not ended and sizes.are_limited:
        verdict = sizes.judge_head(response)
        if verdict is Verdict.REFUSE:
            _refuse_answer(exchange)
            return
        response.stream = verdict is Verdict.STREAM
    exchange.hook(HttpResponseHeadersHook, _headed)


def _may_switch(exchange: Exchange, response: http.Response) -> bool:
    key = exchange.state.websocket_key if exchange.engine.context.options.websocket else b""
    return bool(key) and hop_by_hop.is_accepted(key, headers.read(response.headers.fields))


def _headed(exchange: Exchange) -> None:
    if is_killed(exchange):
        return
    if exchange.response().stream and not exchange.answer_ended_with_head:
        _begin_answer(exchange)
    else:
        exchange.answered = Answered.HELD


def _begin_answer(exchange: Exchange) -> None:
    exchange.front.head(exchange.key, exchange.response())
    exchange.answered = Answered.STREAMED


# The body.


def _on_answer(exchange: Exchange, data: bytes) -> None:
    if exchange.answered is Answered.STREAMED:
        _stream_down(exchange, data)
    elif exchange.answered is Answered.HELD:
        state, answer = exchange.state, exchange.answer
        if not state.dropped:
            answer += data
            if exchange.engine.sizes.are_limited and _is_passed_on(exchange):
                return
            if exchange.is_too_much(len(answer)):
                _hold_no_answer(exchange)
                return
        if state.hold is not None and len(answer) > state.hold:
            _judge_held_body(exchange, state)
        if state.dropped and exchange.answered is Answered.HELD:
            _answer_without_the_rest(exchange)


def _hold_no_answer(exchange: Exchange) -> None:
    """Stream an answer without room to hold it; refuse it if it might have to be changed."""
    if exchange.state.hold is None:
        _pass_on(exchange)
        return
    exchange.answer.clear()
    exchange.close_upstream()
    exchange.addon.refuse_to_hold(exchange.flow)
    send_refusal(exchange)


def _is_passed_on(exchange: Exchange) -> bool:
    """Apply mitmproxy's limits to an answer held so far; return whether it is no longer held."""
    verdict = exchange.engine.sizes.judge(len(exchange.answer))
    if verdict is Verdict.REFUSE:
        _refuse_answer(exchange)
    elif verdict is Verdict.STREAM:
        _pass_on(exchange)
    return verdict is not Verdict.HOLD


def _refuse_answer(exchange: Exchange) -> None:
    exchange.close_upstream()
    refuse(exchange, 502, RESPONSE_TOO_LARGE)


def _pass_on(exchange: Exchange) -> None:
    """Stream an answer of which a part was held."""
    begun = bytes(exchange.answer)
    exchange.response().stream = True
    exchange.answer.clear()
    if exchange.counted:
        exchange.is_room()
    _begin_answer(exchange)
    _stream_down(exchange, begun)


def _stream_down(exchange: Exchange, data: bytes) -> None:
    response = exchange.response()
    if data:
        exchange.state.bytes_out += len(data)
    for each in messages.streamed(response.stream, data):
        if exchange.engine.store_streamed:
            exchange.answer += each
        exchange.front.data(exchange.key, each)


def _judge_held_body(exchange: Exchange, state: FlowState) -> None:
    begun = bytes(exchange.answer)
    whole_buffer = len(begun) > HELD_LIMIT
    verdict = exchange.addon.let_go(exchange.flow, begun)
    if verdict is False:
        state.hold = HELD_LIMIT
        if whole_buffer:
            state.dropped = True
    elif verdict is None and not whole_buffer:
        # Not after each byte: a judgment reads all bytes held so far.
        state.hold = min(2 * len(begun), HELD_LIMIT)
    else:
        _pass_on(exchange)


def _answer_without_the_rest(exchange: Exchange) -> None:
    """Answer now: the rest of the upstream's answer may never end."""
    exchange.response().raw_content = bytes(exchange.answer)
    exchange.answer.clear()
    exchange.close_upstream()
    send(exchange, abandon=True)


# The end.


def _on_answer_end(exchange: Exchange, by_end: bool) -> None:
    response = exchange.flow.response
    if exchange.answered not in (Answered.HELD, Answered.STREAMED) or response is None:
        return
    if by_end and exchange.addon.is_cut(exchange.flow):
        # A reset, or a cut by the proxy, is not the regular end of a body.
        on_failed(exchange, "the connection was reset in the middle of an answer")
    elif exchange.answered is Answered.STREAMED:
        if callable(response.stream):
            _stream_down(exchange, b"")
        if exchange.engine.store_streamed:
            response.data.content = bytes(exchange.answer)
            exchange.answer.clear()
        send(exchange, streamed=True)
    else:
        response.data.content = bytes(exchange.answer)
        exchange.answer.clear()
        if _goes_again(exchange):
            exchange.answered = Answered.NOT_YET
            exchange.let_upstream_go()
            connect(exchange, send_whole)
        else:
            send(exchange)


def _goes_again(exchange: Exchange) -> bool:
    """Return whether to send the request again, as it is in the flow now."""
    state = exchange.state
    held = state.hold is not None and not state.dropped
    return held and exchange.asked is Asked.DONE and exchange.addon.goes_again(exchange.flow)
