"""Which idle client is disconnected to make room for another."""

from __future__ import annotations

from typing import Any

from addon.hooks.idle_clients import PAUSE, QUIET, IdleClients


class Clients:
    """Names of clients with the times of their last activity; None for a busy one."""

    def __init__(self, **since: float | None) -> None:
        self.now = 1000.0
        self.since = since
        self.looks = 0
        self.idle = IdleClients(self._everybody, self.since.get, lambda: self.now)

    def _everybody(self) -> list[str]:
        self.looks += 1
        return [*self.since]

    def take(self) -> Any:
        """Pick one client and remove it."""
        return self.idle.take()


def test_the_longest_idle_client_goes_first() -> None:
    """They come in the order of their idle time, from a single scan."""
    clients = Clients(b=20, a=10, busy=None, c=30)
    assert [clients.take() for _ in range(4)] == ["a", "b", "c", None]
    assert clients.looks == 1


def test_changes_since_the_scan() -> None:
    """A client that became active or busy since the scan, or has left, is kept."""
    clients = Clients(a=10, b=20, c=30, d=40)
    assert clients.take() == "a"
    clients.since.update(b=1000, c=None)
    assert clients.take() == "d"
    clients.since.clear()
    assert clients.take() is None


def test_a_client_between_two_requests_is_kept() -> None:
    """A short pause between two requests does not count as idle."""
    clients = Clients(a=1000 - QUIET / 2, b=1000 - QUIET)
    assert [clients.take() for _ in range(2)] == ["b", None]


def test_scans_are_rare() -> None:
    """While no client is idle, there is at most one scan per pause."""
    clients = Clients(a=None)
    assert [clients.take() for _ in range(3)] == [None] * 3
    assert clients.looks == 1
    clients.since["a"] = 10
    clients.now += PAUSE
    assert clients.take() == "a"
    assert clients.looks == 2
    # Also after the system clock was set back.
    clients.now -= 3600
    clients.since["a"] = -9000
    assert clients.take() == "a"
