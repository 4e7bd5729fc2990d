"""MLflow's JSON as text for people: names and values in columns, lists of runs as blocks.

A body that is too long or too deep, or not JSON, is cut or shown as it is; nothing here raises.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from textwrap import wrap
from typing import Any

from ..protocol import bodies

BODY_LIMIT = 1024 * 1024
"""Bytes of a document that is formatted, at most."""

TEXT_LIMIT = 64 * 1024
"""Bytes of any other body that are shown, at most."""

_LINES = 5000
_DEPTH = 8
_VALUE = 400
"""Characters of a value, at most."""
_WRAP = 64
"""Columns for a value; a message takes several lines."""
_NAME = 60
"""Columns for names, at most."""
_TIMES = ("_time", "_timestamp", "timestamp", "timestamp_ms", "time_ms")
_MILLISECONDS = range(10**11, 10**14)
"""Numbers that are milliseconds since 1970, under such a name (the years 1973 to 5138)."""


def render(body: bytes) -> str:
    """Return a JSON document as text, and any other body as it is.

    Args:
        body: without its Content-Encoding.
    """
    if len(body) > BODY_LIMIT:
        return plain(body)
    try:
        document = json.loads(body)
        lines = [*islice(_block(document, 0), _LINES + 1)]
    except (ValueError, RecursionError):
        return plain(body)
    if len(lines) > _LINES:
        lines[_LINES:] = ["… and more"]
    return "\n".join(lines).strip("\n")


def plain(body: bytes) -> str:
    """Return the beginning of a body as text."""
    text = body[:TEXT_LIMIT].decode("utf-8", "replace")
    cut = len(body) - TEXT_LIMIT
    return f"{text}\n… and {cut} bytes more" if cut > 0 else text


def _block(value: Any, depth: int) -> Iterator[str]:
    """Yield the lines for a value in a block of its own."""
    pad = "  " * depth
    if depth >= _DEPTH or not _has_parts(value):
        yield pad + _scalar("", value)
    elif isinstance(value, list):
        yield from _list("", value, depth)
    else:
        yield from _fields(value, depth)


def _fields(fields: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield simple values in columns, then each nested value under its name."""
    pad = "  " * depth
    simple = {name: value for name, value in fields.items() if not _has_parts(value)}
    width = min(max(map(len, simple), default=0), _NAME)
    for name, value in simple.items():
        said = _scalar(name, value)
        first, *more = wrap(said, _WRAP, break_long_words=False, break_on_hyphens=False) or [""]
        yield f"{pad}{bodies.capped(name, _NAME):<{width}}  {first}".rstrip()
        yield from (f"{pad}{'':<{width}}  {line}" for line in more)
    for name, value in fields.items():
        if name in simple:
            continue
        yield ""
        if isinstance(value, list):
            yield from _list(name, value, depth)
        else:
            yield pad + bodies.capped(name, _NAME)
            yield from _block(value, depth + 1)


def _list(name: str, items: list[Any], depth: int) -> Iterator[str]:
    pad = "  " * depth
    yield f"{pad}{bodies.capped(name or 'list', _NAME)} ({len(items)})"
    if all(isinstance(item, dict) and "key" in item and "value" in item for item in items):
        yield from _table(items, depth + 1)
        return
    for number, item in enumerate(items, start=1):
        if _has_parts(item):
            yield f"{pad}  #{number}"  # mitmweb leaves empty lines out.
        yield from _block(item, depth + (2 if _has_parts(item) else 1))


def _table(items: list[dict[str, Any]], depth: int) -> Iterator[str]:
    """Yield metrics, parameters or tags, one a line."""
    pad = "  " * depth
    names = [bodies.capped(str(item["key"]), _NAME) for item in items]
    width = max(map(len, names))
    for name, item in zip(names, items, strict=True):
        more = [
            f"{other} {_scalar(other, value)}"
            for other, value in item.items()
            if other not in ("key", "value") and value not in ("", None)
        ]
        said = "  ".join([_scalar("", item["value"]), *more])
        yield f"{pad}{name:<{width}}  {said}".rstrip()


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _scalar(name: str, value: Any) -> str:
    """Return a value in one line; a time also as a date."""
    if isinstance(value, str):
        said = bodies.capped(value, _VALUE)
    else:
        said = bodies.capped(json.dumps(value, ensure_ascii=False), _VALUE)
    # MLflow writes 64-bit numbers as strings in some documents (protobuf's JSON).
    if name.endswith(_TIMES) and said.isdecimal() and int(said) in _MILLISECONDS:
        said += f"  {datetime.fromtimestamp(int(said) / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return said
