"""Flow control for the answers to an HTTP/2 client.

An answer waits for room in the client's windows, of its stream and of the connection (RFC 9113,
section 5.2). With much of it waiting, the proxy stops reading it from the registry.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mitmproxy.connection import Client

from .exchange import Exchange
from .interface import Addon

BACKLOG = 64 * 1024
"""With more bytes of an answer waiting for the client, pause reading the answer."""


class Stream:
    """An exchange, and the part of its answer that waits for room in the client's window."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.waiting: deque[bytes] = deque()
        self.size = 0
        """Bytes in `waiting`."""
        self.complete = False
        """Whether the waiting bytes are the last ones of the answer."""
        self.held = False
        """Whether reading from its upstream is paused."""
        self.whole = False
        """Whether the request is complete."""
        self.heard = time.monotonic()
        """When a part of the request's body last arrived."""
        self.taken = self.heard
        """When the client last had room for a part of the answer, or nothing was waiting."""
        self.bodiless = False
        """Whether the answer has only a head."""

    def add(self, data: bytes) -> None:
        """Let a part of the answer wait."""
        if not self.waiting:
            self.taken = time.monotonic()
        self.waiting.append(data)
        self.size += len(data)

    def cut(self, room: int) -> bytes:
        """Remove and return as much of the answer as there is room for, in bytes."""
        part = self.waiting.popleft()
        if len(part) > room:
            self.waiting.appendleft(part[room:])
            part = part[:room]
        self.size -= len(part)
        return part


class Downloads:
    """The answers on one connection.

    Args:
        connection: hyper-h2's connection.
        streams: the connection's streams, by their ids.
        client: mitmproxy's record of the client.
        addon: pauses reading, and watches clients without room.
        over: called with the id and the stream when an answer is complete.
    """

    def __init__(
        self,
        connection: Any,
        streams: dict[int, Stream],
        client: Client,
        addon: Addon,
        over: Callable[[int, Stream], None],
    ) -> None:
        self._h2 = connection
        self._streams = streams
        self._client = client
        self._addon = addon
        self._over = over
        self._taken = 0.0
        """When the client last had room for a part of any answer."""
        self.closed = False
        """Whether the connection is closed."""

    def send(self, key: int) -> None:
        """Send as much of an answer as the client's windows allow."""
        stream = self._streams.get(key)
        if stream is None or self.closed:
            return
        while stream.waiting:
            room = min(self._h2.local_flow_control_window(key), self._h2.max_outbound_frame_size)
            if room <= 0:
                break
            part = stream.cut(room)
            last = stream.complete and not stream.waiting
            self._h2.send_data(key, part, end_stream=last)
            self._taken = stream.taken = time.monotonic()
            if last:
                self._over(key, stream)
                return
        if stream.complete and not stream.waiting:
            self._h2.end_stream(key)
            self._over(key, stream)
        else:
            self._pace(stream)
            if stream.waiting:
                self._addon.await_window(self._client, self.untaken)

    def untaken(self) -> float | None:
        """Return for how many seconds a client has had no room for a waiting answer.

        Returns:
            The longest time; None if no answer waits.
        """
        waiting = [stream for stream in self._streams.values() if stream.waiting]
        if self.closed or not waiting:
            return None
        return max(self._untaken(stream) for stream in waiting)

    def without_room(self, seconds: float) -> list[tuple[int, Stream]]:
        """Return the streams for whose answers the client has had no room for so long."""
        return [
            (key, stream)
            for key, stream in self._streams.items()
            if stream.waiting and self._untaken(stream) >= seconds
        ]

    def let_go(self, stream: Stream) -> None:
        """Resume reading from the registry of a stream that has ended."""
        upstream = stream.exchange.upstream
        if stream.held and upstream is not None:
            stream.held = False
            self._addon.pace(self._client, upstream.conn, True)

    def _untaken(self, stream: Stream) -> float:
        taken = stream.taken
        if self._h2.outbound_flow_control_window <= 0:
            # Other streams may have used up the connection's window.
            taken = max(taken, self._taken)
        return time.monotonic() - taken

    def _pace(self, stream: Stream) -> None:
        upstream = stream.exchange.upstream
        full = stream.size > BACKLOG
        if upstream is not None and full != stream.held:
            stream.held = full
            self._addon.pace(self._client, upstream.conn, not full)
