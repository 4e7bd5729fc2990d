"""The one place that reaches into mitmproxy's HTTP layer.

mitmproxy answers by itself when a connection fails or a message is malformed: in HTML, after the
last hook that an addon could use (https://github.com/mitmproxy/mitmproxy/issues/4854 was closed
without an interface, https://github.com/mitmproxy/mitmproxy/pull/7999 is open). It also reads a
whole request body before it sends an answer that was decided at the headers. Both are mended in
a subclass of its `HttpStream`, which takes the place of the original in the module that makes
streams, and in `make_error_response`, which answers what never became a stream.

`install` checks that all it builds on is still there. Tested with mitmproxy 11.0 and 12.2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.net.http import http1
from mitmproxy.proxy import layers
from mitmproxy.proxy.commands import CloseConnection, Command, SendData
from mitmproxy.proxy.events import ConnectionClosed
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _events, _http1
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook, HttpResponseHeadersHook

from .bodies import HELD_LIMIT
from .replies import Reply

AUTHORITY = "mlflow_authority"
"""Key in `flow.metadata`: the host that the client asked for, which reverse mode overwrites."""

HOLD = "mlflow_hold"
"""Key in `flow.metadata`: so many bytes of the response body are held before `LetGo` is asked."""

DROPPED = "mlflow_dropped"
"""Key in `flow.metadata`: of the response body only what is held so far is needed."""

RETRIED = "mlflow_retried"
"""Key in `flow.metadata`: the request must not be sent again, because it was, or for a reason."""

MakeReply = Callable[[http.HTTPFlow | None, int, str], Reply]
"""Words an answer from the flow (None: not even that), the status and mitmproxy's message."""

LetGo = Callable[[http.HTTPFlow, bytes], bool | None]
"""Tells from a flow and the beginning of its response body whether it passes after all (True),
only its beginning is needed (False), or that is not clear yet (None)."""

_NEEDED = (
    "check_body_size",
    "check_invalid",
    "check_killed",
    "flow_done",
    "handle_protocol_error",
    "make_server_connection",
    "send_response",
    "start_response_stream",
    "state_consume_request_body",
    "state_consume_response_body",
    "state_errored",
    "state_stream_request_body",
    "state_stream_response_body",
    "state_wait_for_request_headers",
    "state_wait_for_response_headers",
)
# mitmproxy 11 has statuses in the place of an ErrorCode; these two mean that nobody is listening.
_NO_ANSWER = (444, 499)
_CODES: Any = getattr(_events, "ErrorCode", None)
_CANCEL: Any = _CODES.CANCEL if _CODES else 499
_UPSTREAM_ERROR: Any = _CODES.GENERIC_SERVER_ERROR if _CODES else 502


class UnsupportedError(RuntimeError):
    """This mitmproxy has changed where we reach into it."""


def install(
    make_reply: MakeReply,
    let_go: LetGo,
    head_limit: Callable[[], int],
    is_draining: Callable[[], bool],
    is_cut: Callable[[http.HTTPFlow], bool],
) -> Callable[[], None]:
    """Let mitmproxy's own answers be made by `make_reply`, and held bodies be judged by `let_go`.

    Args:
        make_reply: see `MakeReply`.
        let_go: see `LetGo`.
        head_limit: tells how many bytes request line and headers may have.
        is_draining: tells whether answers ask clients to close their connections.
        is_cut: tells whether the upstream's connection has ended otherwise than by its will.

    Returns:
        A function that undoes it.

    Raises:
        UnsupportedError: something that this builds on is missing.
    """
    original = layers.http.HttpStream
    missing = [name for name in _NEEDED if not hasattr(original, name)]
    missing += [n for n in ("make_error_response", "Http1Server") if not hasattr(_http1, n)]
    missing += [n for n in ("Http1Server",) if not hasattr(layers.http, n)]
    if missing:
        raise UnsupportedError(
            f"mitmproxy's HTTP layer lacks {', '.join(missing)}; "
            "this addon is tested with mitmproxy 11.0 and 12.2"
        )
    original_error_response = _http1.make_error_response

    def make_error_response(status_code: int, message: str = "") -> bytes:
        response = to_response(make_reply(None, status_code, message), "GET")
        response.headers["Connection"] = "close"
        return bytes(http1.assemble_response(response))

    server_class = _server_class(_http1.Http1Server, head_limit, is_draining)
    setattr(layers.http, "Http1Server", server_class)  # noqa: B010
    layers.http.HttpStream = _stream_class(original, make_reply, let_go, is_cut)  # type: ignore[misc]
    _http1.make_error_response = make_error_response

    def uninstall() -> None:
        setattr(layers.http, "Http1Server", _http1.Http1Server)  # noqa: B010
        layers.http.HttpStream = original  # type: ignore[misc]
        _http1.make_error_response = original_error_response

    return uninstall


