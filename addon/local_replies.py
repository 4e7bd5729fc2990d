"""The one place that reaches into mitmproxy's HTTP layer.

mitmproxy answers by itself when a connection fails or a message is malformed: in HTML, after the
last hook that an addon could use (https://github.com/mitmproxy/mitmproxy/issues/4854 was closed
without an interface, https://github.com/mitmproxy/mitmproxy/pull/7999 is open). It also reads a
whole request body before it sends an answer that was decided at the headers. Both are mended in
a subclass of its `HttpStream`, which takes the place of the original in the module that makes
streams, and in `make_error_response`, which answers what never became a stream.

And it is lenient about where a message ends, and closes without an answer, or crashes, where a
chunked body is malformed or has trailers. What `framing` says counts here instead.

`install` checks that all it builds on is still there. Tested with mitmproxy 11.0 and 12.2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, Connection, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import layers
from mitmproxy.proxy.commands import CloseConnection, Command, Log, RequestWakeup, SendData
from mitmproxy.proxy.events import ConnectionClosed, Wakeup
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook, HttpResponseHeadersHook
from mitmproxy.proxy.mode_specs import ReverseMode

from . import framing
from .bodies import HELD_LIMIT
from .replies import Reply

AUTHORITY = "mlflow_authority"
"""Key in `flow.metadata`: the host that the client asked for, which reverse mode overwrites."""

HOLD = "mlflow_hold"
"""Key in `flow.metadata`: so many bytes of the response body are held before `LetGo` is asked."""

DROPPED = "mlflow_dropped"
"""Key in `flow.metadata`: only the beginning of the response body was held, the rest is gone."""

RETRIED = "mlflow_retried"
"""Key in `flow.metadata`: the request must not be sent again, because it was, or for a reason."""

MakeReply = Callable[[http.HTTPFlow | None, int, str], Reply]
"""Words an answer from the flow (None: not even that), the status and mitmproxy's message."""

LetGo = Callable[[http.HTTPFlow, bytes], bool | None]
"""Tells from a flow and the beginning of its response body whether it passes after all (True),
only its beginning is needed (False), or that is not clear yet (None)."""

Pace = Callable[[Client, Connection, bool], None]
"""Stops reading from one of a client's connections (False), or goes on (True)."""

BACKLOG = 256 * 1024
"""Bytes of a stream that HTTP/2 may hold back until nothing more is read for it."""

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
_NEEDED_HTTP1 = ("_handle_event", "done", "mark_done", "read_body", "read_headers", "wait")
HALF_OPEN_SECONDS = 5
"""How long an answer may take to begin for a client that has shut down its side."""

# mitmproxy 11 has statuses in the place of an ErrorCode; these two mean that nobody is listening.
_NO_ANSWER = (444, 499)


class UnsupportedError(RuntimeError):
    """This mitmproxy has changed where we reach into it."""


