"""Something that happens again and again."""

from __future__ import annotations

import asyncio

from addon.hooks.spell import Spell


def test_the_log_hears_twice() -> None:
    """Of the first time, and of how many there were when it has stopped; then it may come again."""
    over: list[int] = []

    async def main() -> list[bool]:
        spell = Spell(over.append, quiet=0.02)
        news = [spell.happens() for _ in range(3)]
        while not over:
            await asyncio.sleep(0.001)
        news.append(spell.happens())
        while len(over) < 2:
            await asyncio.sleep(0.001)
        return news

    news = asyncio.run(asyncio.wait_for(main(), 10))
    assert news == [True, False, False, True]
    assert over == [3, 1]
