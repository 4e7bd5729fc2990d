"""A spell: one event that happens again and again."""

from __future__ import annotations

import asyncio

from addon.hooks.spell import Spell


def test_two_log_lines_per_spell() -> None:
    """The first event is logged, and the count once they have stopped. Then it starts over."""
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
