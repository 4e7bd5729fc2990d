"""HTTP/2 connections."""

from __future__ import annotations

from typing import Any

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._events import RequestData, ResponseData

from .interface import Addon

BACKLOG = 256 * 1024
"""Bytes of a stream that may be held back until nothing more is read for it."""

PORTIONS = 1024
"""Portions in which these bytes may have come: they are counted each time."""


def paced_class(original: Any, addon: Addon) -> Any:
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
                addon.pace(self.context.client, source, False)

        def _release(self) -> None:
            for stream_id in [held for held in self._held if not self._is_long(held)]:
                source = self._held.pop(stream_id)
                if source not in self._held.values():
                    addon.pace(self.context.client, source, True)

        def _is_long(self, stream_id: int) -> bool:
            if self.conn.state is ConnectionState.CLOSED:
                return False
            chunks = self.h2_conn.stream_buffers.get(stream_id, ())
            return len(chunks) > PORTIONS or sum(len(chunk.data) for chunk in chunks) > BACKLOG

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