def to_response(reply: Reply, method: str) -> http.Response:
    """A mitmproxy response with exactly the headers of a reply.

    The answer to HEAD has the same headers and no body (RFC 9110, section 9.3.2); mitmproxy would
    send one, and the client would take it for the beginning of the next answer.
    """
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in reply.headers]
    response = http.Response.make(reply.status, reply.body, http.Headers(headers))
    if method == "HEAD":
        response.raw_content = b""
    return response


def _status(code: Any) -> int | None:
    """The HTTP status for the code of a protocol error; None where no answer is due."""
    if isinstance(code, int):
        return None if code in _NO_ANSWER else code
    status: int | None = code.http_status_code()
    return status


def _is_empty(event: Any) -> bool:
    """An empty DATA frame of HTTP/2 would go over HTTP/1 as the chunk that ends a body."""
    return isinstance(event, RequestData | ResponseData) and not event.data


def _forget_ended(stack: list[Any]) -> None:
    """Drop the upstream connections of a client that have ended.

    mitmproxy keeps them until the client goes away, with all that belongs to them; and one that
    could not be made is its answer to all later requests of that client.
    """
    for layer in stack:
        if isinstance(layer, layers.http.HttpLayer):
            for connection in [*layer.connections]:
                if not isinstance(connection, Server):
                    continue
                never_made = connection.error and not connection.timestamp_tcp_setup
                ended = connection.timestamp_end or never_made
                if ended and connection not in layer.waiting_for_establishment:
                    del layer.connections[connection]


def _server_class(
    original: type[_http1.Http1Server],
    head_limit: Callable[[], int],
    is_draining: Callable[[], bool],
) -> type[_http1.Http1Server]:
    class Http1Server(original):  # type: ignore[misc, valid-type]
        def read_headers(self, event: Any) -> CommandGenerator[None]:
            if isinstance(event, ConnectionClosed):
                # mitmproxy would log what has come so far, with whatever secret is in it.
                yield CloseConnection(self.conn)
                return
            if len(self.buf) > head_limit():
                head, end, _ = bytes(self.buf).partition(b"\r\n\r\n")
                if not end or len(head) > head_limit():
                    yield SendData(self.conn, _http1.make_error_response(431))
                    yield CloseConnection(self.conn)
                    self.state = self.done
                    return
            yield from super().read_headers(event)

        def send(self, event: Any) -> CommandGenerator[None]:
            if isinstance(event, ResponseHeaders):
                if is_draining():
                    event.response.headers["Connection"] = "close"
                if self._ends_with_connection(event.response):
                    # A copy: towards the upstream it has no chunks.
                    response = event.response.copy()
                    response.http_version = "HTTP/1.1"
                    response.headers["Transfer-Encoding"] = "chunked"
                    event = ResponseHeaders(event.stream_id, response, event.end_stream)
            yield from super().send(event)

        def _ends_with_connection(self, response: http.Response) -> bool:
            """Tell whether nothing but the end of the connection would end a body.

            Then a client cannot tell half of it from the whole; chunks tell (RFC 9112, 8).
            """
            assert self.request  # noqa: S101 (its head was read)
            return (
                self.request.http_version == "HTTP/1.1"
                and http1.expected_http_body_size(self.request, response) == -1
            )

    return Http1Server


