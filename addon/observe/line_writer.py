"""Writes lines to a file or a pipe, in a thread.

A pipe without a reader or a disk that hangs blocks the writer. So the event loop does not write: it
puts lines into a bounded queue. Lines that do not fit are counted and reported.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

MOST = 1024 * 1024
"""Bytes that may wait to be written; lines beyond that are lost."""
PAUSE = 1.0
"""Seconds until a failed write is tried again."""
AT_THE_END = 1.0
"""Seconds that the process waits for lines to be written before it ends."""

_turn = threading.Lock()
"""Held while a writer writes to a shared file, so that lines do not mix."""


def is_file(descriptor: int) -> bool:
    """Return whether a descriptor is a regular file, which needs no reader."""
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # It is closed.
        return False


class LineWriter:
    """Writes lines in order.

    Args:
        name: name of the output, for reports.
        file: returns the descriptor for the next portion; raises OSError if there is none.
        shared: whether other writers of this process write to the same file.
        at_once: whether to write in `put`, for output that needs no reader.
        ended: called after the last write.
    """

    def __init__(
        self,
        name: str,
        file: Callable[[], int],
        *,
        shared: bool = False,
        at_once: bool = False,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._file = file
        self._ended = ended
        self._turn = _turn if shared else contextlib.nullcontext()
        self._at_once = at_once
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        """Bytes that are not written yet."""
        self._lost: int | None = None
        """Lines that were lost since the first failure; None while writing works."""
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, lines: bytes, count: int = 1) -> None:
        """Write lines soon, without waiting.

        Args:
            lines: with their line ends.
            count: the number of lines.
        """
        if self._at_once and not self._size:
            lines = self._try(lines)
        if not lines:
            return
        with self._changed:
            fits = self._size <= MOST
            if fits:
                self._waiting.append(lines)
                self._size += len(lines)
                self._changed.notify_all()
        if not fits:
            self._fails("it is not read, and lines are lost", count)
        elif self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> int:
        """Wait until all lines are written; return the number of bytes that are not."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, seconds)
            return self._size

    def close(self) -> None:
        """Write the remaining lines, as far as there are no errors, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is None:
            self._ended()

    def _run(self) -> None:
        try:
            self._write_all()
        finally:
            self._ended()

    def _write_all(self) -> None:
        while lines := self._next():
            if not self._write(lines):
                return
            with self._changed:
                self._size -= len(lines)
                lost, self._lost = self._lost, None
                self._changed.notify_all()
            if lost is not None:
                logger.warning("%s: written again; %d line(s) are lost", self._name, lost)

    def _next(self) -> bytes:
        """Return the lines to write next; b"" at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            lines = b"".join(self._waiting)
            self._waiting.clear()
            return lines

    def _write(self, lines: bytes) -> bool:
        """Write until it is done; return False if it fails after `close`."""
        while lines := self._try(lines):
            with self._changed:
                if self._closed:
                    return False
                self._changed.wait_for(lambda: self._closed, PAUSE)
        return True

    def _try(self, lines: bytes) -> bytes:
        """Write; return the rest after an error."""
        done = 0
        try:
            with self._turn:
                file = self._file()
                while done < len(lines):
                    done += os.write(file, memoryview(lines)[done:])
        except OSError as error:
            self._fails(error.strerror or str(error))
        return lines[done:]

    def _fails(self, why: str, lost: int = 0) -> None:
        """Report a failure, once while it lasts."""
        with self._changed:
            first = self._lost is None
            self._lost = (self._lost or 0) + lost
        if first:
            logger.error("%s: %s", self._name, why)
