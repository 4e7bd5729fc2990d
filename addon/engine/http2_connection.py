"""What reading requests and writing answers share of a client's HTTP/2 connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.settings

from . import endings
from .allowance import Allowance
from .client_connection import ClientConnection
from .downloads import Downloads, Stream
from .exchange import Exchange
from .frames import HTTP2_PREFACE, Frames, http2_length
from .head_times import HeadTimes
from .next_bytes import NextBytes
from .uploads import Uploads

if TYPE_CHECKING:
    from .layer import Engine

RESETS, RESETS_PER_SECOND = 200, 100
"""How many unanswered requests a client may reset: a burst, and a rate per second (the rate is the
limit of concurrent streams). A client that resets all requests causes much work and waits for no
answer (CVE-2023-44487)."""


class Http2Connection(ClientConnection):
    """The state of one connection; see `ClientConnection`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.streams: dict[int, Stream] = {}
        self.heads = HeadTimes(
            engine.wake_up, lambda: self.addon.head_time(self.conn), self._late, self._hold
        )
        self.frames = Frames(http2_length, HTTP2_PREFACE)
        self.next_bytes = NextBytes(self.turns, engine.wake_up)
        self.resets = Allowance(RESETS, RESETS_PER_SECOND)
        self.reading = False
        """Whether a portion is being read; its output is written at once afterwards."""
        self.h2 = _hyper_h2(
            validate=bool(engine.context.options.validate_inbound_headers),
            head_limit=self.addon.limits().request_head,
        )
        self.downloads = Downloads(self.h2, self.streams, self.conn, self.addon, self._over)
        self.uploads = Uploads(self.h2, self._has_room, engine.wake_up, self.flush)
        self.h2.initiate_connection()
        self.flush()

    # Output.

    def flush(self) -> None:
        """Write what hyper-h2 has to say."""
        if self.reading:
            return
        if data := self.h2.data_to_send():
            self.engine.write_client(data)

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self.closed = self.downloads.closed = True
            self.pace(False)
            self.engine.close(self.conn)

    def end_with(self, code: int, why: str) -> None:
        """Tell the client why the connection ends, with a GOAWAY frame, and end all exchanges."""
        self.h2.close_connection(code)
        self.end_all(why)
        if data := self.h2.data_to_send():
            self.engine.write_client(data)
        self.close()

    # Ends of streams.

    def gone(self, key: int, why: str) -> None:
        """End an exchange: its client has gone, or has given it up."""
        stream = self.streams.pop(key, None)
        self.uploads.forget(key)
        if stream is not None:
            self.downloads.let_go(stream)
            endings.gone(stream.exchange, why)
            self.addon.over(stream.exchange.flow)

    def end_all(self, why: str) -> None:
        """End all exchanges."""
        for key in [*self.streams]:
            self.gone(key, why)
        self.next_bytes.call_all()

    def _over(self, key: int, stream: Stream) -> None:
        """The answer is complete."""
        del self.streams[key]
        if not stream.whole:
            self.uploads.drop(key)
        self.downloads.let_go(stream)
        self.addon.over(stream.exchange.flow)

    # For the parts.

    def _has_room(self, exchange: Exchange) -> bool:
        upstream = exchange.upstream
        return upstream is None or self.addon.has_room(self.conn, upstream.conn)

    def _hold(self, size: int) -> None:
        """Count a head that has begun; hyper-h2 would keep 1 MiB of it."""
        large = size > self.addon.limits().request_head
        if self.closed or (not large and self.addon.hold_head(self.conn, size)):
            return
        self.addon.hold_head(self.conn, 0)
        why = "is too large" if large else "has no room in memory"
        self.engine.log(f"the head of an HTTP/2 request {why}")
        self.end_with(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, f"The request head {why}.")

    def _late(self) -> None:
        if not self.closed:
            self.engine.log("the head of an HTTP/2 request was not complete in time")
            code = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
            self.end_with(code, "The request head did not arrive in time.")


def _hyper_h2(*, validate: bool, head_limit: int) -> h2.connection.H2Connection:
    """Return hyper-h2's connection.

    Args:
        validate: whether it refuses invalid header fields.
        head_limit: limit for all fields of a request, in bytes.
    """
    config = h2.config.H2Configuration(
        client_side=False, header_encoding=False, validate_inbound_headers=validate
    )
    made = h2.connection.H2Connection(config)
    made.local_settings = h2.settings.Settings(
        client=False,
        initial_values={
            h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100,
            h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: head_limit,
        },
    )
    return made
