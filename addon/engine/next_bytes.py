"""Call functions once a client's next bytes are read: they may give up the request meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .turns import Turns, WakeUp


class NextBytes:
    """The functions that wait on one connection.

    Args:
        turns: the turns in which the connection is read.
        wake_up: calls a function after some seconds.
    """

    def __init__(self, turns: Turns, wake_up: WakeUp) -> None:
        self._turns = turns
        self._wake_up = wake_up
        self._held: list[Callable[[], None]] = []

    def then(self, function: Callable[[], None]) -> None:
        """Call a function after the bytes that have arrived by now."""
        self._held.append(function)
        self._wake_up(0, partial(self._look, function))

    def call_all(self) -> None:
        """Call all functions now: mitmproxy runs no wakeups after the client has gone."""
        for function in [*self._held]:
            self._call(function)

    def _look(self, function: Callable[[], None]) -> None:
        if self._turns.resting:
            self._turns.follow(partial(self._call, function))
        else:
            self._call(function)

    def _call(self, function: Callable[[], None]) -> None:
        if function in self._held:
            self._held.remove(function)
            function()
