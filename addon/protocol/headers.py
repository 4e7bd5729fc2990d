"""Headers as a dict that is built once; mitmproxy searches all of them for each lookup.

Each step of a request reads the same headers again, so the last result is kept.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""The characters of a name (RFC 9110, section 5.6.2)."""
VISIBLE = rb"[!-~\x80-\xff]"
"""A character of a target, or of a value without white space."""

Pairs = tuple[tuple[bytes, bytes], ...]
"""Header fields in order, with names as received and values without surrounding white space."""

Fields = Mapping[bytes, bytes]
"""Values by lower-case names; the values of repeated headers are joined (RFC 9110, section 5.3)."""


_last: tuple[Sequence[tuple[bytes, bytes]], Fields] = ((), {})


def read(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Return headers, as mitmproxy keeps them in `Headers.fields`, by lower-case names."""
    global _last
    before, fields = _last
    if headers is not before:
        fields = _read(headers)
        if type(headers) is tuple:  # Other sequences can change.
            _last = (headers, fields)
    return fields


def remember(headers: Pairs, fields: Fields) -> None:
    """Keep the result for some headers, so that the next `read` need not build it."""
    global _last
    _last = (headers, fields)


def _read(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    fields = {name.lower(): value for name, value in headers}
    if len(fields) == len(headers):
        return fields
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        repeated.setdefault(name.lower(), []).append(value)
    return {name: b", ".join(values) for name, values in repeated.items()}


def without(pairs: Pairs, names: Container[bytes]) -> Pairs:
    """Return headers without those of some names, in lower case."""
    return tuple(pair for pair in pairs if pair[0].lower() not in names)


def text(fields: Fields, name: bytes) -> str | None:
    """Return a value as mitmproxy decodes it; None if there is none."""
    value = fields.get(name)
    return None if value is None else value.decode("utf-8", "surrogateescape")
