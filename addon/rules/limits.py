"""The sections `streaming`, `limits` and `drain`: sizes, times and numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .section import Section
from .values import Seconds, Size


class Streaming(Section):
    """Which bodies are held and which pass through."""

    threshold: Size = Field(
        default=2**20, description="Bytes; larger bodies and those of unknown length stream."
    )


class Limits(Section):
    """Limits on requests and answers."""

    api_body: Size = Field(
        default=100 * 2**20, description="Bytes of the request body of an API call."
    )
    artifact_body: Size = Field(
        default=2**40, description="Bytes of the request body of an artifact."
    )
    request_head: Size = Field(default=2**16, description="Bytes of request line and headers.")
    response_head: Size = Field(
        default=2**16, description="Bytes of status line and headers of an upstream."
    )
    head_timeout: Seconds = Field(
        default=60, description="Seconds from the first byte of a request head to its end."
    )
    body_timeout: Seconds = Field(
        default=60, description="Seconds for which a request body may pause."
    )
    send_timeout: Seconds = Field(
        default=60,
        description="Seconds for which a client may take nothing of an answer that waits.",
    )
    client_idle_timeout: Annotated[float, Field(gt=0, le=86400)] = Field(
        default=3900, description="Seconds for which a client's connection may wait for a request."
    )
    held: Size = Field(
        default=128 * 2**20,
        description="Bytes of bodies, unfinished heads and WebSocket messages in memory, of all "
        "requests and answers together.",
    )
    connections: Annotated[int, Field(ge=1)] = Field(
        default=4000,
        description="Clients that are connected at once; at most half of the files that the "
        "process may open.",
    )
    flows: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Requests that are served at once."
    )


class Drain(Section):
    """How the proxy ends after SIGTERM."""

    grace: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=10,
        description="Seconds for which it still serves, while /readyz answers 503; none if nobody "
        "has asked for /readyz in the last five minutes.",
    )
    timeout: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=60, description="Seconds after that for requests in flight."
    )
