"""The banner of `run`, shown once the proxy serves.

By then `run` has become mitmdump, so it passes the text to the addon in the environment.
"""

from __future__ import annotations

import os

from .line_writer import LineWriter, is_file

_STANDARD_ERROR = 2
_VARIABLE = "MLFLOW_PROXY_BANNER"


def leave(text: str) -> None:
    """Leave the text for the program that replaces this one."""
    os.environ[_VARIABLE] = text


def show() -> None:
    """Show the text, if there is one."""
    if text := os.environ.pop(_VARIABLE, ""):
        out = LineWriter("run", lambda: _STANDARD_ERROR, at_once=is_file(_STANDARD_ERROR))
        out.put(f"{text}\n".encode())
        out.close()
