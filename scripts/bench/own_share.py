"""How much of the work for a request is the addon's own, by instructions and by time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import stack
from bench import instructions, servers, stack_samples
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
        yield from _by_instructions(session, registry.url)
        yield from _by_time(session, registry.url)


def _by_instructions(session: Session, upstream: str) -> Iterator[Row]:
    folder = session.folder / "own-share" / "instructions"
    ways = {
        "whole": partial(instructions.of_request, folder / "whole", upstream),
        "hooks": partial(instructions.of_hooks, folder / "hooks"),
        "many": partial(instructions.of_hooks, folder / "many", MANY_RULES),
    }
    # They differ by less than one in a hundred from time to time.
    got = alternate(session.rounds, ways)
    counted = [count / 1e6 for count in got["whole"]]
    yield Row("instructions for a small request", "", "million", counted, "<=", 0.7, raw=got)
    shares = [100 * share for share in ratios(got["hooks"], got["whole"])]
    yield Row("the addon's hooks, by instructions", "the whole request", "%", shares)
    many = f"the addon's hooks, {MANY_RULES} more rules, by instructions"
    yield Row(many, "the shipped rules", "x", ratios(got["many"], got["hooks"]), "<=", 1.2)


def _by_time(session: Session, upstream: str) -> Iterator[Row]:
    shares = alternate(session.rounds, {"": partial(profile, session, upstream)})[""]
    for owner, name in (
        (stack_samples.HOOKS, "the addon's hooks, by time"),
        (stack_samples.HTTP_LAYER, "the engine, by time"),
    ):
        raw = {what: [one[what] for one in shares] for what in (owner, "samples")}
        yield Row(name, "the whole request", "%", [100 * one[owner] for one in shares], raw=raw)


def profile(session: Session, upstream: str) -> dict[str, float]:
    """Shares under load of four connections."""
    folder = session.folder / "own-share"
    stacks = folder / "stacks"
    stacks.unlink(missing_ok=True)
    port = stack.free_port()
    rules = servers.write_rules(folder / "rules.yaml")
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
