"""MLflow's JSON as text."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.mitmweb import mlflow_text

RUN = {
    "run": {
        "info": {"run_id": "abc", "status": "FINISHED", "start_time": "1760000000000"},
        "data": {
            "metrics": [{"key": "loss", "value": 0.5, "timestamp": 1760000000000, "step": 3}],
            "params": [{"key": "a", "value": "1"}, {"key": "depth", "value": "6"}],
            "tags": [],
        },
    }
}


def test_a_run() -> None:
    """Names and values are in columns, parts under their names."""
    assert mlflow_text.render(json.dumps(RUN).encode()).splitlines() == [
        "run",
        "",
        "  info",
        "    run_id      abc",
        "    status      FINISHED",
        "    start_time  1760000000000  2025-10-09 08:53:20 UTC",
        "",
        "  data",
        "    tags  []",
        "",
        "    metrics (1)",
        "      loss  0.5  timestamp 1760000000000  2025-10-09 08:53:20 UTC  step 3",
        "",
        "    params (2)",
        "      a      1",
        "      depth  6",
    ]


def test_lists() -> None:
    """Each item has its own block."""
    models = {"registered_models": [{"name": "a"}, {"name": "b", "aliases": ["x", "y"]}]}
    assert mlflow_text.render(json.dumps(models).encode()).splitlines() == [
        "registered_models (2)",
        "  #1",
        "    name  a",
        "  #2",
        "    name  b",
        "",
        "    aliases (2)",
        "      x",
        "      y",
    ]


def test_long_messages() -> None:
    """Long messages are wrapped."""
    body = json.dumps({"error_code": "NO", "message": "word " * 20}).encode()
    said = ("word " * 13).strip()
    expected = ["error_code  NO", f"message     {said}", " " * 12 + ("word " * 7).strip()]
    assert mlflow_text.render(body).splitlines() == expected


DEEP = {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"é": "x" * 500}}}}}}}}}


@pytest.mark.parametrize(
    ("document", "lines"),
    [
        ([1, "b"], ["list (2)", "  1", "  b"]),
        ({"a": "", "b": None}, ["a", "b  null"]),
        # Text that a user might copy is not wrapped.
        ({"a": "x" * 100}, ["a  " + "x" * 100]),
        ({"a": "ab-" * 40}, ["a  " + "ab-" * 40]),
        ({"n" * 99: 1, "b": 2}, ["n" * 59 + "…  1", "b" + " " * 61 + "2"]),
        ({"n" * 99: {"b": 2}}, ["n" * 59 + "…", "  b  2"]),
        ({"n" * 99: [2]}, ["n" * 59 + "… (1)", "  2"]),
        ([{"key": 1, "value": 2, "step": None}], ["list (1)", "  1  2"]),
        ([{"key": "n" * 99, "value": ""}], ["list (1)", "  " + "n" * 59 + "…"]),
        ([{"key": 1}], ["list (1)", "  #1", "    key  1"]),
        # A value is a time if both its name and its size say so.
        ({"count": 1760000000000}, ["count  1760000000000"]),
        ({"a_time": "soon", "b_time": 5}, ["a_time  soon", "b_time  5"]),
        (
            DEEP,
            [*("  " * n + "abcdefgh"[n] for n in range(8)), " " * 16 + '{"é": "' + "x" * 392 + "…"],
        ),
    ],
)
def test_forms(document: object, lines: list[str]) -> None:
    """Names and values, and those too long or too deep, have the expected form."""
    said = mlflow_text.render(json.dumps(document).encode()).splitlines()
    assert [line for line in said if line] == lines


def test_times_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are in UTC, wherever the proxy runs."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        said = mlflow_text.render(b'{"a_time": 1760000000000}')
    finally:
        monkeypatch.undo()
        time.tzset()
    assert said == "a_time  1760000000000  2025-10-09 08:53:20 UTC"


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only text beyond the limits is cut."""
    for name, limit in (("_LINES", 3), ("BODY_LIMIT", 9), ("TEXT_LIMIT", 5)):
        monkeypatch.setattr(mlflow_text, name, limit)
    assert mlflow_text.render(b"[1, 2]").splitlines() == ["list (2)", "  1", "  2"]
    assert mlflow_text.render(b"[1, 2, 3]").splitlines()[2:] == ["  2", "… and more"]
    assert mlflow_text.render(b"[1, 2, 33]") == "[1, 2\n… and 5 bytes more"
    assert mlflow_text.plain(b"12345") == "12345"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"{}", "{}"),
        (b"[]", "[]"),
        (b"", ""),
        (b"no json", "no json"),
        (b"\xff{", "\ufffd{"),
        (b'{"a": "x\\n\\u001b[2Jy"}', "a  x [2Jy"),
        (b"1" * 5000, "1" * 5000),
        (b"[" * 100_000, "[" * 65536 + "\n… and 34464 bytes more"),
    ],
)
def test_odd_bodies(body: bytes, shown: str) -> None:
    """A body that is not an MLflow document is shown all the same."""
    assert mlflow_text.render(body) == shown


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("key"), inner),
    )
)
def test_any_json(document: object) -> None:
    """No JSON document makes the view raise."""
    mlflow_text.render(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [{"runs": [RUN] * 2500}, [0] * 300_000, {str(n): n for n in range(60_000)}, "x" * 10**6],
)
def test_large_bodies(document: object) -> None:
    """The size of the text is limited."""
    body = json.dumps(document).encode()
    assert len(body) > 500_000
    assert len(mlflow_text.render(body)) < 2_500_000
