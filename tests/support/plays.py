"""The script for a layer that is driven without sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

End = Literal["open", "close", "reset"]


@dataclass(frozen=True)
class Said:
    """An upstream's answer to a request."""

    portions: tuple[bytes, ...]
    end: End = "open"
    early: bool = False
    """Whether it answers as soon as it has the head."""
    refuses: bool = False
    """Whether the connection attempt for it fails."""


@dataclass(frozen=True)
class Play:
    """The script for everything around the layer."""

    client: tuple[bytes, ...]
    said: tuple[Said, ...]
    client_end: End = "open"
    turns: tuple[int, ...] = ()
    """The order of moves: 0 client, 1 upstream, 2 hooks and connections."""
    late: bool = False
    """Whether hooks and connections wait for their turn."""
    stream: tuple[Any, Any] = (False, False)
    """Values that hooks set as `stream` of requests and responses."""
    act: tuple[str, str] | None = None
    """A hook and its act: "kill", "answer", or "fill" to replace the content of the answer."""
    options: tuple[tuple[str, Any], ...] = ()
    alpn: bytes | None = None
    """The protocol that the client has negotiated, if any."""
    spares: bool = False
    """Whether hooks make up for mitmproxy's layer on the way from HTTP/2: they add the framing of
    requests and remove trailers."""
