"""A limit on how often an event may happen: a burst, and a rate per second."""

from __future__ import annotations


class Allowance:
    """A token bucket.

    Args:
        most: its capacity.
        per_second: tokens added per second.
    """

    def __init__(self, most: float, per_second: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._looked: float | None = None

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one.

        Args:
            now: seconds of a monotonic clock.
        """
        if self._looked is not None:
            more = (now - self._looked) * self._per_second
            self._left = min(self._most, self._left + more)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
