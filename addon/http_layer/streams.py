"""One request with its response."""

from __future__ import annotations

import time
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import layers
from mitmproxy.proxy.commands import Command
from mitmproxy.proxy.layer import CommandGenerator
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
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
)

from .. import headers, hop_by_hop
from ..bodies import HELD_LIMIT
from .codes import CANCEL, UPSTREAM_ERROR, status_of
from .interface import (
    ANSWERED,
    AUTHORITY,
    BYTES_IN,
    BYTES_OUT,
    DROPPED,
    ENDED_BY,
    HOLD,
    RETRIED,
    SWITCHES,
    WHOLE,
    Addon,
)
from .responses import to_response


def stream_class(
    original: type[layers.http.HttpStream], addon: Addon
) -> type[layers.http.HttpStream]:
    """A class in the place of mitmproxy's `HttpStream`."""

    class HttpStream(original):  # type: ignore[misc, valid-type]
        client_state: Any
        server_state: Any

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
            reply = addon.own_reply(self.flow, status, message)
            return to_response(reply, self.flow.request.method)

        def _send_and_finish(self) -> CommandGenerator[None]:
            yield from self.send_response()
            if self.server_state == self.state_done and self.client_state != self.state_done:
                # send_response leaves this to the end of the request, which nobody waits for.
                self.client_state = self.state_errored
                yield from self.flow_done()
            # What has come meanwhile is dropped.
            self.client_state = self.server_state = self.state_errored

        def start_request_stream(self) -> CommandGenerator[None]:
            if self.flow.response is None:
                yield from super().start_request_stream()
            else:
                # Answered by an addon behind ours; mitmproxy would raise an error.
                self.flow.request.stream = False
                self.client_state = self.state_consume_request_body

        def state_stream_request_body(self, event: Any) -> CommandGenerator[None]:
            if _is_empty(event):
                return
            if isinstance(event, RequestData):
                self._count(BYTES_IN, event.data)
            waiting = self.flow.response is None
            yield from super().state_stream_request_body(event)
            at_end = isinstance(event, RequestEndOfMessage)
            if waiting and at_end and self.flow.response is not None:
                yield from self._answer_in_place_of_the_upstream()

        def _answer_in_place_of_the_upstream(self) -> CommandGenerator[None]:
            """An addon has answered when the body had passed; mitmproxy would wait for another."""
            self.flow.metadata[ANSWERED] = True
            unwanted = RequestProtocolError(self.stream_id, "answered by an addon", CANCEL)
            yield layers.http.SendHttp(unwanted, self.context.server)
            self.flow.response.timestamp_start = time.time()
            yield HttpResponseHeadersHook(self.flow)
            if not (yield from self.check_killed(True)):
                yield from self._send_and_finish()

        def _count(self, mark: str, data: bytes) -> None:
            metadata = self.flow.metadata
            metadata[mark] = metadata.get(mark, 0) + len(data)

        def state_wait_for_response_headers(self, event: Any) -> CommandGenerator[None]:
            if event.response.status_code == 101 and not self._may_switch(event.response):
                # What follows would be a pipe that no rule sees into.
                self.flow.metadata[RETRIED] = True
                message = "unexpected switch of protocols"
                unwanted = RequestProtocolError(self.stream_id, message, CANCEL)
                yield layers.http.SendHttp(unwanted, self.context.server)
                error = ResponseProtocolError(self.stream_id, message, UPSTREAM_ERROR)
                yield from self.handle_protocol_error(error)
            else:
                yield from super().state_wait_for_response_headers(event)

        def _may_switch(self, response: http.Response) -> bool:
            key = self.flow.metadata.get(SWITCHES)
            if key is None:
                return "upgrade" in self.flow.request.headers
            return hop_by_hop.is_accepted(key.encode(), headers.read(response.headers.fields))

        def state_stream_response_body(self, event: Any) -> CommandGenerator[None]:
            if self._is_cut_short(event):
                yield from self._cut()
            elif not _is_empty(event):
                if isinstance(event, ResponseData):
                    self._count(BYTES_OUT, event.data)
                yield from super().state_stream_response_body(event)

        def _is_cut_short(self, event: Any) -> bool:
            """Without length and chunks the end of the connection is the end of the body.

            mitmproxy takes any end for it, that of a connection that was reset as well.
            """
            if not isinstance(event, ResponseEndOfMessage):
                return False
            response = self.flow.response
            fields = response.headers
            has_end = "content-length" in fields or "transfer-encoding" in fields
            framed = has_end or response.is_http2 or response.is_http3
            return not framed and addon.is_cut(self.flow)

        def _cut(self) -> CommandGenerator[None]:
            message = "the connection was reset in the middle of an answer"
            event = ResponseProtocolError(self.stream_id, message, UPSTREAM_ERROR)
            yield from self.handle_protocol_error(event)

        def state_consume_response_body(self, event: Any) -> CommandGenerator[None]:
            if self._is_cut_short(event):
                yield from self._cut()
                return
            if isinstance(event, ResponseEndOfMessage) and self._goes_again():
                yield from self._send_again()
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

        def _goes_again(self) -> bool:
            flow, server = self.flow, self.context.server
            held = HOLD in flow.metadata and DROPPED not in flow.metadata
            # A stream of HTTP/2 has one number, towards the client and towards the upstream.
            if not held or self.client_state != self.state_done or server.alpn == b"h2":
                return False
            flow.response.raw_content = bytes(self.response_body_buf)
            return addon.goes_again(flow)

        def _send_again(self) -> CommandGenerator[None]:
            self.response_body_buf.clear()
            self.server_state = self.state_wait_for_response_headers
            # mitmproxy calls us before it is done with the answer: this connection is not free yet.
            unwanted = RequestProtocolError(self.stream_id, "it is sent again", CANCEL)
            yield layers.http.SendHttp(unwanted, self.context.server)
            if (yield from self.make_server_connection()):
                yield from self._send_request()

        def _send_request(self) -> CommandGenerator[None]:
            """Send a request that was read whole."""
            request, server = self.flow.request, self.context.server
            body = request.raw_content
            yield layers.http.SendHttp(RequestHeaders(self.stream_id, request, not body), server)
            if body:
                yield layers.http.SendHttp(RequestData(self.stream_id, body), server)
            yield layers.http.SendHttp(RequestEndOfMessage(self.stream_id), server)

        def _judge_held_body(self) -> CommandGenerator[None]:
            begin = bytes(self.response_body_buf)
            whole_buffer = len(begin) > HELD_LIMIT
            verdict = addon.let_go(self.flow, begin)
            if verdict is False:
                self.flow.metadata[HOLD] = HELD_LIMIT
                if whole_buffer:
                    self.flow.metadata[DROPPED] = True
            elif verdict is None and not whole_buffer:
                # Not upon each byte: what is there is looked at as a whole.
                self.flow.metadata[HOLD] = min(2 * len(begin), HELD_LIMIT)
            else:
                self.flow.response.stream = True
                self.response_body_buf.clear()
                yield from self.start_response_stream()
                yield from self.state_stream_response_body(ResponseData(self.stream_id, begin))

        def _answer_without_the_rest(self) -> CommandGenerator[None]:
            """Answer now: what the upstream still has to say may never end."""
            self.flow.response.raw_content = bytes(self.response_body_buf)
            self.response_body_buf.clear()
            unwanted = RequestProtocolError(self.stream_id, "the rest is not needed", CANCEL)
            yield layers.http.SendHttp(unwanted, self.context.server)
            yield from self._send_and_finish()

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
                    yield from self._send_request()
                return
            status = status_of(event.code)
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
                # A client that has gone takes its connections to upstreams with it.
                client_is_there = self.context.client.timestamp_end is None
                by_upstream = isinstance(event, ResponseProtocolError) and client_is_there
                self.flow.metadata[ENDED_BY] = "upstream" if by_upstream else "client"
                if self.request_body_buf:
                    self.flow.metadata[BYTES_IN] = len(self.request_body_buf)
                yield from super().handle_protocol_error(event)
                return
            self.flow.response = self._worded(status, event.message)
            self.flow.response.timestamp_start = time.time()
            yield from self._send_and_finish()

        def make_server_connection(self) -> CommandGenerator[bool]:
            _forget_ended(self.context.layers)
            connected: bool = yield from super().make_server_connection()
            if not connected:
                return False
            # No hook comes between this and the request's way upstream.
            if not addon.may_go(self.flow):
                self.flow.response.timestamp_start = time.time()
                yield from self._send_and_finish()
                return False
            self._frame_for_http1()
            return True

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
                if request and WHOLE in self.flow.metadata:
                    return False  # mitmproxy would stream what is longer than its own options say.
                too_large: bool = yield from super().check_body_size(request)
                return too_large
            return (yield from self._answered_by_us(super().check_body_size(request)))

        def _answered_by_us(self, steps: CommandGenerator[bool]) -> CommandGenerator[bool]:
            """Run mitmproxy's steps, and put our answer in front of an error for the client."""
            reply = error_hook = None
            try:
                while True:
                    command: Command = steps.send(reply)
                    reply = None
                    if isinstance(command, HttpErrorHook):
                        error_hook = command  # It is to see what the next command answers.
                        continue
                    response = None
                    if (
                        isinstance(command, layers.http.SendHttp)
                        and isinstance(command.event, ResponseProtocolError)
                        and (status := status_of(command.event.code)) is not None
                    ):
                        response = self._worded(status, command.event.message)
                        self.flow.response = response
                        self.flow.metadata[ENDED_BY] = "proxy"
                    if error_hook is not None:
                        yield error_hook
                        error_hook = None
                    if response is not None:
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
