"""A clock that a test moves, in place of the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest


class Clock:
    """The monotonic clock of this process, and the calls that wait for their time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.late: list[float] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def wake_up(self, seconds: float, then: Callable[[], None]) -> None:
        """Call a function later."""
        self.calls.append((self.now + seconds, then))

    def note(self) -> None:
        """Note that a time limit is exceeded."""
        self.late.append(self.now)

    def pass_until(self, now: float) -> None:
        """Let time pass, and make the calls that are due."""
        while due := [call for call in self.calls if call[0] <= now]:
            first = min(due, key=lambda call: call[0])
            self.calls.remove(first)
            self.now = first[0]
            first[1]()
        self.now = now
