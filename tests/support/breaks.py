"""A script that changes mitmproxy or asyncio as the variable BREAKS says.

`NAME of OWNER in MODULE` renames an attribute, and its uses in a module and its submodules;
`logger` renames the logger of connections, `field` adds a field to requests, `parameter` adds a
parameter to a method, `emit` renames the parameter of another, and `text` changes a message of
asyncio. Changes are separated by "; ". An empty value changes nothing.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import sys
from asyncio import selector_events
from collections.abc import Iterator
from pkgutil import resolve_name
from types import CodeType, FunctionType
from typing import Any

from mitmproxy import http
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.termlog import TermLogHandler
from mitmproxy.proxy import server
from mitmproxy.tools import web  # noqa: F401  # Imported to load mitmproxy's views.


def rename(old: str, path: str, scope: str) -> None:
    """Rename an attribute of a module, or of a class and its existing instances."""
    owner: Any = resolve_name(path)
    new = f"{old}_now"
    for name, module in [*sys.modules.items()]:
        if name == scope or name.startswith(f"{scope}."):
            for function in _functions(vars(module)):
                function.__code__ = _renamed(function.__code__, old, new)
    getattr(owner, "__annotations__", {}).pop(old, None)
    if old in vars(owner):
        setattr(owner, new, vars(owner)[old])
        delattr(owner, old)
    if inspect.isclass(owner):
        for each in gc.get_objects():
            if issubclass(type(each), owner) and old in vars(each):
                vars(each)[new] = vars(each).pop(old)


def _functions(namespace: Any, depth: int = 0) -> Iterator[FunctionType]:
    for value in [*namespace.values()]:
        if inspect.isclass(value) and depth < 3:
            yield from _functions(vars(value), depth + 1)
        parts = (value, getattr(value, "__func__", None), getattr(value, "fget", None))
        for part in parts:
            while inspect.isfunction(part):
                yield part
                part = getattr(part, "__wrapped__", None)


def _renamed(code: CodeType, old: str, new: str) -> CodeType:
    return code.replace(
        co_names=tuple(new if name == old else name for name in code.co_names),
        co_consts=tuple(
            _renamed(c, old, new) if isinstance(c, CodeType) else c for c in code.co_consts
        ),
    )


def rename_logger() -> None:
    """Rename the logger of connections."""
    server.logger = logging.getLogger("mitmproxy.server")


def add_field() -> None:
    """Add a field to requests."""
    given: Any = http.RequestData.__init__

    def __init__(self: Any, *values: Any, priority: int = 0, **named: Any) -> None:  # noqa: N807
        given(self, *values, **named)
        self.priority = priority

    parameters = inspect.signature(given).parameters.values()
    more = inspect.Parameter("priority", inspect.Parameter.KEYWORD_ONLY, default=0)
    made: Any = __init__
    made.__signature__ = inspect.Signature([*parameters, more])
    http.RequestData.__init__ = made  # type: ignore[method-assign]


def add_parameter() -> None:
    """Add a parameter to a method."""
    given = NextLayer.next_layer

    def next_layer(self: NextLayer, nextlayer: Any, reason: str) -> None:
        given(self, nextlayer)

    NextLayer.next_layer = next_layer  # type: ignore[assignment,method-assign]


def rename_parameter() -> None:
    """Rename a method's parameter."""
    given = TermLogHandler.emit

    def emit(self: TermLogHandler, line: logging.LogRecord) -> None:
        given(self, line)

    TermLogHandler.emit = emit  # type: ignore[assignment,method-assign]


def change_text() -> None:
    """Change a message of asyncio."""
    function: Any = selector_events.BaseSelectorEventLoop._accept_connection  # type: ignore[attr-defined]
    code = function.__code__
    text = "socket.accept() out of system resource"
    consts = tuple("no room" if const == text else const for const in code.co_consts)
    function.__code__ = code.replace(co_consts=consts)


OTHERS = {
    "emit": rename_parameter,
    "field": add_field,
    "logger": rename_logger,
    "parameter": add_parameter,
    "text": change_text,
}
for what in os.environ["BREAKS"].split("; "):
    if what in OTHERS:
        OTHERS[what]()
    elif what:
        name, _, path, _, scope = what.split(" ")
        rename(name, path, scope)