def _stream_class(
    original: type[layers.http.HttpStream],
    make_reply: MakeReply,
    let_go: LetGo,
    is_cut: Callable[[http.HTTPFlow], bool],
) -> type[layers.http.HttpStream]:
    class HttpStream(original):  # type: ignore[misc, valid-type]
        def state_wait_for_request_headers(self, event: Any) -> CommandGenerator[None]:
            yield from super().state_wait_for_request_headers(event)
            decided_early = (
                self.client_state == self.state_consume_request_body
                and self.flow.response is not None
                and not event.end_stream
            )
            if decided_early:
                yield from self._answer_before_body()

        def _answer_before_body(self) -> CommandGenerator[None]:
            """Answer at once; what still arrives of the request is read and dropped."""
            self.flow.request.raw_content = b""
            self.client_state = self.state_errored
            yield HttpRequestHook(self.flow)
            self.flow.response.timestamp_start = time.time()
            yield HttpResponseHeadersHook(self.flow)
            if not (yield from self.check_killed(True)):
                yield from self._send_and_finish()

        def _worded(self, status: int, message: str) -> http.Response:
            return to_response(make_reply(self.flow, status, message), self.flow.request.method)

        def _send_and_finish(self) -> CommandGenerator[None]:
            yield from self.send_response()
            if self.server_state == self.state_done and self.client_state != self.state_done:
                # send_response leaves this to the end of the request, which nobody waits for.
                self.client_state = self.state_errored
                yield from self.flow_done()

        def state_stream_request_body(self, event: Any) -> CommandGenerator[None]:
            if not _is_empty(event):
                yield from super().state_stream_request_body(event)

        def state_stream_response_body(self, event: Any) -> CommandGenerator[None]:
            if self._is_cut_short(event):
                yield from self._cut()
            elif not _is_empty(event):
                yield from super().state_stream_response_body(event)

        def _is_cut_short(self, event: Any) -> bool:
            """Without length and chunks the end of the connection is the end of the body.

            mitmproxy takes any end for it, that of a connection that was reset as well.
            """
            return isinstance(event, ResponseEndOfMessage) and is_cut(self.flow)

        def _cut(self) -> CommandGenerator[None]:
            message = "the connection was cut in the middle of an answer"
            event = ResponseProtocolError(self.stream_id, message, _UPSTREAM_ERROR)
            yield from self.handle_protocol_error(event)

        def state_consume_response_body(self, event: Any) -> CommandGenerator[None]:
            if self._is_cut_short(event):
                yield from self._cut()
                return
            metadata = self.flow.metadata
            if not (DROPPED in metadata and isinstance(event, ResponseData)):
                yield from super().state_consume_response_body(event)
            # Nothing is held any more at the end, or if mitmproxy's own options have decided so.
            if self.server_state != self.state_consume_response_body:
                return
            if HOLD in metadata and len(self.response_body_buf) > metadata[HOLD]:
                yield from self._judge_held_body()
            if DROPPED in metadata:
                yield from self._answer_without_the_rest()

        def _judge_held_body(self) -> CommandGenerator[None]:
            begin = bytes(self.response_body_buf)
            whole_buffer = len(begin) > HELD_LIMIT
            verdict = let_go(self.flow, begin)
            if verdict is False:
                self.flow.metadata[HOLD] = HELD_LIMIT
                if whole_buffer:
                    self.flow.metadata[DROPPED] = True
            elif verdict or whole_buffer:
                self.flow.response.stream = True
                self.response_body_buf.clear()
                yield from self.start_response_stream()
                yield from self.state_stream_response_body(ResponseData(self.stream_id, begin))

        def _answer_without_the_rest(self) -> CommandGenerator[None]:
            """Answer now: what the upstream still has to say may never end."""
            self.flow.response.raw_content = bytes(self.response_body_buf)
            self.response_body_buf.clear()
            unwanted = RequestProtocolError(self.stream_id, "the rest is not needed", _CANCEL)
            yield layers.http.SendHttp(unwanted, self.context.server)
            yield from self._send_and_finish()
            self.server_state = self.state_errored  # What has come meanwhile is dropped.

        def _may_retry(self, event: Any) -> bool:
            """Tell whether a request met a connection that the upstream had given up.

            A server may close an idle connection just as the next request is sent on it; who sends
            an idempotent one again does no harm (RFC 9112, section 9.3.1).
            """
            request, server = self.flow.request, self.context.server
            return (
                isinstance(event, ResponseProtocolError)
                and self.server_state == self.state_wait_for_response_headers
                and self.client_state == self.state_done
                and RETRIED not in self.flow.metadata
                and request.method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
                and not (request.stream or request.raw_content or request.trailers)
                and (server.timestamp_start or 0) < request.timestamp_start
            )

        def handle_protocol_error(self, event: Any) -> CommandGenerator[None]:
            if self._may_retry(event):
                self.flow.metadata[RETRIED] = True
                if (yield from self.make_server_connection()):
                    server = self.context.server
                    yield layers.http.SendHttp(
                        RequestHeaders(self.stream_id, self.flow.request, True), server
                    )
                    yield layers.http.SendHttp(RequestEndOfMessage(self.stream_id), server)
                return
            status = _status(event.code)
            can_answer = (
                isinstance(event, ResponseProtocolError)
                and self.client_state != self.state_errored
                and self.server_state
                in (
                    self.state_uninitialized,
                    self.state_wait_for_response_headers,
                    self.state_consume_response_body,
                )
            )
            if status is None or not can_answer or (yield from self.check_killed(True)):
                yield from super().handle_protocol_error(event)
                return
            self.flow.response = self._worded(status, event.message)
            self.flow.response.timestamp_start = time.time()
            yield from self._send_and_finish()

        def make_server_connection(self) -> CommandGenerator[bool]:
            _forget_ended(self.context.layers)
            connected: bool = yield from super().make_server_connection()
            if connected:
                self._frame_for_http1()
            return connected

        def _frame_for_http1(self) -> None:
            """HTTP/2 delimits a body by frames, HTTP/1 needs a length or chunks (RFC 9112, 6.3).

            Without either mitmproxy sends the body after the headers as it is, where the
            upstream reads it as the next request.
            """
            request = self.flow.request
            if (
                not (request.is_http2 or request.is_http3)
                or self.context.server.alpn == b"h2"
                or "content-length" in request.headers
            ):
                return
            if request.stream and self.client_state != self.state_consume_request_body:
                request.headers["transfer-encoding"] = "chunked"
            elif request.raw_content:
                request.headers["content-length"] = str(len(request.raw_content))

        def check_invalid(self, request: bool) -> CommandGenerator[bool]:
            if request:
                # The first thing that mitmproxy does with a new flow.
                self.flow.metadata[AUTHORITY] = self.flow.request.host_header or ""
            return (yield from self._answered_by_us(super().check_invalid(request)))

        def check_body_size(self, request: bool) -> CommandGenerator[bool]:
            if not self.context.options.body_size_limit:
                too_large: bool = yield from super().check_body_size(request)
                return too_large
            return (yield from self._answered_by_us(super().check_body_size(request)))

        def _answered_by_us(self, steps: CommandGenerator[bool]) -> CommandGenerator[bool]:
            """Run mitmproxy's steps, and put our answer in front of an error for the client."""
            reply = None
            try:
                while True:
                    command: Command = steps.send(reply)
                    if (
                        isinstance(command, layers.http.SendHttp)
                        and isinstance(command.event, ResponseProtocolError)
                        and (status := _status(command.event.code)) is not None
                    ):
                        response = self._worded(status, command.event.message)
                        client = self.context.client
                        if client.alpn != b"h2":
                            response.headers["Connection"] = "close"
                        for part in (
                            ResponseHeaders(self.stream_id, response, False),
                            ResponseData(self.stream_id, response.raw_content or b""),
                        ):
                            yield layers.http.SendHttp(part, client)
                        if client.alpn == b"h2":
                            command = layers.http.SendHttp(
                                ResponseEndOfMessage(self.stream_id), client
                            )
                    reply = yield command
            except StopIteration as done:
                return bool(done.value)

    return HttpStream
