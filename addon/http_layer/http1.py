"""HTTP/1 connections."""

from __future__ import annotations

import time
from typing import Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1 as mitmproxy_http1
from mitmproxy.proxy.commands import CloseConnection, RequestWakeup, SendData
from mitmproxy.proxy.events import ConnectionClosed, Wakeup
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestHeaders,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.mode_specs import ReverseMode

from .. import framing, hop_by_hop
from .codes import UPSTREAM_ERROR
from .interface import Addon
from .responses import to_last_bytes

HALF_OPEN_SECONDS = 5
"""How long an answer may take to begin for a client that has shut down its side."""


def server_class(original: type[_http1.Http1Server], addon: Addon) -> type[_http1.Http1Server]:
    """A class in the place of mitmproxy's `Http1Server`: a client's connection."""

    class Http1Server(original):  # type: ignore[misc, valid-type]
        _head_ends: float | None = None
        """Until when the head that has begun must be complete."""
        _alarm: RequestWakeup | None = None
        _half_open: RequestWakeup | None = None
        _closes = False
        """Whether the client expects the end of the connection after the answer."""

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
            if (end or len(begin)) > addon.request_head_limit():
                yield from self._refuse(431)
            elif end is None:
                if begin and self._head_ends is None:
                    self._head_ends = time.monotonic() + addon.head_time(self.conn)
                yield from self._check_time()
            elif self._is_checked() and not framing.is_request_head(begin[:end]):
                yield from self._refuse(400)
            else:
                self._head_ends = None
                for command in super().read_headers(event):
                    if isinstance(command, ReceiveHttp) and isinstance(
                        command.event, RequestHeaders
                    ):
                        # The addon takes away what says so.
                        self._closes = self._is_old() or _says_close(command.event.request)
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
            reply = addon.own_reply(None, status, "")
            addon.refused(self.conn, reply)
            yield SendData(self.conn, to_last_bytes(reply))
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

        def send(self, event: Any) -> CommandGenerator[None]:
            if not self.conn.state & ConnectionState.CAN_WRITE:
                # Closed behind an answer of ours; bytes could still be written for a moment.
                for command in super().send(event):
                    if not isinstance(command, SendData):
                        yield command
                return
            if isinstance(event, ResponseHeaders) and event.response.status_code >= 200:
                if self._closes or addon.is_draining():
                    event.response.headers["Connection"] = "close"
                event = self._framed(event)
            elif isinstance(event, ResponseProtocolError) and self._would_look_whole():
                addon.reset(self.conn)
            yield from super().send(event)

        def _would_look_whole(self) -> bool:
            """Tell whether an answer that breaks now would end as it has to."""
            response = self.response
            return (
                response is not None and "content-length" not in response.headers and self._is_old()
            )

        def _framed(self, event: ResponseHeaders) -> ResponseHeaders:
            """Frame an answer for this client; in a copy, because the upstream's is another."""
            response = event.response
            if self._ends_with_connection(response):
                response = response.copy()
                response.http_version = "HTTP/1.1"
                response.headers["Transfer-Encoding"] = "chunked"
            elif self._is_old() and "transfer-encoding" in response.headers:
                response = response.copy()
                del response.headers["Transfer-Encoding"]
            else:
                return event
            return ResponseHeaders(event.stream_id, response, event.end_stream)

        def _is_old(self) -> bool:
            """Tell whether a client does not know chunks."""
            assert self.request  # noqa: S101 (its head was read)
            return bool(self.request.http_version == "HTTP/1.0")

        def _ends_with_connection(self, response: http.Response) -> bool:
            """Tell whether nothing but the end of the connection would end a body.

            Then a client cannot tell half of it from the whole; chunks tell (RFC 9112, 8).
            """
            size = mitmproxy_http1.expected_http_body_size
            return not self._is_old() and size(self.request, response) == -1

    return Http1Server


def client_class(original: type[_http1.Http1Client], addon: Addon) -> type[_http1.Http1Client]:
    """A class in the place of mitmproxy's `Http1Client`: a connection to an upstream."""

    class Http1Client(original):  # type: ignore[misc, valid-type]
        _closes = False
        """Whether the upstream ends the connection after its answer."""

        def read_headers(self, event: Any) -> CommandGenerator[None]:
            """Drop interim answers, which mitmproxy takes for final ones."""
            if self.request and (end := framing.interim_end(bytes(self.buf))):
                self.buf.maybe_extract_at_most(end)
            if self.request and self._is_too_large():
                self.state = self.done
                yield CloseConnection(self.conn)
                message = "the head of the response is too large"
                error = ResponseProtocolError(self.stream_id, message, UPSTREAM_ERROR)
                yield ReceiveHttp(error)
                return
            for command in super().read_headers(event):
                if isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseHeaders):
                    # The addon takes away what says so.
                    self._closes = _says_close(command.event.response)
                yield command

        def mark_done(self, **sides: bool) -> CommandGenerator[None]:
            yield from super().mark_done(**sides)
            if self._closes and self.state == self.read_headers and self.request is None:
                self.state = self.done
                yield CloseConnection(self.conn)

        def _is_too_large(self) -> bool:
            limit = addon.response_head_limit()
            if len(self.buf) <= limit:
                return False
            begin = bytes(self.buf)
            return (framing.head_end(begin) or len(begin)) > limit

    return Http1Client


def _says_close(message: http.Message) -> bool:
    data = message.data
    lines = [value for name, value in data.headers.fields if name.lower() == b"connection"]
    return hop_by_hop.closes(data.http_version, lines)
