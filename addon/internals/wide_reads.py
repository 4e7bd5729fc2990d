"""Reads of 256 KiB in place of 64 KiB.

mitmproxy asks asyncio for 65,535 bytes at a time (`handle_connection` in mitmproxy/proxy/server.py)
and each portion passes some twenty function calls on its way. asyncio itself receives up to 256 KiB
at once, so taking all of it makes large transfers about half as fast again (scripts/bench) and
costs a connection no more memory than asyncio's buffer has anyway.

Buffers of that size are what glibc gives back to the kernel at once, and gets again with all of
their pages to be cleared: a quarter of the time went there. `keep_buffers` lets it keep some.

Nor does mitmproxy stop reading while HTTP/2 holds back what was read (see `engine.front_http2`), so
the reader can be told to.

There is no option for the size of reads, hence a subclass that takes the place of a connection's
reader. `TakingReader` needs what asyncio does not document (see `reached_into`); without that
`WideReader` has to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from typing import Any

from .reached_into import Part
from .still_there import lacks

logger = logging.getLogger(__name__)

READ_SIZE = 256 * 1024
"""Bytes; what asyncio's selector transport receives at once (`max_size`)."""


# mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_buffers() -> bool:
    """Let glibc keep up to 16 MiB of free memory for buffers of up to 2 MiB.

    Returns:
        Whether this is glibc; any other allocator is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all((mallopt(_M_MMAP_THRESHOLD, 2 << 20), mallopt(_M_TRIM_THRESHOLD, 16 << 20)))


class WideReader(asyncio.StreamReader):
    """Also tells how much was read, and for how long it has been waiting (see `time_limits`)."""

    total = 0
    """Bytes read so far."""
    broken = False
    """Whether the connection was reset."""
    _waiting_since: float | None = None
    _wanted: asyncio.Event | None = None
    _holds = 0
    """For how many reasons nothing is read."""

    async def read(self, n: int = -1) -> bytes:
        """Read up to `READ_SIZE` bytes, whatever was asked for, as soon as they are wanted."""
        while self._wanted is not None:
            await self._wanted.wait()
        self._waiting_since = time.monotonic()
        try:
            data = await super().read(READ_SIZE if n > 0 else n)
        except OSError:
            self.broken = True
            raise
        finally:
            self._waiting_since = None
        self.total += len(data)
        return data

    def hold(self) -> None:
        """Read nothing more; asyncio stops when its buffer is full."""
        self._holds += 1
        if self._wanted is None:
            self._wanted = asyncio.Event()
            self._pause()

    def release(self) -> None:
        """Read on, unless there is another reason not to."""
        self._holds = max(0, self._holds - 1)
        if not self._holds and self._wanted is not None:
            self._wanted.set()
            self._wanted = None
            if self._waiting_since is not None:
                self._waiting_since = time.monotonic()
            self._resume()

    def _pause(self) -> None:
        """Nothing more is wanted."""

    def _resume(self) -> None:
        """It is again."""

    def waited(self) -> float:
        """Seconds for which somebody has been waiting for data; 0 if nobody does."""
        if self._waiting_since is None or self._holds:
            return 0.0
        return time.monotonic() - self._waiting_since


class TakingReader(WideReader):
    """Hands over bytes where they arrive, and stops at once when nothing more is wanted."""

    _take: Callable[[Any, bytes], None] | None = None
    _connection: Any = None

    def feed_data(self, data: Any) -> None:
        """Bytes have arrived: while somebody waits for them they are taken here and now."""
        waiter = self._waiter  # type: ignore[attr-defined]
        take = self._take
        if take is None or waiter is None or waiter.done() or self._holds or not data:
            super().feed_data(data)
            return
        self.total += len(data)
        self._waiting_since = time.monotonic()
        take(self._connection, data)

    def _pause(self) -> None:
        if (transport := self._transport) is not None:  # type: ignore[attr-defined]
            transport.pause_reading()

    def _resume(self) -> None:
        transport = self._transport  # type: ignore[attr-defined]
        # asyncio goes on by itself where its buffer is full.
        if transport is not None and not self._paused:  # type: ignore[attr-defined]
            transport.resume_reading()


def widen(
    io: Any | None,
    connection: Any = None,
    take: Callable[[Any, bytes], None] | None = None,
) -> None:
    """Let a TCP connection be read in large portions.

    Args:
        io: mitmproxy's record of it (see `connections.io`).
        connection: the connection itself, for `take`.
        take: takes the bytes as they arrive; None if they wait for mitmproxy to read them. So they
            do without `Part.BYTES`.
    """
    reader = getattr(io, "reader", None)
    if reader is None:
        logger.debug("a connection without a reader; large transfers will be slower")
    elif type(reader) is asyncio.StreamReader:
        if lacks(Part.BYTES):
            reader.__class__ = WideReader
        else:
            reader.__class__ = TakingReader
            vars(reader).update(_take=take, _connection=connection)


def pace(io: Any | None, wanted: bool) -> None:
    """Read from a connection (see `widen`), or do not for a while."""
    reader = getattr(io, "reader", None)
    if isinstance(reader, WideReader):
        reader.release() if wanted else reader.hold()
