"""How much of the time for a request is spent in the addon's code, by a sampling profiler."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import stack
from bench import servers, stack_samples
from bench.closed_loop import load
from bench.results import Row, ratios
from bench.session import Session, alternate

RATE = 250
"""Samples per second: more of them slow the process down too much to be believed."""
MANY_RULES = 200


def measure(session: Session) -> Iterator[Row]:
    """Shares with the rules that are shipped, and with many more."""
    folder = session.folder / "own-share"
    with servers.small_registry(folder / "registry") as registry:
        ways = {
            "shipped": partial(profile, session, registry.url, 0),
            "many": partial(profile, session, registry.url, MANY_RULES),
        }
        got = alternate(session.pairs, ways)
    percent = {
        name: [100 * one[name] for one in got["shipped"]]
        for name in (stack_samples.HOOKS, stack_samples.HTTP_LAYER)
    }
    raw = {
        f"{way}: {name}": [one[name] for one in values]
        for way, values in got.items()
        for name in values[0]
    }
    whole = "the whole request"
    hooks, layer = percent.values()
    yield Row("our own code per request", whole, "%", hooks, "<=", 3, raw=raw)
    yield Row("what replaces parts of mitmproxy (HTTP, dispatch, reads)", whole, "%", layer)
    many, shipped = ([one[stack_samples.HOOKS] for one in got[way]] for way in ("many", "shipped"))
    name = f"our own code per request, {MANY_RULES} more rules"
    yield Row(name, "the shipped rules", "x", ratios(many, shipped), "<=", 1.2)


def profile(session: Session, upstream: str, more_rules: int) -> dict[str, float]:
    """Shares under load of four connections."""
    folder = session.folder / "own-share"
    stacks = folder / "stacks"
    stacks.unlink(missing_ok=True)
    port = stack.free_port()
    rules = servers.write_rules(folder / "rules.yaml", more_rules)
    mitmdump = stack.proxy_command(upstream, rules, port=port, options=("-q",))
    # As the parent of what it looks into: that is allowed everywhere.
    command: list[str | Path] = [stack.DATA / "py-spy" / "bin" / "py-spy", "record"]
    command += ["--format", "raw", "--full-filenames", "--rate", str(RATE)]
    command += ["--output", stacks, "--", *mitmdump]
    url = f"http://127.0.0.1:{port}"
    server = stack.Server(command, url=url, log=folder / "log", stop_signal=signal.SIGINT)
    with server:
        server.wait("/livez")
        load(url + servers.API, 4, 2 * session.seconds)
        server.stop(seconds=30)
    return stack_samples.shares(stacks.read_text(encoding="utf-8").splitlines())
