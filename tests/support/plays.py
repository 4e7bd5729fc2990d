"""What happens around a layer that is driven without sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

End = Literal["open", "close", "reset"]


@dataclass(frozen=True)
class Said:
    """What an upstream says to a request."""

    portions: tuple[bytes, ...]
    end: End = "open"
    early: bool = False
    """Whether it says so when it has seen the head."""
    refuses: bool = False
    """Whether a connection that is made for it fails."""


@dataclass(frozen=True)
class Play:
    """What happens around the layer."""

    client: tuple[bytes, ...]
    said: tuple[Said, ...]
    client_end: End = "open"
    turns: tuple[int, ...] = ()
    """Who moves next: client, upstream, or hooks and connections."""
    late: bool = False
    """Whether hooks and connections wait for their turn."""
    stream: tuple[Any, Any] = (False, False)
    """What hooks set as `stream` of requests and responses."""
    act: tuple[str, str] | None = None
    """A hook, and what it does: "kill", "answer", or "fill" the answer that is there."""
    options: tuple[tuple[str, Any], ...] = ()
    alpn: bytes | None = None
    """The protocol that the client has chosen, if it has."""
    spares: bool = False
    """Whether hooks do what mitmproxy's layer omits on the way from HTTP/2: requests say how their
    bodies are framed, and have no trailers."""
