"""The interface between an exchange and the registry's side."""

from __future__ import annotations

from typing import Any, Protocol

from mitmproxy import http
from mitmproxy.connection import Server


class Back(Protocol):
    """A connection to a registry, for one exchange at a time; `answering` takes its answers."""

    conn: Server
    """mitmproxy's record of it."""
    heard: bool
    """Whether any bytes of the answer have arrived."""

    def begin(self, exchange: Any, request: http.Request, content: bytes, *, whole: bool) -> None:
        """Send the head of a request.

        Args:
            exchange: takes the answer.
            request: the request.
            content: its body, if `whole`.
            whole: whether no parts of the body follow.
        """

    def send(self, data: bytes) -> None:
        """Send a part of a body."""

    def write(self, data: bytes) -> None:
        """Write bytes that are framed already."""

    def finish(self) -> None:
        """End the request's body."""

    def release(self, exchange: Any) -> None:
        """End the exchange; keep the connection if it can be reused."""

    def close(self) -> None:
        """Close the connection, even in the middle of a message."""

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last answer."""
