"""What mitmproxy logs by itself, without what its peers have sent.

mitmproxy repeats in its log what it does not understand: a malformed request line or header, data
that a server sent unasked, the bytes of a TLS handshake. Secrets are among such bytes, be it that a
client is broken or that a body was read as a request. The text of an exception may hold them, too.

So of a message of mitmproxy's connections only the beginning is shown that is known to be
mitmproxy's own, and of an exception only where it happened. What a newer mitmproxy says in other
words is left out, not let through.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

CONNECTIONS = "mitmproxy.proxy.server"
"""The logger of all that mitmproxy's protocol layers say."""

CUT = "[...]"
"""Stands for what is left out."""

# A whole line, or the beginning of one. Addresses are those of the connection or of the upstream.
_KNOWN = re.compile(
    "|".join(
        (
            # proxy/server.py
            r"client (?:connect|disconnect|kill connection)",
            r"server (?:connect|disconnect) .*",
            r"error establishing server connection: .*",
            r"server connection to \S+ killed before connect",
            r"Cannot open connection, no hostname given\.",
            r"Closing connection due to inactivity",
            r"(?:connection handler|mitmproxy) has crashed",
            # proxy/layers/http
            r"Streaming (?:request to|response from) .*",
            r"Sent HTTP 101 response, but no protocol is enabled to upgrade to\.",
            r"Unexpected data from server",
            r"Client closed connection before completing request headers",
            r"\S+: (?:Bad HTTP request line|Unknown HTTP version|Invalid headers?(?: line)?)",
            r"\S+: HTTP/2 protocol error",
            r"\S+: Received (?:HTTP/2 data frame, expected headers|unexpected HTTP/2 response)\.",
            r"\S+: Invalid HTTP/2 (?:request|response) headers",
            r"Received HTTP/2 push promise, even though we signalled no support\.",
            r"Ignoring unknown HTTP/2 frame type: \d+",
            r"Swallowing HTTP/2 informational response: .*",
            r"Lowercased",
            # proxy/layers/websocket.py
            r"Ignoring unknown WebSocket extension",
            r"Received WebSocket (?:ping|pong) from (?:client|server)",
            # proxy/layers/tls.py; its reasons begin with words of mitmproxy's own.
            r"Server TLS handshake failed\. .*",
            r"Client TLS handshake failed\. Client and mitmproxy cannot agree on a TLS version .*",
            r"Client TLS handshake failed\. The client (?:does not|may not) trust the proxy's "
            r"certificate",
            r"Client TLS handshake failed\. The client disconnected during the handshake\.",
            r"Client TLS handshake failed\. Cannot parse ClientHello",
            r"TLS Error: .*",
        )
    )
)


def install() -> None:
    """Guard all logging of the process, to its end.

    What a shutdown cuts is reported after the last hook of an addon, so nothing undoes this.
    """
    if not isinstance(original := logging.getLogRecordFactory(), _Guard):
        logging.setLogRecordFactory(_Guard(original))


def shown(message: str) -> str:
    """What is shown of a message of mitmproxy's connections."""
    known = _KNOWN.match(message)
    kept = known[0] if known else "mitmproxy reports something about a connection"
    return kept if kept == message else f"{kept} {CUT}"


def places(error: BaseException) -> str:
    """Where an exception happened, and the exceptions that led to it: all but their texts."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(current).__qualname__}")
        current = current.__cause__ or current.__context__
    return "\nDuring the handling of:\n".join(parts)


class _Guard:
    """Makes the records of all loggers."""

    def __init__(self, original: Callable[..., logging.LogRecord]) -> None:
        self._original = original

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record = self._original(*arguments, **named)
        # The level debug is for developers, who want to see all.
        if record.name == CONNECTIONS and record.levelno > logging.DEBUG:
            record.msg, record.args = shown(record.getMessage()), ()
        if record.exc_info and (error := record.exc_info[1]) is not None:
            message = record.getMessage().replace(str(error) or CUT, CUT)
            record.msg, record.args = f"{message}\n{places(error)}", ()
            record.exc_info = None
        return record
