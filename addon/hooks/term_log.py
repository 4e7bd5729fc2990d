"""mitmproxy's log on its way to standard output.

mitmproxy prints each line where it is logged: a pipe that nobody reads stops the whole proxy, and a
full disk or a reader that is gone ends it (`TermLogHandler.emit` in mitmproxy/addons/termlog.py).
Here a line is written by a thread if standard output may have a reader, and an error ends nothing.
"""

from __future__ import annotations

import atexit
import io
import logging

from mitmproxy.addons import termlog

from ..internals.reached_into import Part
from ..internals.still_there import lacks
from ..observe.line_writer import AT_THE_END, LineWriter, is_file


def install() -> None:
    """Write all that is logged from now on, to the end of the process."""
    if lacks(Part.LOG):
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, termlog.TermLogHandler) and not isinstance(handler.emit, _Emit):
            file = handler.file
            if isinstance(file, io.TextIOWrapper):  # A test may have another one.
                # What others print there is to be seen at once, and in its place.
                file.reconfigure(line_buffering=True)
                handler.emit = _Emit(handler, file)  # type: ignore[method-assign]


class _Emit:
    """Stands in place of the handler's own method."""

    def __init__(self, handler: termlog.TermLogHandler, file: io.TextIOWrapper) -> None:
        self._handler = handler
        self._encoding = file.encoding
        # A file takes what it gets; a crash of the process loses no line then.
        at_once = is_file(file.fileno())
        self._writer = LineWriter("log", file.fileno, shared=True, at_once=at_once)
        atexit.register(self._writer.wait, AT_THE_END)

    def __call__(self, record: logging.LogRecord) -> None:
        line = f"{self._handler.format(record)}\n"
        self._writer.put(line.encode(self._encoding, "backslashreplace"))
