"""Finds options of this addon that are misspelled or have wrong values; mitmproxy is silent."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable

from mitmproxy import exceptions, optmanager

logger = logging.getLogger(__name__)

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


def unreadable(options: optmanager.OptManager) -> list[str]:
    """Return a problem for each option that mitmproxy cannot read, and drop its value.

    mitmproxy reads the values for a script's options after it has loaded the script. About a wrong
    one (`mlflow_lean=perhaps`, or an option that is given twice) it keeps silent, and goes on
    without the script.
    """
    problems, deferred = [], options.deferred
    waiting = {name: deferred.pop(name) for name in [*deferred] if name in options}
    others = {**deferred}
    for name, given in waiting.items():
        deferred.clear()
        deferred[name] = given
        try:
            options.process_deferred()
        except (exceptions.OptionsError, TypeError) as error:
            problems.append(
                f"{name}: {str(error).removeprefix(f'Failed to parse option {name}: ')}"
            )
    deferred.clear()
    deferred.update(others)
    return problems


def refuse(problem: str, *, running: bool) -> None:
    """Refuse the value of an option.

    Args:
        problem: the name of the option, its value, and what was expected.
        running: whether the start is over.

    Raises:
        OptionsError: it is; mitmproxy shows the message, and the old value stays.
    """
    if running:
        raise exceptions.OptionsError(problem)
    # At start this ends mitmproxy with exit code 1, without a traceback.
    logger.error("%s", problem)
