"""One request with its answer, between a client and a registry.

The steps are those of mitmproxy's `HttpStream`, with its hooks in its order: head, body, answer's
head, answer's body. A step that waits for a hook or a connection passes the next step as a
callback; events that arrive meanwhile from either side wait in a queue.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)

from ..protocol import headers, hop_by_hop
from ..protocol.bodies import HELD_LIMIT
from ..routing import flow_state
from ..routing.flow_state import EndedBy, FlowState
from . import messages
from .responses import to_response
from .sizes import Verdict

if TYPE_CHECKING:
    from .front import Front
    from .layer import Engine
    from .upstream import Upstream

REQUEST_TOO_LARGE = "Request body exceeds mitmproxy's body_size_limit."
UNCOUNTED = 16 * 1024
"""Bytes of bodies that an exchange may always hold, uncounted."""
BODY_STALLED = "The request body did not go on in time."
RESPONSE_TOO_LARGE = "Response body exceeds mitmproxy's body_size_limit."


class Asked(Enum):
    """What happens to the request's body."""

    HELD = auto()
    STREAMED = auto()
    DROPPED = auto()
    DONE = auto()


class Answered(Enum):
    """The progress of the answer."""

    NOT_YET = auto()
    AWAITED = auto()
    HELD = auto()
    STREAMED = auto()
    DONE = auto()
    FAILED = auto()


