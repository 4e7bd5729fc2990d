"""Regular expressions of the rules, matched from any slash of a path on."""

from __future__ import annotations

import re

_FLAGS = re.compile(r"\(\?[aimsux]+\)")


def below_any_prefix(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Return an expression to search with: it finds a full match of `pattern` after any prefix.

    A match begins at a slash and goes to the end of the text. A dot also matches a line break:
    otherwise a line break at the end would make the search try the whole text from each slash on.
    Flags at the beginning of an expression cannot be in a group, so they are passed as arguments.
    """
    source = pattern.pattern
    if flags := _FLAGS.match(source):
        source = source[flags.end() :]
    # Ends a comment at the end of a verbose expression.
    end = "\n" if pattern.flags & re.VERBOSE else ""
    return re.compile(rf"(?=/)(?:{source}{end})\Z", pattern.flags | re.DOTALL)


def found(anywhere: re.Pattern[str], path: str, last: int) -> int | None:
    """Return the index of the slash from which a path matches; None if it does not.

    Args:
        anywhere: from `below_any_prefix`.
        path: decoded, below the mount.
        last: the last index at which a route can begin (see `target.last_root`).
    """
    # In most paths a route can begin at the first slash alone: no search through the rest.
    match = anywhere.search(path) if last else anywhere.match(path)
    return match.start() if match and match.start() <= last else None
