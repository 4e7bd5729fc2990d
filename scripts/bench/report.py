"""Prints bench.json as Markdown: report.py FILE."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import Row, Table

Results = Mapping[str, Mapping[str, Any]]
"""Results by line of mitmproxy and name of the measurement."""


def main() -> int:
    """Read the file and print it."""
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    return 0


def markdown(results: Results) -> str:
    """Return the whole report, newest line of mitmproxy first."""
    lines = sorted(results, key=int, reverse=True)
    quick = any(one["quick"] for line in lines for one in results[line].values())
    title = "Benchmark: QUICK RUN, small samples; not for publication" if quick else "Benchmark"
    parts = [f"# {title}", *(_machine(results[line]) for line in lines)]
    parts += ["Median (minimum to maximum) of alternating pairs. The target counts for the median."]
    parts[-1] += " Peak memory: the largest value counts."
    parts.append(_targets(results, lines))
    for line in lines:
        name = _mitmproxy(results[line])
        for one in results[line].values():
            for table in (Table(**kept) for kept in one["tables"]):
                parts.append(f"**{name}: {table.name}**")
                parts.append(_table(table.head, table.rows))
    return "\n\n".join(parts)


def _mitmproxy(measured: Mapping[str, Any]) -> str:
    return f"mitmproxy {list(measured.values())[-1]['mitmproxy']}"


_HEAD = ("mitmproxy", "Python", "nginx", "wrk", "MLflow", "kernel", "CPU", "cores")


def _machine(measured: Mapping[str, Any]) -> str:
    newest = max(measured.values(), key=lambda one: one["date"])
    dates = sorted({one["date"] for one in measured.values()})
    pairs = sorted({one["pairs"] for one in measured.values()})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    count = " or ".join(map(str, pairs))
    return ", ".join(f"{name} {newest[name]}" for name in _HEAD) + f"; {when}, {count} pairs"


def _targets(results: Results, lines: Sequence[str]) -> str:
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for line in lines:
        for one in results[line].values():
            for row in (Row(**kept) for kept in one["rows"]):
                found.setdefault((row.name, row.against), {})[line] = row
    rows = []
    for (name, against), by_line in found.items():
        targets = dict.fromkeys(row.target for row in by_line.values())
        cells = [_cell(by_line[line]) if line in by_line else "" for line in lines]
        rows.append([name, against, " / ".join(targets), *cells])
    return _table(["work", "against", "target", *(_mitmproxy(results[x]) for x in lines)], rows)


def _cell(row: Row) -> str:
    verdict = {None: "", True: ", met", False: ", **missed**"}[row.met]
    return f"{row}{verdict}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
