"""Measures the instructions of a small request, and the share of the hooks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench import instructions, servers
from bench.results import Row, ratios
from bench.session import Session, alternate

MANY_RULES = 200


def measure(session: Session) -> Iterator[Row]:
    """Yield the shares with the shipped rules, and with many more rules."""
    folder = session.folder / "own-share"
    with servers.small_registry(folder / "registry") as registry:
        ways = {
            "whole": partial(instructions.of_request, folder / "whole", registry.url),
            "hooks": partial(instructions.of_hooks, folder / "hooks"),
            "many": partial(instructions.of_hooks, folder / "many", MANY_RULES),
        }
        # Repeated counts differ by less than 1 %.
        got = alternate(session.rounds, ways)
    counted = [count / 1e6 for count in got["whole"]]
    yield Row("instructions for a small request", "", "million", counted, "<=", 0.7, raw=got)
    shares = [100 * share for share in ratios(got["hooks"], got["whole"])]
    yield Row("the addon's hooks, by instructions", "the whole request", "%", shares)
    many = f"the addon's hooks, {MANY_RULES} more rules, by instructions"
    yield Row(many, "the shipped rules", "x", ratios(got["many"], got["hooks"]), "<=", 1.2)
