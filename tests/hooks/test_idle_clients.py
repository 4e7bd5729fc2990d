"""Which client gives way to another."""

from __future__ import annotations

from typing import Any

from addon.hooks.idle_clients import PAUSE, QUIET, IdleClients


class Clients:
    """Names of clients, with the times of their last activity; None for one that is busy."""

    def __init__(self, **since: float | None) -> None:
        self.now = 1000.0
        self.since = since
        self.looks = 0
        self.idle = IdleClients(self._everybody, self.since.get, lambda: self.now)

    def _everybody(self) -> list[str]:
        self.looks += 1
        return [*self.since]

    def take(self) -> Any:
        """Take one after another."""
        return self.idle.take()


def test_the_one_that_is_idle_for_longest() -> None:
    """One after the other, in that order, with a single look at all."""
    clients = Clients(b=20, a=10, busy=None, c=30)
    assert [clients.take() for _ in range(4)] == ["a", "b", "c", None]
    assert clients.looks == 1


def test_what_has_happened_since_the_look() -> None:
    """Who was active, is busy or has gone does not give way."""
    clients = Clients(a=10, b=20, c=30, d=40)
    assert clients.take() == "a"
    clients.since.update(b=1000, c=None)
    assert clients.take() == "d"
    clients.since.clear()
    assert clients.take() is None


def test_one_that_is_just_about_to_send() -> None:
    """A short pause between two requests is left alone."""
    clients = Clients(a=1000 - QUIET / 2, b=1000 - QUIET)
    assert [clients.take() for _ in range(2)] == ["b", None]


def test_all_are_looked_at_now_and_then() -> None:
    """Where nobody is idle, the next one that asks does not cost a look at all."""
    clients = Clients(a=None)
    assert [clients.take() for _ in range(3)] == [None] * 3
    assert clients.looks == 1
    clients.since["a"] = 10
    clients.now += PAUSE
    assert clients.take() == "a"
    assert clients.looks == 2
    # Also when somebody has set the clock back.
    clients.now -= 3600
    clients.since["a"] = -9000
    assert clients.take() == "a"
