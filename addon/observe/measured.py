"""The values for access log and metrics, collected once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..routing.families import Family


class Ended(NamedTuple):
    """A request that has ended."""

    start: float
    """When the request began, in seconds since 1970, as are the next two."""
    head: float | None
    """When the head of the answer was ready; None if the client got none."""
    end: float
    """When the request ended."""
    request_id: str
    """The client's, or a new one."""
    client: str | None
    """IP address."""
    method: str | None = None
    """HTTP method, safe to show."""
    path: str | None = None
    """As received, safe to show."""
    sent_path: str | None = None
    """As it went upstream, safe to show; None if the request did not."""
    rule: str | None = None
    """Name of the rewrite rule."""
    upstream_status: int | None = None
    """The upstream's status."""
    status: int | None = None
    """The status for the client."""
    error_source: str | None = None
    """The source of the error or abort: "proxy", "upstream" or "client"."""
    converted: str = ""
    """The kind of answer that was converted (see `Decision`); "" if none was."""
    probe: bool = False
    """Whether the proxy itself sent the request."""
    bytes_in: int = 0
    """Bytes of the request's body."""
    bytes_out: int = 0
    """Bytes of the response's body, as it was sent."""
    family: Family = "other"
    """The family of the request."""
    why: str = ""
    """Why the proxy answered with its own error (see `Reply`); "" if it did not."""
    mount: str = ""
    """The mount whose own upstream the request is for; "" for that of the command line."""


class State(NamedTuple):
    """The state of a proxy at a moment."""

    in_flight: int
    """Requests that are being served."""
    flows_limit: int
    """The limit, `limits.flows`."""
    draining: bool
    """Whether the proxy is about to stop."""
    rules_current: bool
    """Whether the rules in force are those of the file."""
    rules_read: float
    """When these were read, in seconds since 1970."""
    reloads: Mapping[str, int]
    """How often the rules were read again, by "success" and "failure"."""
    readiness: Mapping[str, tuple[float, bool]]
    """By mount, "" for the upstream of the command line: when the registry was last checked for
    /readyz, in seconds since 1970, and the verdict."""
    client_connections: int
    clients_limit: int
    """The limit (see `client_limit`)."""
    held: int
    """Bytes of bodies in memory."""
    held_limit: int
    """The limit, `limits.held`."""
    upstream_connections: int
