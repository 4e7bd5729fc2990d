"""Reads of 256 KiB in place of 64 KiB.

mitmproxy asks asyncio for 65,535 bytes at a time (`handle_connection` in mitmproxy/proxy/server.py)
and each portion passes through about twenty function calls. asyncio itself receives up to 256 KiB
at once, so taking all of it makes large transfers about 50% faster (scripts/bench) and costs no
more memory per connection than asyncio's buffer does anyway.

glibc returns buffers of that size to the kernel at once, and gets them back with all of their pages
to be cleared: a quarter of the time went there. `keep_buffers` lets glibc keep some.

mitmproxy does not stop reading while HTTP/2 holds back bytes (see `engine.downloads`), so the
reader can be paused.

There is no option for the size of reads, so a subclass takes the place of a connection's reader.
`TakingReader` uses undocumented parts of asyncio (see `reached_into`); without them, `WideReader`
is used.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from typing import Any

from .place import Part
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
        Whether this is glibc; any other allocator is left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all((mallopt(_M_MMAP_THRESHOLD, 2 << 20), mallopt(_M_TRIM_THRESHOLD, 16 << 20)))


class WideReader(asyncio.StreamReader):
    """Also measures how much was read, and how long it has waited (see `time_limits`)."""

    total = 0
    """Bytes read so far."""
    broken = False
    """Whether the connection was reset."""
    _waiting_since: float | None = None
    _wanted: asyncio.Event | None = None
    _holds = 0
    """The number of reasons for which reading is paused."""

    async def read(self, n: int = -1) -> bytes:
        """Read up to `READ_SIZE` bytes, not `n`, as soon as reading is not paused."""
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
        """Pause reading; asyncio itself stops when its buffer is full."""
        self._holds += 1
        if self._wanted is None:
            self._wanted = asyncio.Event()
            self._pause()

    def release(self) -> None:
        """Resume reading, unless there is another reason to pause."""
        self._holds = max(0, self._holds - 1)
        if not self._holds and self._wanted is not None:
            self._wanted.set()
            self._wanted = None
            if self._waiting_since is not None:
                self._waiting_since = time.monotonic()
            self._resume()

    def _pause(self) -> None:
        """Pause the transport, where possible."""

    def _resume(self) -> None:
        """Resume the transport."""

    def waited(self) -> float:
        """Return for how many seconds a read has been waiting for data; 0 if none is."""
        if self._waiting_since is None or self._holds:
            return 0.0
        return time.monotonic() - self._waiting_since


class TakingReader(WideReader):
    """Passes bytes to a function as they arrive, and pauses the socket at once."""

    _take: Callable[[Any, bytes], None] | None = None
    _connection: Any = None

    def feed_data(self, data: Any) -> None:
        """Take bytes from the transport, and pass them on directly if a read waits for them."""
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
        # If its buffer was full, asyncio resumes by itself.
        if transport is not None and not self._paused:  # type: ignore[attr-defined]
            transport.resume_reading()


def widen(
    io: Any | None,
    connection: Any = None,
    take: Callable[[Any, bytes], None] | None = None,
) -> None:
    """Read a TCP connection in large portions.

    Args:
        io: mitmproxy's record of it (see `connections.io`).
        connection: the connection itself, for `take`.
        take: takes the bytes as they arrive; None if they wait for mitmproxy to read them, as they
            also do without `Part.BYTES`.
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
    """Resume reading from a connection (see `widen`), or pause it."""
    reader = getattr(io, "reader", None)
    if isinstance(reader, WideReader):
        reader.release() if wanted else reader.hold()
