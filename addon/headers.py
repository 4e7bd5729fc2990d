"""Headers read in one go; mitmproxy goes through all of them for each that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Fields = Mapping[bytes, bytes]
"""Values by lower-case names; those of repeated headers joined (RFC 9110, section 5.3)."""


def read(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Read headers as mitmproxy keeps them, in `Headers.fields`."""
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
