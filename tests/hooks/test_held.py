"""How much of bodies is held at once."""

from __future__ import annotations

from addon.hooks.held import Held


class Connection:
    """Holds so many bytes back."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As asyncio's transports."""
        return self.size


def test_all_together() -> None:
    """What does not fit is not counted; what is given back makes room."""
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


def test_until_the_answer_is_taken() -> None:
    """What waits for a client that does not read is held as well, as far as it waits."""
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
    """Those that were taken are forgotten, also while there is room."""
    held = Held()
    for number in range(1000):
        held.take(str(number), 1, 10_000)
        held.leave(str(number), Connection(0))
    assert len(held._leaving) < 100
