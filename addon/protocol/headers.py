"""Headers read in one go; mitmproxy goes through all of them for each that is asked for.

Each step of a request reads the same headers again, so what was read last is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Fields = Mapping[bytes, bytes]
"""Values by lower-case names; those of repeated headers joined (RFC 9110, section 5.3)."""


_last: tuple[Sequence[tuple[bytes, bytes]], Fields] = ((), {})


def read(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Read headers as mitmproxy keeps them, in `Headers.fields`."""
    global _last
    before, fields = _last
    if headers is not before:
        fields = _read(headers)
        if type(headers) is tuple:  # No other kind stays as it is.
            _last = (headers, fields)
    return fields


def remember(headers: tuple[tuple[bytes, bytes], ...], fields: Fields) -> None:
    """Spare the next reader of some headers the work: they are known already."""
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


def text(fields: Fields, name: bytes) -> str | None:
    """A value as mitmproxy gives it; None if there is none."""
    value = fields.get(name)
    return None if value is None else value.decode("utf-8", "surrogateescape")
