"""The access log: a line of JSON for each request.

Lines are written in batches, because a system call for each would cost more than everything else
about a line. A thread writes them, because a pipe without a reader would block the event loop. A
line is in the file about a second after its request has ended.

logrotate needs no `postrotate` script: if there is another file at the path (`create`), or none
(`nocreate`), it is opened or created before the next lines are written. All writes append, so an
emptied file (`copytruncate`) is filled from its beginning.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from pathlib import Path

from .line_writer import AT_THE_END, LineWriter
from .measured import Ended

logger = logging.getLogger(__name__)

STDOUT = "-"
"""Means standard output in place of a path."""

WAIT = 1.0
"""Seconds that a line may wait for others, at most."""
WAIT_AT_TERMINAL = 0.1
"""The same at a terminal, where a person waits."""
MANY = 64 * 1024
"""Characters of waiting lines that are written at once."""


def line(ended: Ended) -> str:
    """Return the line for a request, always in ASCII."""
    # By hand: that takes a third of the time of `json.dumps`.
    start, path = ended.start, ended.path
    # Clients repeat the same requests, so their parts are cached; long paths are not.
    part = _kept_part if path is None or len(path) < 512 else _part
    asked = part(ended.client, ended.method, path, ended.sent_path, ended.rule)
    return (
        f'{{"time":"{_second(int(start))}.{int(start % 1 * 1000):03d}Z"'
        f',"request_id":{_text(ended.request_id)}{asked}'
        f',"upstream_status":{ended.upstream_status or "null"}'
        f',"status":{ended.status or "null"},"error_source":{_text(ended.error_source)}'
        f',"converted":{"true" if ended.converted else "false"}'
        f',"probe":{"true" if ended.probe else "false"}'
        f',"bytes_in":{ended.bytes_in},"bytes_out":{ended.bytes_out}'
        f',"ttfb_ms":{"null" if ended.head is None else _milliseconds(start, ended.head)}'
        f',"duration_ms":{_milliseconds(start, ended.end)}}}'
    )


def _part(
    client: str | None,
    method: str | None,
    path: str | None,
    sent_path: str | None,
    rule: str | None,
) -> str:
    return (
        f',"client":{_text(client)},"method":{_text(method)},"path":{_text(path)}'
        f',"sent_path":{_text(sent_path)},"rule":{_text(rule)}'
    )


_kept_part = lru_cache(256)(_part)


@lru_cache(8)
def _second(start: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start))


def _text(value: str | None) -> str:
    """Return a JSON string, or null.

    Bytes that are not UTF-8 become `\\xff`: many JSON parsers refuse surrogate escapes.
    """
    if value is None:
        return "null"
    if not value.isascii():
        value = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return encode_basestring_ascii(value)


def _milliseconds(start: float, end: float) -> str:
    # The clock may have been set back.
    return f"{(end - start) * 1000:.1f}" if end > start else "0.0"


class AccessLog:
    """Writes lines to a file.

    Args:
        path: path of the file, or `STDOUT`.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: list[str] = []
        self._length = 0
        self._timer: asyncio.TimerHandle | None = None
        self._file = _open(path)
        self.at_terminal = os.isatty(self._file)
        self._wait = WAIT_AT_TERMINAL if self.at_terminal else WAIT
        self._writer = LineWriter(
            f"access log: {path}",
            self._at_the_path,
            shared=path == STDOUT,
            ended=lambda: os.close(self._file),
        )

    def add(self, line: str) -> None:
        """Write a line soon, if it is not empty."""
        if not line:
            return
        self._lines.append(line)
        self._length += len(line)
        if self._length > MANY:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._wait, self.flush)

    def flush(self) -> None:
        """Pass all lines to the writer now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines = "\n".join([*self._lines, ""]).encode()
            self._writer.put(lines, len(self._lines))
        self._lines, self._length = [], 0

    def close(self) -> None:
        """Pass all lines to the writer, and accept no more."""
        self.flush()
        self._writer.close()

    def finish(self) -> None:
        """Close the log and wait until all lines are written, before the process ends."""
        self.close()
        if left := self._writer.wait(AT_THE_END):
            logger.error("access log: %s: the last %d bytes are lost", self.path, left)

    def _at_the_path(self) -> int:
        """Return the file at the path; open it first if it is a new one."""
        if self.path != STDOUT:
            try:
                same = os.path.samestat(Path(self.path).stat(), os.fstat(self._file))
            except FileNotFoundError:
                same = False
            if not same:
                file = _open(self.path)
                os.close(self._file)
                self._file = file
        return self._file


def _open(path: str) -> int:
    if path == STDOUT:
        return os.dup(1)
    # O_NONBLOCK: a pipe without a reader is an error; do not wait for a reader.
    # O_NOCTTY: the path may be that of a terminal.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    file = os.open(path, flags, 0o640)
    os.set_blocking(file, True)
    return file
