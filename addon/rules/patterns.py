"""Regular expressions of the rules, read from any slash of a path on."""

from __future__ import annotations

import re

_FLAGS = re.compile(r"\(\?[aimsux]+\)")


def below_any_prefix(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """An expression to search for: it finds what `pattern` matches whole, behind any prefix.

    A match begins at a slash and goes to the end of the text. A dot stands for a line break, too:
    otherwise one at the end would make the search try all of the text from each slash on. Flags at
    the beginning of an expression cannot be moved into a group, so they are passed on as such.
    """
    source = pattern.pattern
    if flags := _FLAGS.match(source):
        source = source[flags.end() :]
    # A comment at the end of a verbose expression would go on.
    end = "\n" if pattern.flags & re.VERBOSE else ""
    return re.compile(rf"(?=/)(?:{source}{end})\Z", pattern.flags | re.DOTALL)
