"""The place of an exception in the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import hpack
import pytest

from addon.engine import heads
from addon.engine.failures import described, is_of_connection
from addon.engine.uploads import PORTION, Uploads


def raised(function: Callable[[], object]) -> Exception:
    """Return the exception of a function."""
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("no exception")


def fail() -> None:
    raise ValueError("secret")


def uploads() -> None:
    """Raise in the code of the windows: there is no connection."""
    missing: Any = None
    Uploads(missing, missing, missing, missing).received(1, PORTION, missing)


def data() -> None:
    """Raise in hyper-h2: there is no such stream."""
    h2.connection.H2Connection(h2.config.H2Configuration()).send_data(7, b"x")


@pytest.mark.parametrize(
    ("function", "of_connection"),
    [
        (fail, False),
        (lambda: heads.read_request(b"x"), False),
        (lambda: hpack.Decoder().decode(b"\xff\xff"), True),
        (data, True),
        (uploads, True),
    ],
)
def test_is_of_connection(function: Callable[[], object], of_connection: bool) -> None:
    """An exception that passed through the connection's code may have damaged it."""
    assert is_of_connection(raised(function)) is of_connection


def test_described() -> None:
    """The description has type and place, but no message, which may contain a client's data."""
    text = described(raised(fail))
    assert text.startswith("ValueError in fail (test_failures.py:")
    assert "secret" not in text