class Exchange:
    """See the head of this file.

    Args:
        engine: runs hooks and opens connections.
        front: the client's side.
        key: the front's key for this exchange.
    """

    def __init__(self, engine: Engine, front: Front, key: int) -> None:
        self.flow: http.HTTPFlow
        self.key = key
        self.asked = Asked.HELD
        self.answered = Answered.NOT_YET
        self.upstream: Upstream | None = None
        self._engine = engine
        self._front = front
        self._waiting = False
        self._queue: deque[Callable[[], None]] = deque()
        self._body: list[bytes] = []
        self._held = 0
        """Bytes in `_body`."""
        self._answer = bytearray()
        self._counted = 0
        """Bytes of both bodies that the addon has counted."""
        self._gone: str | None = None
        """Why the client's side has ended, if it has."""
        self._over = False

    # The client's side.

    def begin(
        self, request: http.Request, *, host: str, ended: bool, expects: bool = False
    ) -> None:
        """Take the head of the request.

        Args:
            request: the request as received.
            host: the host that the client asks for.
            ended: whether the request has no body.
            expects: whether there is an Expect header.
        """
        engine, context = self._engine, self._engine.context
        self.flow = flow = messages.flow(context.client, context.server, request)
        flow_state.put(flow, FlowState(host))
        self._expects = expects
        if problem := engine.request_problem(request):
            flow.error = mitmproxy_flow.Error(problem)
            self._hook(HttpRequestHeadersHook, partial(self._refuse, 400, problem))
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
        self._ended_with_head = ended
        if not ended and engine.sizes.are_limited:
            verdict = engine.sizes.judge(engine.sizes.announced(request))
            if verdict is Verdict.REFUSE:
                flow.error = mitmproxy_flow.Error(REQUEST_TOO_LARGE)
                refuse = partial(self._refuse, 413, REQUEST_TOO_LARGE)
                self._hook(HttpRequestHeadersHook, refuse)
                return
            request.stream = verdict is Verdict.STREAM
        self._hook(HttpRequestHeadersHook, self._decided)

    def body(self, data: bytes) -> None:
        """Take a part of the request's body."""
        self._take(self._on_body, data)

    def end(self) -> None:
        """The request is complete."""
        self._take(self._on_end)

    @property
    def waits(self) -> bool:
        """Whether input has to wait for a hook or a connection."""
        return self._waiting

    def stalled(self) -> None:
        """The rest of the request's body did not arrive in time."""
        self._take(self._on_stalled)

    def gone(self, why: str) -> None:
        """The client has gone, or has sent a malformed body."""
        self._gone = why
        self._take(self._on_gone, why)

    # The registry's side.

    def head(self, response: http.Response, *, ended: bool) -> None:
        """Take the head of the answer."""
        self._take(self._on_head, response, ended)

    def answer(self, data: bytes) -> None:
        """Take a part of the answer's body."""
        self._take(self._on_answer, data)

    def answer_end(self, *, by_end: bool = False) -> None:
        """The answer is complete.

        Args:
            by_end: whether only the end of the connection says so.
        """
        self._take(self._on_answer_end, by_end)

    def failed(self, message: str) -> None:
        """The connection to the registry could not be made, or has ended too early."""
        self._take(self._on_failed, message)

    @property
    def is_open(self) -> bool:
        """Whether no hook has reported the end of the exchange yet."""
        return self.answered not in (Answered.DONE, Answered.FAILED) and not self._over

    # Values that are set by earlier steps.

    @property
    def _state(self) -> FlowState:
        """The state of the flow; a hook may have put another one in its place."""
        return flow_state.of(self.flow)

    def _response(self) -> http.Response:
        if (response := self.flow.response) is None:
            raise RuntimeError("there is no answer yet")
        return response

    def _connected(self) -> Upstream:
        if self.upstream is None:
            raise RuntimeError("there is no connection to the registry")
        return self.upstream

    # Waiting.

    def _take(self, step: Callable[..., None], *values: Any) -> None:
        if self._waiting:
            self._queue.append(partial(step, *values))
        elif not self._over:
            try:
                step(*values)
            except Exception as error:
                if not self._engine.ends_alone(self, error):
                    raise

    def _hook(self, kind: Any, then: Callable[[], None]) -> None:
        if self._engine.hook(kind, self.flow, partial(self._go_on, then)):
            then()
        else:
            self._waiting = True

    def _go_on(self, then: Callable[[], None]) -> None:
        self._waiting = False
        try:
            then()
            while self._queue and not self._waiting and not self._over:
                self._queue.popleft()()
        except Exception as error:
            if not self._engine.ends_alone(self, error):
                raise

    def give_up(self) -> None:
        """Stop: after an exception in the engine, its state cannot be trusted."""
        self._over = True
        self._queue.clear()
        self._close_upstream()

    # The request.

    def _decided(self) -> None:
        flow = self.flow
        if self._is_killed():
            return
        if flow.response is not None and not self._ended_with_head:
            self._answer_before_body()
            return
        if self._expects and flow.request.headers.get("expect", "").lower() == "100-continue":
            self._front.go_on(self.key)
            del flow.request.headers["expect"]
        if flow.request.stream and not self._ended_with_head:
            self._connect(self._begin_stream)

    def _answer_before_body(self) -> None:
        """Answer at once; read and drop the rest of the request."""
        flow = self.flow
        flow.request.raw_content = b""
        self.asked = Asked.DROPPED
        self._hook(HttpRequestHook, self._answer_locally)

    def _on_body(self, data: bytes) -> None:
        if self.asked is Asked.HELD:
            self._body.append(data)
            self._held += len(data)
            if self._held > UNCOUNTED and not self._is_room():
                self._refuse_to_hold()
                return
            if self._engine.sizes.are_limited:
                self._check_held()
        elif self.asked is Asked.STREAMED and data:
            self._state.bytes_in += len(data)
            self._stream_up(data)

    def _is_room(self) -> bool:
        """Return whether the addon has room for the bodies held here; if so, it counts them."""
        size = self._held + len(self._answer)
        if not self._engine.addon.hold(self.flow, size - self._counted):
            return False
        self._counted = size
        return True

    def _refuse_to_hold(self) -> None:
        self._note_body()
        self._drop_body()
        self._engine.addon.refuse_to_hold(self.flow)
        self._answer_before_body()

    def _drop_body(self) -> None:
        self._body.clear()
        self._held = 0
        if self._counted:
            self._is_room()

    def _check_held(self) -> None:
        """Apply mitmproxy's body_size_limit and stream_large_bodies to a body held so far."""
        verdict = self._engine.sizes.judge(self._held)
        if verdict is Verdict.REFUSE:
            self.flow.error = mitmproxy_flow.Error(REQUEST_TOO_LARGE)
            self._refuse(413, REQUEST_TOO_LARGE)
        elif verdict is Verdict.STREAM and not self._state.whole:
            self.flow.request.stream = True
            begin = b"".join(self._body)
            self._drop_body()
            self._connect(partial(self._begin_stream_with, begin))

    def _stream_up(self, data: bytes) -> None:
        upstream = self._connected()
        for chunk in _streamed(self.flow.request.stream, data):
            if self._engine.store_streamed:
                self._body.append(chunk)
            upstream.send(chunk)

    def _on_end(self) -> None:
        request = self.flow.request
        if self.asked is Asked.HELD:
            request.timestamp_end = time.time()
            request.data.content = b"".join(self._body)
            self._body.clear()
            self.asked = Asked.DONE
            self._hook(HttpRequestHook, self._asked_whole)
        elif self.asked is Asked.STREAMED:
            if callable(request.stream):
                self._stream_up(b"")
            if self._engine.store_streamed:
                request.data.content = b"".join(self._body)
                self._body.clear()
            request.timestamp_end = time.time()
            self._hook(HttpRequestHook, self._asked_streamed)

    def _asked_whole(self) -> None:
        if self.flow.response is not None:
            self._answer_locally()
        elif not self._is_killed():
            self._connect(self._send_whole)

    def _asked_streamed(self) -> None:
        self.asked = Asked.DONE
        if self.answered is not Answered.DONE and self._is_killed():
            return
        if self.answered is Answered.AWAITED and self.flow.response is not None:
            # An addon answered after the body had been streamed.
            self._state.answered_late = True
            self._close_upstream()
            self._answer_locally()
            return
        if self.upstream is not None:
            self.upstream.finish()
        if self.answered is Answered.DONE:
            self._finish()

    def _answer_locally(self) -> None:
        if self._is_killed():
            return
        response = self._response()
        response.timestamp_start = time.time()
        self._hook(HttpResponseHeadersHook, self._send_local)

    def _send_local(self) -> None:
        if not self._is_killed():
            self._send(abandon=True)

    # To the registry.

    def _connect(self, then: Callable[[], None]) -> None:
        self._waiting = True
        self._front.behind_what_is_there(partial(self._connect_now, then))

    def _connect_now(self, then: Callable[[], None]) -> None:
        if self._gone is not None:
            self._go_on(partial(self._on_gone, self._gone))
            return
        upstream = self._engine.connect(self.flow, partial(self._made, then))
        if upstream is not None:
            self._go_on(partial(self._use, upstream, then))

    def _made(self, then: Callable[[], None], upstream: Upstream | None, error: str) -> None:
        if upstream is None:
            self._go_on(partial(self._on_failed, error))
        else:
            self._go_on(partial(self._use, upstream, then))

    def _use(self, upstream: Upstream, then: Callable[[], None]) -> None:
        self.upstream = upstream
        self.flow.server_conn = upstream.conn
        if self._gone is not None:
            # No client waits for an answer: do not ask the registry.
            self._on_gone(self._gone)
            return
        # No hook runs between this check and sending the request.
        if self._engine.addon.may_go(self.flow):
            then()
        else:
            self._answer_here()

    def _answer_here(self) -> None:
        """Send the addon's refusal of the request in its final form."""
        self._let_upstream_go()
        self._response().timestamp_start = time.time()
        self._send(abandon=True)

    def _begin_stream_with(self, begin: bytes) -> None:
        self._begin_stream()
        self._on_body(begin)

    def _begin_stream(self) -> None:
        upstream, request = self._connected(), self.flow.request
        if request.is_http2 and "content-length" not in request.headers:
            request.headers["transfer-encoding"] = "chunked"
        self.asked = Asked.STREAMED
        self.answered = Answered.AWAITED
        upstream.begin(self, request, b"", whole=False)

    def _send_whole(self) -> None:
        upstream, request = self._connected(), self.flow.request
        content = request.raw_content or b""
        if content and request.is_http2 and "content-length" not in request.headers:
            request.headers["content-length"] = str(len(content))
        self.answered = Answered.AWAITED
        upstream.begin(self, request, content, whole=True)

    # The answer.

    def _on_head(self, response: http.Response, ended: bool) -> None:
        if response.status_code == 101 and not self._may_switch(response):
            # The bytes after it would be a pipe that bypasses the rules.
            self._state.retried = True
            self._close_upstream()
            self._on_failed("unexpected switch of protocols")
            return
        self.flow.response = response
        self._answer_ended_with_head = ended
        sizes = self._engine.sizes
        if not ended and sizes.are_limited:
            verdict = sizes.judge(sizes.announced(response))
            if verdict is Verdict.REFUSE:
                self._refuse_answer()
                return
            response.stream = verdict is Verdict.STREAM
        self._hook(HttpResponseHeadersHook, self._headed)

    def _may_switch(self, response: http.Response) -> bool:
        key = self._state.websocket_key
        return bool(key) and hop_by_hop.is_accepted(key, headers.read(response.headers.fields))

    def _headed(self) -> None:
        if self._is_killed():
            return
        response = self._response()
        if response.stream and not self._answer_ended_with_head:
            self._begin_answer()
        else:
            self.answered = Answered.HELD

    def _begin_answer(self) -> None:
        self._front.head(self.key, self._response())
        self.answered = Answered.STREAMED

    def _on_answer(self, data: bytes) -> None:
        if self.answered is Answered.STREAMED:
            self._stream_down(data)
        elif self.answered is Answered.HELD:
            state = self._state
            if not state.dropped:
                self._answer += data
                if self._engine.sizes.are_limited and self._is_answer_passed_on():
                    return
                if len(self._answer) > UNCOUNTED and not self._is_room():
                    self._hold_no_answer()
                    return
            if state.hold is not None and len(self._answer) > state.hold:
                self._judge_held_body(state)
            if state.dropped and self.answered is Answered.HELD:
                self._answer_without_the_rest()

    def _hold_no_answer(self) -> None:
        """Stream an answer without room to hold it; refuse it if it might have to be changed."""
        if self._state.hold is None:
            self._pass_on()
            return
        self._answer.clear()
        self._close_upstream()
        self._engine.addon.refuse_to_hold(self.flow)
        self._response().timestamp_start = time.time()
        self._send(abandon=True)

    def _is_answer_passed_on(self) -> bool:
        """Apply the same options to an answer; return whether it is no longer held."""
        verdict = self._engine.sizes.judge(len(self._answer))
        if verdict is Verdict.REFUSE:
            self._refuse_answer()
        elif verdict is Verdict.STREAM:
            self._pass_on()
        return verdict is not Verdict.HOLD

    def _refuse_answer(self) -> None:
        self.flow.error = mitmproxy_flow.Error(RESPONSE_TOO_LARGE)
        self._close_upstream()
        self._refuse(502, RESPONSE_TOO_LARGE)

    def _pass_on(self) -> None:
        """Stream an answer of which a part was held."""
        response, begin = self._response(), bytes(self._answer)
        response.stream = True
        self._answer.clear()
        if self._counted:
            self._is_room()
        self._begin_answer()
        self._stream_down(begin)

    def _stream_down(self, data: bytes) -> None:
        response = self._response()
        if data:
            self._state.bytes_out += len(data)
        for chunk in _streamed(response.stream, data):
            if self._engine.store_streamed:
                self._answer += chunk
            self._front.data(self.key, chunk)

    def _judge_held_body(self, state: FlowState) -> None:
        begin = bytes(self._answer)
        whole_buffer = len(begin) > HELD_LIMIT
        verdict = self._engine.addon.let_go(self.flow, begin)
        if verdict is False:
            state.hold = HELD_LIMIT
            if whole_buffer:
                state.dropped = True
        elif verdict is None and not whole_buffer:
            # Not after each byte: a judgment reads all bytes held so far.
            state.hold = min(2 * len(begin), HELD_LIMIT)
        else:
            self._pass_on()

    def _answer_without_the_rest(self) -> None:
        """Answer now: the rest of the upstream's answer may never end."""
        self._response().raw_content = bytes(self._answer)
        self._answer.clear()
        self._close_upstream()
        self._send(abandon=True)

    def _on_answer_end(self, by_end: bool) -> None:
        response = self.flow.response
        if self.answered not in (Answered.HELD, Answered.STREAMED) or response is None:
            return
        if by_end and self._engine.addon.is_cut(self.flow):
            # A reset, or a cut by the proxy, is not the regular end of a body.
            self._on_failed("the connection was reset in the middle of an answer")
        elif self.answered is Answered.STREAMED:
            if callable(response.stream):
                self._stream_down(b"")
            if self._engine.store_streamed:
                response.data.content = bytes(self._answer)
                self._answer.clear()
            self._send(streamed=True)
        else:
            response.data.content = bytes(self._answer)
            self._answer.clear()
            if self._goes_again():
                self.answered = Answered.NOT_YET
                self._let_upstream_go()
                self._connect(self._send_whole)
            else:
                self._send()

    def _goes_again(self) -> bool:
        """Return whether to send the request again, as it is in the flow now."""
        state = self._state
        held = state.hold is not None and not state.dropped
        return held and self.asked is Asked.DONE and self._engine.addon.goes_again(self.flow)

    def _let_upstream_go(self) -> None:
        """Give the connection back, as no message is in progress on it."""
        if self.upstream is not None:
            self.upstream.release(self)
            self.upstream = None

    def _send(self, *, streamed: bool = False, abandon: bool = False) -> None:
        """Run the hook of a complete answer, then send it.

        Args:
            streamed: whether it was sent already.
            abandon: whether to drop the rest of the request.
        """
        response = self._response()
        response.timestamp_end = time.time()
        if self._engine.is_websocket(self.flow):
            self._engine.expect_websocket(self.flow)
        self._hook(HttpResponseHook, partial(self._sent, streamed, abandon))

    def _sent(self, streamed: bool, abandon: bool) -> None:
        response = self._response()
        self.answered = Answered.DONE
        if self._is_killed(report=False):
            return
        if not streamed:
            self._front.answer(self.key, response)
        if abandon and self.asked is not Asked.DONE:
            self.asked = Asked.DROPPED
        if self.asked in (Asked.DONE, Asked.DROPPED):
            self._finish()

    def _finish(self) -> None:
        flow = self.flow
        self._over = True
        if flow.websocket:
            self._engine.begin_websocket(self)
            return
        flow.live = False
        if self.upstream is not None:
            self.upstream.release(self)
        self._front.finish(self.key)

    # Errors.

    def _refuse(self, status: int, message: str) -> None:
        """Answer with one of the proxy's own errors; an HTTP/1 connection is then closed."""
        self.flow.response = self._worded(status, message)
        self._state.ended_by = "proxy"
        self._hook(HttpErrorHook, self._refused)

    def _refused(self) -> None:
        self.flow.live = False
        self._over = True
        self._front.refuse(self.key, self._response())

    def _worded(self, status: int, message: str) -> http.Response:
        reply = self._engine.addon.own_reply(self.flow, status, message)
        return to_response(reply, self.flow.request.method)

    def _on_failed(self, message: str, status: int = 502) -> None:
        if self._may_retry():
            self._state.retried = True
            self.upstream = None
            self._connect(self._send_whole)
            return
        can_answer = self._gone is None and self.answered in (
            Answered.NOT_YET,
            Answered.AWAITED,
            Answered.HELD,
        )
        if not can_answer:
            # A client that has gone takes its connections to registries with it.
            gone = self._gone is not None or self._engine.context.client.timestamp_end
            self._break("client" if gone else "upstream", message)
            return
        if self._is_killed():
            return
        self._close_upstream()
        self.flow.response = self._worded(status, message)
        self.flow.response.timestamp_start = time.time()
        self._send(abandon=True)

    def _may_retry(self) -> bool:
        """Return whether to retry a request that met a connection closed by the upstream.

        A server may close an idle connection just as the next request is sent on it; an idempotent
        request can be sent again without harm (RFC 9112, section 9.3.1).
        """
        request, upstream = self.flow.request, self.upstream
        return (
            upstream is not None
            and not upstream.heard
            and self._gone is None
            and self.answered is Answered.AWAITED
            and self.asked is Asked.DONE
            and not self._state.retried
            and request.method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
            and not (request.stream or request.raw_content or request.trailers)
            and (upstream.conn.timestamp_start or 0) < request.timestamp_start
        )

    def _on_gone(self, why: str) -> None:
        if self.answered is Answered.DONE:
            # The answer has gone out; only the rest of the request is missing.
            self.flow.live = False
            self._over = True
            self._close_upstream()
            return
        self._break("client", why)

    def _on_stalled(self) -> None:
        if self.answered is Answered.DONE:
            # The registry did not wait for the rest either: its answer is final.
            self.asked = Asked.DROPPED
            self._finish()
            return
        if self.answered is Answered.STREAMED:
            self._engine.addon.was_cut(self.flow, BODY_STALLED)
            self._break("client", BODY_STALLED)
            return
        self._note_body()
        self._close_upstream()
        self.flow.error = mitmproxy_flow.Error(BODY_STALLED)
        self._refuse(408, BODY_STALLED)

    def _note_body(self) -> None:
        """Record how many bytes of a held body have arrived."""
        if self._body:
            self._state.bytes_in = sum(map(len, self._body))

    def _break(self, by: EndedBy, message: str) -> None:
        """End without an answer, or in the middle of one."""
        flow = self.flow
        self._state.ended_by = by
        self._note_body()
        self._close_upstream()
        self.answered = Answered.FAILED
        flow.error = flow.error or mitmproxy_flow.Error(message)
        self._hook(HttpErrorHook, self._broken)

    def _broken(self) -> None:
        self.flow.live = False
        self._over = True
        self._front.abort(self.key)

    def _is_killed(self, *, report: bool = True) -> bool:
        """End a flow that an addon has killed or whose client has gone; return whether it did."""
        error = self.flow.error
        killed = error is not None and error.msg == mitmproxy_flow.Error.KILLED_MESSAGE
        if not killed and self._gone is None:
            return False
        if self._gone is not None and error is None:
            self.flow.error = mitmproxy_flow.Error(self._gone)
            self._state.ended_by = "client"
        self._close_upstream()
        self.answered = Answered.FAILED
        if report:
            self._hook(HttpErrorHook, self._broken)
        else:
            self._broken()
        return True

    def _close_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.close()


def _streamed(stream: Any, data: bytes) -> list[bytes]:
    """Return the chunks to send for a part of a streamed body."""
    if not callable(stream):
        return [data] if data else []
    chunks = stream(data)
    chunks = [chunks] if isinstance(chunks, bytes) else chunks
    return [chunk for chunk in chunks if chunk]
