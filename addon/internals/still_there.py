"""Compare the table in `reached_into` with the installed mitmproxy."""

from __future__ import annotations

import inspect
import platform
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pkgutil import resolve_name
from typing import Any

from mitmproxy import version

from .place import Part, Place
from .reached_into import TABLE

_NAME = re.compile(r"(async )?(\w+)(?:\((.*)\)|=(.*))?")


@cache
def lacks(part: Part) -> tuple[str, ...]:
    """Return what is missing or different in a part: each time the name and the expectation.

    The first result is cached, so code that patches mitmproxy has to run before it.
    """
    return tuple(problem for place in TABLE if place.part is part for problem in problems(place))


def warning(part: Part) -> str | None:
    """Return a log line that says what does not work, and why; None if nothing is missing."""
    if not (missing := lacks(part)):
        return None
    here = f"mitmproxy {version.VERSION} (Python {platform.python_version()})"
    return f"{here} is not as expected: {'; '.join(missing)}. So {part.value}"


def problems(place: Place) -> list[str]:
    """Return what is missing or different in a place."""
    shown = place.owner.rpartition(":")[2]
    try:
        owner = resolve_name(place.owner)
    except Exception:
        return [f"{place.owner}: missing, expected {', '.join(place.names)}"]
    found = []
    for expected in place.names:
        try:
            flaw = _flaw(owner, expected, place.says)
        except Exception as error:  # Any failure means it is not as expected.
            flaw = f"{type(error).__name__}"
        if flaw:
            found.append(f"{shown}: {flaw}, expected {place.says or expected}")
    return found


def _flaw(owner: Any, expected: str, says: str) -> str | None:
    """Return what is wrong with one name; None if it is as expected."""
    parsed = _NAME.fullmatch(expected)
    if parsed is None:
        raise ValueError(expected)
    asynchronous, name, parameters, text = parsed.groups()
    if name not in _names(owner):
        return f"no {name}"
    if text is not None and getattr(owner, name) != text:
        return f"{name} is {getattr(owner, name)!r}"
    if says and says not in str(getattr(owner, name).__code__.co_consts):
        return f"another text in {name}"
    if parameters is None:
        return None
    function: Callable[..., Any] = getattr(owner, name)
    if not callable(function):
        return f"{name} is no function"
    if asynchronous and not inspect.iscoroutinefunction(function):
        return f"{name} is no coroutine function"
    bound = inspect.isclass(owner) and not inspect.ismethod(function)
    signature = [*inspect.signature(function).parameters.values()][bound:]
    wanted = [parameter.strip() for parameter in parameters.split(",") if parameter.strip()]
    others = [p for p in signature[len(wanted) :] if is_dataclass(owner) or _is_needed(p)]
    if [parameter.name for parameter in signature[: len(wanted)]] != wanted or others:
        return f"{name} takes ({', '.join(parameter.name for parameter in signature)})"
    return None


def _is_needed(parameter: inspect.Parameter) -> bool:
    variable = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variable


def _names(owner: Any) -> set[str]:
    """Return the names in a module, or those of a class's instances, also set by constructors."""
    names = {*dir(owner)}
    for each in inspect.getmro(owner) if inspect.isclass(owner) else ():
        constructor = getattr(vars(each).get("__init__"), "__code__", None)
        names.update(vars(each).get("__annotations__", ()))
        names.update(constructor.co_names if constructor else ())
    return names
