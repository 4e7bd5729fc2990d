"""What all sections of `rules.yaml` have in common.

A rules file decides what the proxy does, so nothing in it is guessed: unknown keys and wrong types
are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from ..protocol.hosts import uri_host


class Section(BaseModel):
    """A section of the file: validated, frozen. Its descriptions are also in the JSON Schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


def refuse_duplicates(names: Iterable[str]) -> None:
    """Raise ValueError if a name stands twice in a list."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"duplicate name {twice[0]!r}; expected each name once")


def host_listed(host: str, port: int, hosts: list[str] | frozenset[str]) -> bool:
    """Return whether `host` (any case, with or without a final dot) or `host:port` is in a list."""
    host = uri_host(host.lower().rstrip("."))
    return host in hosts or f"{host}:{port}" in hosts
