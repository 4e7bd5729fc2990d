"""Headers read in one go; mitmproxy goes through all of them for each that is asked for."""

from __future__ import annotations

from collections.abc import Sequence


class Fields(dict[bytes, bytes]):
    """Values by lower-case names; those of repeated headers joined (RFC 9110, section 5.3)."""

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__({name.lower(): value for name, value in fields})
        if len(self) == len(fields):
            return
        self.clear()
        for name, value in fields:
            key = name.lower()
            self[key] = b"%s, %s" % (self[key], value) if key in self else value

    def text(self, name: bytes) -> str | None:
        """A value as mitmproxy gives it; None if there is none."""
        value = self.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")
