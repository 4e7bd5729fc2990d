"""The limit for all bodies held in memory."""

from __future__ import annotations

from addon.hooks.held import Held


class Connection:
    """A transport with this number of bytes still to send."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As in asyncio's transports."""
        return self.size


def test_one_limit_for_all_bodies() -> None:
    """Bytes over the limit are not counted. Returned bytes make room."""
    held = Held()
    assert held.take("a", 60, 100)
    assert not held.take("b", 41, 100)
    assert held.take("b", 40, 100)
    assert not held.take("a", 1, 100)
    assert held.take("a", -10, 100)
    assert held.take("b", 10, 100)
    assert held.size() == 100
    held.leave("a", None)
    held.leave("a", None)
    held.leave("c", None)
    assert held.size() == 50


def test_an_answer_counts_until_it_is_sent() -> None:
    """Bytes that wait for a slow client count as held until the client takes them."""
    held, slow = Held(), Connection(70)
    held.take("a", 90, 100)
    held.leave("a", slow)
    assert not held.take("b", 40, 100)
    assert held.take("b", 30, 100)
    slow.size = 0
    assert held.take("b", 70, 100)
    held.leave("b", Connection(0))
    assert held.size() == 0


def test_the_list_of_answers_does_not_grow() -> None:
    """Finished answers are forgotten, even while there is room."""
    held = Held()
    for number in range(1000):
        held.take(str(number), 1, 10_000)
        held.leave(str(number), Connection(0))
    assert len(held._leaving) < 100
