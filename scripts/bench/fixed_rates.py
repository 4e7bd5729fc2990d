"""Measures latency at fixed request rates, below the maximum of the servers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial

from bench import servers
from bench.open_loop import OverloadError, latencies, percentile
from bench.results import Table
from bench.session import Session, alternate

RATES = (100, 200, 400)
PERCENT = (50, 90, 99)
WARM_UP = 0.5


def measure(session: Session) -> Iterator[Table]:
    """Yield percentiles by rate: the median over the rounds."""
    folder = session.folder / "rates"
    with servers.small_registry(folder / "registry") as registry:
        url = registry.url
        with (
            servers.proxy(folder / "proxy", url) as proxy,
            servers.bare(folder / "bare", url) as bare,
            servers.nginx(folder / "nginx", url) as nginx,
        ):
            names = {"the proxy": proxy.url, "bare mitmdump": bare.url, "nginx": nginx.url}
            rows, raw = [], {}
            for rate in RATES[::2] if session.quick else RATES:
                got = alternate(
                    session.rounds,
                    {name: partial(_ask, url, rate, session) for name, url in names.items()},
                )
                cells = [str(rate)]
                for name, rounds in got.items():
                    cells.append(_cell(rounds))
                    for percent, values in zip(PERCENT, zip(*rounds, strict=True), strict=True):
                        raw[f"{rate}/s, {name}, {percent} %"] = list(values)
                rows.append(cells)
    title = "latency at fixed rates in ms, from when a request was due: 50 %, 90 %, 99 %"
    yield Table(title, ["requests/s", *names], rows, raw)


def _ask(url: str, rate: int, session: Session) -> tuple[float, ...]:
    seconds = WARM_UP + 2 * session.seconds
    try:
        got = latencies(url, servers.API, rate, seconds, warm_up=WARM_UP)
    except OverloadError:
        return (float("inf"),) * len(PERCENT)
    return tuple(percentile(got, percent) for percent in PERCENT)


def _cell(rounds: list[tuple[float, ...]]) -> str:
    middle = [statistics.median(values) for values in zip(*rounds, strict=True)]
    if float("inf") in middle:
        return "cannot keep up"
    return " / ".join(f"{value:.1f}" for value in middle)
