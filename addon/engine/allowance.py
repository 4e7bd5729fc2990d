"""How often something may happen: so many times at once, and so many times a second."""

from __future__ import annotations


class Allowance:
    """A bucket that fills by itself.

    Args:
        most: it holds so much.
        per_second: so much flows in.
    """

    def __init__(self, most: float, per_second: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._looked: float | None = None

    def take(self, now: float) -> bool:
        """Take one out; tell whether it was there.

        Args:
            now: seconds of a clock that does not go back.
        """
        if self._looked is not None:
            more = (now - self._looked) * self._per_second
            self._left = min(self._most, self._left + more)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
