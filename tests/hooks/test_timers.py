"""Many deadlines on one timer."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from addon.hooks.timers import Timers


def run(scenario: Callable[[Timers, list[str]], Awaitable[None]], calls: int) -> list[str]:
    """Run a scenario; return the calls once there were this many."""

    async def main() -> list[str]:
        called: list[str] = []
        await scenario(Timers(), called)
        while len(called) < calls:
            await asyncio.sleep(0.001)
        return called

    return asyncio.run(asyncio.wait_for(main(), 10))


def test_deadlines_fire_in_order_of_time() -> None:
    """The order in which they were started does not matter."""

    async def scenario(timers: Timers, called: list[str]) -> None:
        for seconds, name in ((0.03, "third"), (0.01, "first"), (0.02, "second")):
            timers.start(name, seconds, partial(called.append, name))

    assert run(scenario, 3) == ["first", "second", "third"]


def test_stopped_and_moved() -> None:
    """Each key has one deadline, the last one set."""

    async def scenario(timers: Timers, called: list[str]) -> None:
        timers.start("stopped", 0.001, lambda: called.append("stopped"))
        timers.start("moved", 0.001, lambda: called.append("too early"))
        timers.start("moved", 0.02, lambda: called.append("moved"))
        timers.stop("stopped")
        timers.stop("unknown")

    assert run(scenario, 1) == ["moved"]


def test_callbacks_that_change_deadlines() -> None:
    """A deadline's callback may stop another one or restart its own."""

    async def scenario(timers: Timers, called: list[str]) -> None:
        def first() -> None:
            called.append("first")
            timers.stop("other")
            if called.count("first") < 3:
                timers.start("first", 0.001, first)

        timers.start("first", 0, first)
        timers.start("other", 0, lambda: called.append("other"))

    assert run(scenario, 3) == ["first"] * 3


def test_a_callback_that_fails() -> None:
    """The other callbacks still run."""

    async def scenario(timers: Timers, called: list[str]) -> None:
        def fail() -> None:
            called.append("failed")
            raise RuntimeError

        asyncio.get_running_loop().set_exception_handler(lambda *_: called.append("told"))
        timers.start("fails", 0, fail)
        timers.start("works", 0, lambda: called.append("works"))

    assert run(scenario, 3) == ["failed", "told", "works"]


def test_one_timer_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines after the next one schedule nothing in the event loop."""
    asked: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ask = loop.call_later

        def call_later(delay: float, *arguments: Any) -> asyncio.TimerHandle:
            asked.append(delay)
            return ask(delay, *arguments)

        monkeypatch.setattr(loop, "call_later", call_later)
        timers = Timers()
        for number in range(1000):
            timers.start(str(number % 10), 60, lambda: None)
            timers.stop(str(number % 7))

    asyncio.run(main())
    assert len(asked) == 1
