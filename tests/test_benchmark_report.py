"""The benchmark's report in Markdown."""

from __future__ import annotations

from typing import Any

from bench.report import markdown
from bench.results import Row, Table, ratios, to_json


def run(version: str, *results: Row | Table, date: str = "2026-11-01", pairs: int = 5) -> Any:
    """Return the results of one run, as in bench.json."""
    machine = {name: name[0] for name in ("Python", "nginx", "wrk", "MLflow", "kernel", "CPU")}
    fixed = {"mitmproxy": version, "cores": 2, "date": date, "pairs": pairs, "quick": False}
    return machine | fixed | to_json(results)


FAST = Row("requests", "bare", "x", [9.0, 8.0, 10.0], ">=", 8)
SLOW = Row("requests", "bare", "x", [7.0], ">=", 8)
MEMORY = Row("peak memory", "", "MiB", [70.0, 90.0], "<", 80, worst=True)
MISSING = Row("job", "direct", "x", [], "<=", 2, note="not measured")


def test_targets() -> None:
    """Each figure has a column per line of mitmproxy, the newest first, and its verdict."""
    results = {"11": {"a": run("11.0.2", SLOW)}, "12": {"a": run("12.3.1", FAST, MEMORY, MISSING)}}
    assert markdown(results).split("\n\n")[-1].splitlines() == [
        "| work | against | target | mitmproxy 12.3.1 | mitmproxy 11.0.2 |",
        "| --- | --- | --- | --- | --- |",
        "| requests | bare | >= 8x | 9.00x (8.00 to 10.00), met |"
        " 7.00x (7.00 to 7.00), **missed** |",
        "| peak memory |  | < 80 MiB | 90 MiB (70 to 90), **missed** |  |",
        "| job | direct | <= 2x | not measured |  |",
    ]


def test_tables() -> None:
    """Tables without a target follow, under the name of their mitmproxy."""
    growth = Table("by rules", ["rules", "rate"], [["1", "2000"]])
    text = markdown({"12": {"a": run("12.3.1", growth)}})
    assert text.endswith(
        "**mitmproxy 12.3.1: by rules**\n\n| rules | rate |\n| --- | --- |\n| 1 | 2000 |"
    )


def test_machine() -> None:
    """The report names the newest run's machine, all dates and all numbers of pairs."""
    results = {"12": {"a": run("12.3.1"), "b": run("12.3.1", date="2026-11-09", pairs=7)}}
    text = markdown(results)
    assert text.startswith("# Benchmark\n\nmitmproxy 12.3.1, Python P, ")
    assert "2026-11-01 to 2026-11-09, 5 or 7 pairs" in text
    results["12"]["a"]["quick"] = True
    assert markdown(results).startswith("# Benchmark: QUICK RUN")


def test_ratios() -> None:
    """Each value is compared with its partner."""
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