def install(
    make_reply: MakeReply,
    let_go: LetGo,
    head_limit: Callable[[], int],
    head_time: Callable[[Client], float],
    pace: Pace,
) -> Callable[[], None]:
    """Let mitmproxy's own answers be made by `make_reply`, and held bodies be judged by `let_go`.

    Args:
        make_reply: see `MakeReply`.
        let_go: see `LetGo`.
        head_limit: tells how many bytes request line and headers may have.
        head_time: told that a client has begun to send them; tells how many seconds it has.
        pace: see `Pace`.

    Returns:
        A function that undoes it.

    Raises:
        UnsupportedError: something that this builds on is missing.
    """
    places: list[tuple[Any, str]] = [
        (layers.http, "HttpStream"),
        (layers.http, "Http1Server"),
        (layers.http, "Http1Client"),
        (layers.http, "Http2Server"),
        (layers.http, "Http2Client"),
        (layers.http, "validate_request"),
        (layers.http, "validate_headers"),
        (_http1, "make_error_response"),
        (_http1, "make_body_reader"),
    ]
    missing = [name for module, name in places if not hasattr(module, name)]
    missing += [name for name in _NEEDED if not hasattr(layers.http.HttpStream, name)]
    missing += [name for name in _NEEDED_HTTP1 if not hasattr(_http1.Http1Server, name)]
    if missing:
        raise UnsupportedError(
            f"mitmproxy's HTTP layer lacks {', '.join(missing)}; "
            "this addon is tested with mitmproxy 11.0 and 12.2"
        )
    originals = [getattr(module, name) for module, name in places]
    stream, server, client, server2, client2, *functions = originals
    validate_request, validate_headers, _, make_body_reader = functions

    def make_error_response(status_code: int, message: str = "") -> bytes:
        response = to_response(make_reply(None, status_code, message), "GET")
        response.headers["Connection"] = "close"
        return bytes(http1.assemble_response(response))

    def check_request(mode: Any, request: http.Request, validate: bool) -> str | None:
        problem: str | None = validate_request(mode, request, validate)
        # Reverse mode, too, is what mitmproxy calls transparent here.
        if problem is None and validate and mode is layers.http.HTTPMode.transparent:
            data = request.data
            problem = framing.request_flaw(
                data.http_version, data.method, data.path, data.authority, data.headers.fields
            )
        return problem

    def check_headers(message: http.Message) -> None:
        validate_headers(message)
        if not isinstance(message, http.Response):
            return
        data = message.data
        if problem := framing.response_flaw(
            data.http_version, data.status_code, data.reason, data.headers.fields
        ):
            raise ValueError(problem)

    def body_reader(size: int | None) -> Any:
        return framing.ChunkedReader() if size is None else make_body_reader(size)

    replacements = [
        _stream_class(stream, make_reply, let_go),
        _server_class(server, head_limit, head_time),
        _client_class(client),
        _paced_class(server2, pace),
        _paced_class(client2, pace),
        check_request,
        check_headers,
        make_error_response,
        body_reader,
    ]
    for (module, name), replacement in zip(places, replacements, strict=True):
        setattr(module, name, replacement)

    def uninstall() -> None:
        for (module, name), original in zip(places, originals, strict=True):
            setattr(module, name, original)

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


def _server_class(
    original: type[_http1.Http1Server],
    head_limit: Callable[[], int],
    head_time: Callable[[Client], float],
) -> type[_http1.Http1Server]:
    class Http1Server(original):  # type: ignore[misc, valid-type]
        _head_ends: float | None = None
        """Until when the head that has begun must be complete."""
        _alarm: RequestWakeup | None = None
        _half_open: RequestWakeup | None = None

        def _handle_event(self, event: Any) -> CommandGenerator[None]:
            if not isinstance(event, Wakeup):
                yield from super()._handle_event(event)
            elif event.command is self._half_open and self.response is None:
                yield from super().wait(ConnectionClosed(self.conn))
            elif event.command is self._alarm:
                self._alarm = None
                yield from self._check_time()

        def read_headers(self, event: Any) -> CommandGenerator[None]:
            if isinstance(event, ConnectionClosed):
                # mitmproxy would log what has come so far, with whatever secret is in it.
                self._head_ends = None
                yield CloseConnection(self.conn)
                return
            self.buf.maybe_extract_at_most(framing.empty_lines(bytes(self.buf)))
            begin = bytes(self.buf)
            end = framing.head_end(begin)
            if (end or len(begin)) > head_limit():
                yield from self._refuse(431)
            elif end is None:
                if begin and self._head_ends is None:
                    self._head_ends = time.monotonic() + head_time(self.conn)
                yield from self._check_time()
            elif self._is_checked() and not framing.is_request_head(begin[:end]):
                yield from self._refuse(400)
            else:
                self._head_ends = None
                for command in super().read_headers(event):
                    # It would show a request line that it cannot read, too.
                    if not isinstance(command, Log):
                        yield command

        def _is_checked(self) -> bool:
            reverse = isinstance(self.context.client.proxy_mode, ReverseMode)
            return reverse and bool(self.context.options.validate_inbound_headers)

        def _check_time(self) -> CommandGenerator[None]:
            """End a head that is not complete in time; else look again when that may be so."""
            if self._head_ends is None or self._alarm is not None:
                return
            left = self._head_ends - time.monotonic()
            if left <= 0:
                yield from self._refuse(408)
            else:
                self._alarm = RequestWakeup(left)
                yield self._alarm

        def _refuse(self, status: int) -> CommandGenerator[None]:
            self._head_ends = None
            self.state = self.done
            yield SendData(self.conn, _http1.make_error_response(status))
            yield CloseConnection(self.conn)

        def read_body(self, event: Any) -> CommandGenerator[None]:
            reader = self.body_reader
            for command in super().read_body(event):
                broken = isinstance(reader, framing.ChunkedReader) and reader.broken
                if broken and isinstance(command, CloseConnection):
                    self.state = self.done
                    if self.response is None:
                        yield SendData(self.conn, _http1.make_error_response(400))
                yield command

        def wait(self, event: Any) -> CommandGenerator[None]:
            """A client that has shut down its side may wait for its answer, or may have gone.

            mitmproxy takes it for gone at once. Here it may have gone after some seconds, unless
            the answer has begun: then writing will tell.
            """
            half_open = self.conn.state is ConnectionState.CAN_WRITE
            if isinstance(event, ConnectionClosed) and half_open:
                self._half_open = RequestWakeup(HALF_OPEN_SECONDS)
                yield self._half_open
            else:
                yield from super().wait(event)

        def mark_done(self, **sides: bool) -> CommandGenerator[None]:
            yield from super().mark_done(**sides)
            if self._half_open is not None and self.state not in (self.wait, self.done):
                yield from self.state(ConnectionClosed(self.conn))

    return Http1Server


