"""A line for each request, for people at a terminal: the access log in columns."""

from __future__ import annotations

import os
import time

from ..protocol import bodies
from .measured import Ended

_UNITS = ("B", "kB", "MB", "GB", "TB")
_RED, _GREEN, _YELLOW, _CYAN, _DIM = "31", "32", "33", "36", "2"
_COLOURS = {2: _GREEN, 3: _CYAN, 4: _YELLOW, 5: _RED}


def has_colours() -> bool:
    """Return whether the user wants colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def line(ended: Ended, *, colour: bool) -> str:
    """Return the line for a request; "" for health checks that succeed, which would only disturb.

    Args:
        ended: the record of the request; its paths have no query.
        colour: whether to use colours.
    """
    if ended.probe or (ended.family == "health" and ended.status == 200):
        return ""

    def painted(text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if colour else text

    status = str(ended.status or "cut")
    words = [
        painted(time.strftime("%H:%M:%S", time.localtime(ended.start)), _DIM),
        f"{ended.method or '-':7}",
        painted(f"{status:3}", _COLOURS.get((ended.status or 500) // 100, _RED)),
        f"{_duration(ended.end - ended.start):>7}",
        f"{_size(max(ended.bytes_in, ended.bytes_out)):>7}",
        bodies.printable(ended.path or "(malformed)"),
    ]
    if note := ended.why or ended.rule:
        words.append(painted(note, _RED if ended.why else _DIM))
    return "  ".join(words)


def _duration(seconds: float) -> str:
    seconds = max(0.0, seconds)  # The clock may have been set back.
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _size(count: float) -> str:
    """Return a number of bytes with three digits."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or count >= 99.95 else 1
    return f"{count:.{digits}f} {_UNITS[unit]}"
