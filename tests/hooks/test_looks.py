"""Checks that run a few times per time limit."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from addon.hooks.looks import LOOKS, Looks


def limits_of(answers: list[bool | Exception], limits: list[float]) -> list[float]:
    """Run checks with these results and limits in turn; return the limits that they were given."""
    given: list[float] = []

    async def run() -> None:
        over = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        def look(limit: float) -> bool:
            given.append(limit)
            answer = answers[len(given) - 1]
            if len(given) == len(answers):
                over.set()
            if isinstance(answer, Exception):
                raise answer
            return answer

        looks = Looks(look)
        values = itertools.chain(limits, itertools.repeat(limits[-1]))
        for _ in range(3):
            looks.go_on(lambda: next(values))
        async with asyncio.timeout(30):
            await over.wait()
        await asyncio.sleep(0.05)

    asyncio.run(run())
    return given


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ([False], 1),
        ([True, True, False], 3),
        # An exception does not end the checks.
        ([RuntimeError("a"), False], 2),
    ],
)
def test_checks_end_with_the_last_entry(answers: list[bool | Exception], count: int) -> None:
    """Checks go on while entries are left, in one series however often they are started."""
    assert limits_of(answers, [0.001]) == [0.001] * count


def test_a_limit_that_changes() -> None:
    """Each check gets the limit that is in force then."""
    # Each check reads the limit, and so does the start of the next one.
    assert limits_of([True, False], [0.001, 0.002, 0.003, 0.004]) == [0.002, 0.004]


def test_pauses() -> None:
    """A limit is checked several times before it is over."""

    async def run() -> float:
        loop = asyncio.get_running_loop()
        begin, first = loop.time(), loop.create_future()

        def look(_: float) -> bool:
            first.set_result(loop.time() - begin)
            return False

        Looks(look).go_on(lambda: 0.2)
        seconds: float = await first
        return seconds

    assert asyncio.run(run()) >= 0.2 / LOOKS * 0.9
