"""Several regular expressions asked at once.

One expression that joins them answers in the time of a few, where it means the same: a reference to
a group by its number does not, and flags such as (?i) cannot be joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BY_NUMBER = re.compile(r"\\[1-9]|\(\?\(")
_NO_FLAGS = re.compile("").flags


class Patterns:
    """Finds the first of several expressions that matches."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._patterns = tuple(patterns)
        self._joined = _join(self._patterns)
        self._index = {}
        group = 1
        for index, pattern in enumerate(self._patterns):
            self._index[group] = index
            group += pattern.groups + 1

    def match(self, text: str) -> int | None:
        """The index of the first that matches the beginning of a text."""
        if self._joined is None:
            return _first(pattern.match(text) for pattern in self._patterns)
        return self._index_of(self._joined.match(text))

    def fullmatch(self, text: str) -> int | None:
        """The index of the first that matches the whole of a text."""
        if self._joined is None:
            return _first(pattern.fullmatch(text) for pattern in self._patterns)
        return self._index_of(self._joined.fullmatch(text))

    def _index_of(self, match: re.Match[str] | None) -> int | None:
        # Of nested groups the outer one is closed last, and that is the expression's own.
        return None if match is None else self._index[match.lastindex or 0]


def _first(matches: Iterable[re.Match[str] | None]) -> int | None:
    return next((index for index, match in enumerate(matches) if match is not None), None)


def _join(patterns: Sequence[re.Pattern[str]]) -> re.Pattern[str] | None:
    if not patterns or any(p.flags != _NO_FLAGS or _BY_NUMBER.search(p.pattern) for p in patterns):
        return None
    try:
        return re.compile("|".join(f"({pattern.pattern})" for pattern in patterns))
    except re.error:
        return None  # Two groups of the same name.
