"""What `run` says of itself, once the proxy serves.

`run` is mitmdump by then: it leaves the text to the addon, in the environment.
"""

from __future__ import annotations

import os

from .line_writer import LineWriter, is_file

_STANDARD_ERROR = 2
_VARIABLE = "MLFLOW_PROXY_BANNER"


def leave(text: str) -> None:
    """Let it be shown by the program that takes the place of this one."""
    os.environ[_VARIABLE] = text


def show() -> None:
    """Show it, if there is one."""
    if text := os.environ.pop(_VARIABLE, ""):
        out = LineWriter("run", lambda: _STANDARD_ERROR, at_once=is_file(_STANDARD_ERROR))
        out.put(f"{text}\n".encode())
        out.close()
