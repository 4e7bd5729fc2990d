"""Lines for a terminal: their content and their columns."""

from __future__ import annotations

import re
from typing import Any

import pytest

from addon.observe import request_lines
from addon.observe.measured import Ended

ENDED = Ended(
    start=1_800_000_000.0,
    head=1_800_000_000.01,
    end=1_800_000_000.012,
    request_id="id",
    client="127.0.0.1",
    method="GET",
    path="/api/2.0/mlflow/runs/get",
    sent_path="/ajax-api/2.0/mlflow/runs/get",
    rule="rest-to-ajax",
    upstream_status=200,
    status=200,
    error_source=None,
    converted="",
    probe=False,
    bytes_in=0,
    bytes_out=1234,
    family="tracking",
    why="",
)


def of(**changes: Any) -> str:
    """Return the line without its time, which depends on the time zone."""
    text = request_lines.line(ENDED._replace(**changes), colour=False)
    assert re.match(r"\d\d:\d\d:\d\d  ", text)
    return text[10:]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "GET      200    12 ms   1.2 kB  /api/2.0/mlflow/runs/get  rest-to-ajax"),
        ({"rule": None}, "GET      200    12 ms   1.2 kB  /api/2.0/mlflow/runs/get"),
        (
            {"status": 503, "why": "artifacts_disabled", "rule": None},
            "GET      503    12 ms   1.2 kB  /api/2.0/mlflow/runs/get  artifacts_disabled",
        ),
        # Cut before the client got a status.
        (
            {"status": None, "rule": None},
            "GET      cut    12 ms   1.2 kB  /api/2.0/mlflow/runs/get",
        ),
        # Bytes that are not a request.
        (
            {"method": None, "path": None, "status": 400, "why": "malformed", "bytes_out": 99},
            "-        400    12 ms     99 B  (malformed)  malformed",
        ),
        # The size of an upload.
        (
            {"method": "OPTIONS", "bytes_in": 3_210_000_000, "end": ENDED.start + 61, "rule": None},
            "OPTIONS  200   61.0 s   3.2 GB  /api/2.0/mlflow/runs/get",
        ),
        # No control characters, which a terminal would obey.
        (
            {"path": "/\x1b[2J\n\udcff", "rule": None},
            "GET      200    12 ms   1.2 kB  /?[2J?\ufffd",
        ),
        # A clock that was set back.
        ({"end": ENDED.start - 5, "path": "/", "rule": None}, "GET      200     0 ms   1.2 kB  /"),
    ],
)
def test_columns(changes: dict[str, Any], expected: str) -> None:
    """The columns are time, method, status, duration, size, path, and rule or an error's reason."""
    assert of(**changes) == expected


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes(size: int, shown: str) -> None:
    """A size fits its column, except for unrealistic ones."""
    assert f"  {shown}  /" in of(bytes_out=size)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0004, "0 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (99.94, "99.9 s"), (3600, "3600 s")],
)
def test_durations(seconds: float, shown: str) -> None:
    """Durations are in milliseconds below a second, and in seconds above."""
    assert f" {shown}  " in of(end=ENDED.start + seconds)


@pytest.mark.parametrize(
    ("status", "code"), [(200, 32), (308, 36), (404, 33), (502, 31), (None, 31), (101, 31)]
)
def test_colours(status: int | None, code: int) -> None:
    """The colour of a status depends on its class."""
    text = request_lines.line(ENDED._replace(status=status), colour=True)
    assert f"\033[{code}m{status or 'cut'}\033[0m" in text


@pytest.mark.parametrize(
    ("variable", "value", "colours"),
    [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False), ("X", "", True)],
)
def test_colours_at_a_terminal(
    variable: str, value: str, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and TERM control colours, as in other programs."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    assert request_lines.has_colours() is colours


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"probe": True, "status": 404}, False),
        ({"family": "health"}, False),
        ({"family": "health", "status": 503}, True),
    ],
)
def test_health(changes: dict[str, Any], shown: bool) -> None:
    """Probes and successful health checks get no line: they would hide other requests."""
    assert bool(request_lines.line(ENDED._replace(**changes), colour=False)) is shown
