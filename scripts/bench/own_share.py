"""Measures the instructions of a small request, and the share of hooks, access log and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import lab
from bench import instructions, servers
from bench.results import Row, ratios
from bench.session import Session, alternate

MANY_RULES = 200


def measure(session: Session) -> Iterator[Row]:
    """Yield the shares with the shipped rules, and with many more rules."""
    folder = session.folder / "own-share"
    log = folder / "access.log"
    with servers.small_registry(folder / "registry") as registry:
        url = registry.url
        options = {"whole": (), "logging": ("--set", f"mlflow_access_log={log}")}
        options["measuring"] = ("--set", f"mlflow_metrics={lab.free_port()}")
        ways = {
            name: partial(instructions.of_request, folder / name, url, *more)
            for name, more in options.items()
        }
        ways |= {
            "hooks": partial(instructions.of_hooks, folder / "hooks"),
            "many": partial(instructions.of_hooks, folder / "many", MANY_RULES),
        }
        # Repeated counts differ by less than 1 %.
        got = alternate(session.rounds, ways)
        assert log.stat().st_size, "nothing was logged"
    counted = [count / 1e6 for count in got["whole"]]
    yield Row("instructions for a small request", "", "million", counted, "<=", 0.7, raw=got)
    for name, what in (("logging", "access log"), ("measuring", "metrics")):
        more = ratios(got[name], got["whole"])
        yield Row(f"a request with {what}, by instructions", "without", "x", more, "<=", 1.075)
    shares = [100 * share for share in ratios(got["hooks"], got["whole"])]
    yield Row("the addon's hooks, by instructions", "the whole request", "%", shares)
    many = f"the addon's hooks, {MANY_RULES} more rules, by instructions"
    yield Row(many, "the shipped rules", "x", ratios(got["many"], got["hooks"]), "<=", 1.2)
