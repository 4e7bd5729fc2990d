"""What access log and metrics are made of: plain values, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..routing.families import Family


class Ended(NamedTuple):
    """A request that has ended."""

    start: float
    """When the request began, in seconds since 1970, as are the next two."""
    head: float | None
    """When the head of the answer was there; None if the client got none."""
    end: float
    """When all was over."""
    request_id: str
    """The client's or a new one."""
    client: str | None
    """IP address."""
    method: str | None
    """HTTP method, as it may be shown."""
    path: str | None
    """As it was received, and may be shown."""
    sent_path: str | None
    """As it went upstream, and may be shown; None if nothing did."""
    rule: str | None
    """Name of the rewrite rule."""
    upstream_status: int | None
    """What the upstream answered."""
    status: int | None
    """What the client got."""
    error_source: str | None
    """Who made the error or broke off, "proxy", "upstream" or "client"."""
    converted: str
    """How the upstream's error was put in other words (see `Decision`); "" if it was not."""
    probe: bool
    """Whether the proxy itself has asked."""
    bytes_in: int
    """Bytes of the request's body."""
    bytes_out: int
    """Bytes of the response's body, as it was sent."""
    family: Family
    """What it was for."""
    why: str
    """Why the proxy answered with an error of its own (see `Reply`); "" if it did not."""


class State(NamedTuple):
    """How a proxy is at a moment."""

    in_flight: int
    """Requests that are being served."""
    flows_limit: int
    """How many may be, `limits.flows`."""
    draining: bool
    """Whether the proxy is about to end."""
    rules_current: bool
    """Whether the rules in force are those of the file."""
    rules_read: float
    """When they were read, in seconds since 1970."""
    reloads: Mapping[str, int]
    """How often the rules were read again, by "success" and "failure"."""
    readiness: tuple[float, bool] | None
    """When the registry was last asked for /readyz, in seconds since 1970, and the verdict."""
    client_connections: int
    clients_limit: int
    """How many there may be (see `client_limit`)."""
    held: int
    """Bytes of bodies in memory."""
    held_limit: int
    """How many there may be, `limits.held`."""
    upstream_connections: int
