"""The settings that all measurements share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One run with one mitmproxy."""

    folder: Path
    """For configuration, logs and artifacts; in memory if the machine allows it."""
    line: int
    """Line of mitmproxy: 11 or 12."""
    pairs: int
    quick: bool

    @property
    def size(self) -> int:
        """Bytes of a large artifact."""
        return 2**28 if self.quick else 2**30

    @property
    def size_name(self) -> str:
        """The same, for people."""
        return "256 MiB" if self.quick else "1 GiB"

    @property
    def seconds(self) -> float:
        """Seconds of load for a value: many short runs are better than few long ones."""
        return 1 if self.quick else 2

    @property
    def rounds(self) -> int:
        """Rounds of measurements without a target."""
        return min(self.pairs, 1 if self.quick else 3)


def alternate(
    rounds: int, ways: Mapping[str, Callable[[], T]], *, quiet: bool = False
) -> dict[str, list[T]]:
    """Measure all ways in each round, forth and back, in another order every second time.

    So changes on the machine or in a server meanwhile affect all ways alike.
    """
    got: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(rounds):
        first = number // 2 % len(ways)
        order = [*list(ways)[first:], *list(ways)[:first]]
        for name in order if number % 2 == 0 else reversed(order):
            if not quiet:
                say(f"    {number + 1}/{rounds} {name}")
            got[name].append(ways[name]())
    return got


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)
