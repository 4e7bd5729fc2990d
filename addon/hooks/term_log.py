"""Write mitmproxy's log to standard output without blocking or ending the proxy.

mitmproxy prints each line synchronously: a pipe without a reader blocks the whole proxy, and a full
disk or a closed pipe ends it (`TermLogHandler.emit` in mitmproxy/addons/termlog.py). Here a thread
writes the lines unless standard output is a file, and errors are harmless.
"""

from __future__ import annotations

import atexit
import io
import logging

from mitmproxy import log
from mitmproxy.addons import termlog

from ..internals.place import Part
from ..internals.still_there import lacks
from ..observe import request_lines
from ..observe.line_writer import AT_THE_END, LineWriter, is_file


def install() -> None:
    """Write the log from now on, until the process ends."""
    if lacks(Part.LOG):
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, termlog.TermLogHandler) and not isinstance(handler.emit, _Emit):
            file = handler.file
            if not request_lines.has_colours():
                handler.setFormatter(log.MitmFormatter(colorize=False))
            if isinstance(file, io.TextIOWrapper):  # A test may have another one.
                # Lines that other code prints there appear at once and in order.
                file.reconfigure(line_buffering=True)
                handler.emit = _Emit(handler, file)  # type: ignore[method-assign]


class _Emit:
    """Replaces the handler's own method."""

    def __init__(self, handler: termlog.TermLogHandler, file: io.TextIOWrapper) -> None:
        self._handler = handler
        self._encoding = file.encoding
        # A file never blocks, so write at once: a crash of the process then loses no line.
        at_once = is_file(file.fileno())
        self._writer = LineWriter("log", file.fileno, shared=True, at_once=at_once)
        atexit.register(self._writer.wait, AT_THE_END)

    def __call__(self, record: logging.LogRecord) -> None:
        line = f"{self._handler.format(record)}\n"
        self._writer.put(line.encode(self._encoding, "backslashreplace"))
