"""The log of the workers: lines on stderr."""

from __future__ import annotations

import logging

from ..observe.line_writer import AT_THE_END, LineWriter, is_file

# A pipe without a reader must not block restarts or draining.
_log = LineWriter("workers", lambda: 2, at_once=is_file(2))
# The writer's own messages would go to the same pipe.
logging.getLogger(__name__.partition(".")[0]).addHandler(logging.NullHandler())


def say(text: str) -> None:
    """Write a line."""
    _log.put(f"workers: {text}\n".encode())


def forward(output: bytes) -> None:
    """Write the output of another program as it is."""
    _log.put(output)


def finish() -> None:
    """Wait a moment for lines that are not written yet."""
    _log.wait(AT_THE_END)