def _client_class(original: type[_http1.Http1Client]) -> type[_http1.Http1Client]:
    class Http1Client(original):  # type: ignore[misc, valid-type]
        def read_headers(self, event: Any) -> CommandGenerator[None]:
            """Drop interim answers, which mitmproxy takes for final ones."""
            upgrade = bool(self.request and "upgrade" in self.request.headers)
            while self.request and (end := framing.interim_end(bytes(self.buf), upgrade=upgrade)):
                self.buf.maybe_extract_at_most(end)
            for command in super().read_headers(event):
                # What it did not expect from the server is nobody's business.
                if not isinstance(command, Log):
                    yield command

    return Http1Client


def _paced_class(original: Any, pace: Pace) -> Any:
    """HTTP/2 that does not read on for a stream whose receiver does not.

    mitmproxy keeps what the receiver's window has no room for, and reads whatever comes.
    """

    class Http2Connection(original):  # type: ignore[misc]
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self._held: dict[int, Connection] = {}
            """Where nothing is read, by the stream for which that is so."""

        def _handle_event(self, event: Any) -> CommandGenerator[None]:
            yield from super()._handle_event(event)
            if isinstance(event, RequestData | ResponseData):
                self._hold(event.stream_id)
            else:
                self._release()

        def _hold(self, stream_id: int) -> None:
            source = self._source(stream_id)
            if source is not None and self._is_long(stream_id) and stream_id not in self._held:
                self._held[stream_id] = source
                pace(self.context.client, source, False)

        def _release(self) -> None:
            for stream_id in [held for held in self._held if not self._is_long(held)]:
                source = self._held.pop(stream_id)
                if source not in self._held.values():
                    pace(self.context.client, source, True)

        def _is_long(self, stream_id: int) -> bool:
            if self.conn.state is ConnectionState.CLOSED:
                return False
            chunks = self.h2_conn.stream_buffers.get(stream_id, ())
            return sum(len(chunk.data) for chunk in chunks) > BACKLOG

        def _source(self, stream_id: int) -> Connection | None:
            """Where the data of a stream come from."""
            client: Connection = self.context.client
            if self.conn is not client:
                # It would have to hear of its other streams' windows.
                return client if client.alpn != b"h2" else None
            parent = self.context.layers[self.context.layers.index(self) - 1]
            stream = parent.streams.get(stream_id)
            return stream.context.server if stream else None

    return Http2Connection


def _stream_class(
    original: type[layers.http.HttpStream], make_reply: MakeReply, let_go: LetGo
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
            if not _is_empty(event):
                yield from super().state_stream_response_body(event)

        def state_consume_response_body(self, event: Any) -> CommandGenerator[None]:
            metadata = self.flow.metadata
            dropping = DROPPED in metadata
            if dropping and isinstance(event, ResponseData):
                return
            yield from super().state_consume_response_body(event)
            # mitmproxy's own options on body sizes may have decided otherwise meanwhile.
            held = self.server_state == self.state_consume_response_body
            if HOLD in metadata and held and len(self.response_body_buf) > metadata[HOLD]:
                yield from self._judge_held_body()

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
                not self._is_framed()
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
            invalid = yield from self._answered_by_us(super().check_invalid(request))
            if request and self.mode is layers.http.HTTPMode.transparent and not self._is_framed():
                # In absolute form the target would go on naming the host that the client knows.
                self.flow.request.authority = ""
            return invalid

        def _is_framed(self) -> bool:
            return bool(self.flow.request.is_http2 or self.flow.request.is_http3)

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
