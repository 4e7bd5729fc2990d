"""Finds misspelled options of this addon, which mitmproxy would ignore."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

PREFIX = "mlflow_"
"""The prefix of all options of this addon."""


def misspelled(unknown: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a problem for each unknown option that looks like one of ours.

    mitmproxy keeps unknown options, because a script may add them later.

    Args:
        unknown: names that mitmproxy keeps; ours may be among them.
        known: names of all options that exist.
    """
    ours = [name for name in known if name.startswith(PREFIX)]
    problems = []
    for name in unknown:
        if name.lower().replace("-", "_").startswith(PREFIX) and name not in ours:
            close = difflib.get_close_matches(name.lower().replace("-", "_"), ours, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(ours)}"
            problems.append(f"{name}: no such option; {hint}")
    return problems
