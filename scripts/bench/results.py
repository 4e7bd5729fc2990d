"""The results of measurements: rows with a target, and tables without."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_SENSES = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


@dataclass
class Row:
    """One figure: all its values, and its target."""

    name: str
    against: str
    unit: str
    values: list[float]
    """Empty if it could not be measured; then the note says why."""
    sense: str = ""
    limit: float = 0
    worst: bool = False
    """Whether the largest value counts, not the median."""
    note: str = ""
    raw: dict[str, list[float]] = field(default_factory=dict)
    """The measurements behind the values, by way."""

    @property
    def figure(self) -> float:
        """The value that counts."""
        return max(self.values) if self.worst else statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or a value."""
        if not self.sense or not self.values:
            return None
        return bool(_SENSES[self.sense](self.figure, self.limit))

    @property
    def target(self) -> str:
        """The target for people."""
        return f"{self.sense} {self.limit:g}{_space(self.unit)}" if self.sense else ""

    def __str__(self) -> str:
        if not self.values:
            return self.note
        digits = 2 if self.unit in ("x", "ms", "%", "million") else 0
        middle, low, high = (
            f"{value:.{digits}f}" for value in (self.figure, min(self.values), max(self.values))
        )
        return f"{middle}{_space(self.unit)} ({low} to {high})"


@dataclass
class Table:
    """Shows how something grows, for people, without a target."""

    name: str
    head: list[str]
    rows: list[list[str]]
    raw: dict[str, list[float]] = field(default_factory=dict)


def _space(unit: str) -> str:
    return unit if unit == "x" else f" {unit}"


def ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Return the ratio of each pair: other load on the machine affects both halves of a pair."""
    return [one / other for one, other in zip(upper, lower, strict=True)]


def to_json(results: Sequence[Row | Table]) -> dict[str, Any]:
    """Return all results of one run as JSON values."""
    return {
        "rows": [asdict(result) for result in results if isinstance(result, Row)],
        "tables": [asdict(result) for result in results if isinstance(result, Table)],
    }
