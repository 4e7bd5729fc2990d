"""The access log: a line of JSON for each request.

Lines are gathered and written together, as one system call for each would cost more than all the
rest of a line. A line stands in the file about a second after its request has ended.

logrotate needs no `postrotate` script: when another file stands at the path (`create`), or none at
all (`nocreate`), that one is opened before the next lines are written; and since all writing is
appending, a file that was emptied (`copytruncate`) is filled from its beginning.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from pathlib import Path

logger = logging.getLogger(__name__)

STDOUT = "-"
"""Stands for standard output in the place of a path."""

WAIT = 1.0
"""Seconds that a line may wait for others."""
MANY = 64 * 1024
"""Characters of lines that do not wait any longer."""
MOST = 1024 * 1024
"""Bytes that are kept while they cannot be written; lines that come after that are lost."""


def line(
    *,
    start: float,
    head: float | None,
    end: float,
    request_id: str,
    client: str | None,
    method: str | None,
    path: str | None,
    sent_path: str | None,
    rule: str | None,
    upstream_status: int | None,
    status: int | None,
    error_source: str | None,
    converted: bool,
    bytes_in: int,
    bytes_out: int,
) -> str:
    """A line of the log: ASCII, whatever the strings hold.

    Args:
        start: when the request began, in seconds since 1970, as are the next two.
        head: when the head of the answer was there; None if the client got none.
        end: when all was over.
        request_id: the client's or a new one.
        client: IP address.
        method: HTTP method.
        path: as it was received, and may be shown.
        sent_path: as it went upstream, and may be shown; None if nothing did.
        rule: name of the rewrite rule.
        upstream_status: what the upstream answered.
        status: what the client got.
        error_source: who made the error or broke off, "proxy", "upstream" or "client".
        converted: whether the upstream's error was put in other words.
        bytes_in: bytes of the request's body.
        bytes_out: bytes of the response's body, as it was sent.
    """
    # Written out, as that takes a third of the time of `json.dumps`.
    return (
        f'{{"time":"{_second(int(start))}.{int(start % 1 * 1000):03d}Z"'
        f',"request_id":{_text(request_id)},"client":{_text(client)}'
        f',"method":{_text(method)},"path":{_text(path)},"sent_path":{_text(sent_path)}'
        f',"rule":{_text(rule)},"upstream_status":{upstream_status or "null"}'
        f',"status":{status or "null"},"error_source":{_text(error_source)}'
        f',"converted":{"true" if converted else "false"}'
        f',"bytes_in":{bytes_in},"bytes_out":{bytes_out}'
        f',"ttfb_ms":{"null" if head is None else _milliseconds(start, head)}'
        f',"duration_ms":{_milliseconds(start, end)}}}'
    )


@lru_cache(8)
def _second(start: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start))


def _text(value: str | None) -> str:
    """A JSON string, or null.

    Bytes that are not UTF-8 become `\\xff`: many readers of JSON refuse surrogate escapes.
    """
    if value is None:
        return "null"
    if not value.isascii():
        value = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return encode_basestring_ascii(value)


def _milliseconds(start: float, end: float) -> str:
    # The clock may have been set back.
    return f"{max(0.0, end - start) * 1000:.1f}"


class AccessLog:
    """Writes lines to a file.

    Args:
        path: of the file, or `STDOUT`.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: list[str] = []
        self._length = 0
        self._unwritten = b""
        """What could not be written before; begins where the file ends."""
        self._lost: int | None = None
        """Lines that were lost since writing has failed; None while all is well."""
        self._timer: asyncio.TimerHandle | None = None
        self._file = _open(path)

    def add(self, line: str) -> None:
        """Write a line soon."""
        self._lines.append(line)
        self._length += len(line)
        if self._length > MANY:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT, self.flush)

    def flush(self) -> None:
        """Write what there is; try again in a while if that fails."""
        self._stop_timer()
        if not self._write():
            self._timer = asyncio.get_running_loop().call_later(WAIT, self.flush)

    def close(self) -> None:
        """Write what there is, and no more."""
        self._stop_timer()
        self._write()
        os.close(self._file)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> bool:
        """Write what there is; tell whether that worked."""
        self._gather()
        try:
            self._follow_the_path()
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
        except OSError as error:
            if self._lost is None:
                self._lost = 0
                logger.error("access log: %s: %s", self.path, error.strerror)
            return False
        if self._lost is not None:
            logger.warning("access log: written again; %d line(s) are lost", self._lost)
            self._lost = None
        return True

    def _gather(self) -> None:
        """Join the lines to what was not written before."""
        if len(self._unwritten) > MOST:
            self._lost = (self._lost or 0) + len(self._lines)
        elif self._lines:
            self._unwritten += "\n".join([*self._lines, ""]).encode("ascii")
        self._lines, self._length = [], 0

    def _follow_the_path(self) -> None:
        """Open what stands at the path now, if that is another file."""
        if self.path == STDOUT:
            return
        try:
            same = os.path.samestat(Path(self.path).stat(), os.fstat(self._file))
        except FileNotFoundError:
            same = False
        if not same:
            file = _open(self.path)
            os.close(self._file)
            self._file = file


def _open(path: str) -> int:
    if path == STDOUT:
        return os.dup(1)
    # A pipe that nobody reads must not hold the proxy.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o640)
