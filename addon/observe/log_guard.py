"""mitmproxy's own log messages, without data from its peers.

mitmproxy repeats in its log the bytes that it does not understand: a malformed request line or
header, unexpected data from a server, the bytes of a TLS handshake. Such bytes may hold secrets, if
a client is broken or a body was read as a request. The text of an exception may hold them, too.

So only the beginning of a message about a connection is shown, if it is known to be mitmproxy's
own, and only the place of an exception. Unknown messages of a newer mitmproxy are left out.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

CONNECTIONS = "mitmproxy.proxy.server"
"""The logger of all of mitmproxy's protocol layers."""

CUT = "[...]"
"""Replaces text that is left out."""

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
            # proxy/layers/tls.py; its reasons begin with mitmproxy's own words.
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
    """Guard all logging of the process, until it ends.

    Connections that a shutdown cuts are reported after the last hook, so this is never undone.
    """
    if not isinstance(original := logging.getLogRecordFactory(), _Guard):
        logging.setLogRecordFactory(_Guard(original))


def shown(message: str) -> str:
    """Return the part of a message about a connection that is shown."""
    known = _KNOWN.match(message)
    kept = known[0] if known else "mitmproxy reports something about a connection"
    return kept if kept == message else f"{kept} {CUT}"


def places(error: BaseException) -> str:
    """Return the tracebacks of an exception and of those that led to it, without their texts."""
    parts = []
    for each in _chain(error):
        frames = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(each).__qualname__}")
    return "\nDuring the handling of:\n".join(parts)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and those that led to it, the last one first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    # An exception may be its own cause.
    while current is not None and not any(current is known for known in chain):
        chain.append(current)
        cause = current.__cause__
        current = current.__context__ if cause is None else cause
    return chain


def _without_texts(message: str, error: BaseException) -> str:
    """Return a message without the texts of the exceptions, as they are or escaped."""
    texts = set()
    for each in _chain(error):
        for text in (str(each), *(arg for arg in each.args if isinstance(arg, str))):
            texts |= {text, repr(text)[1:-1]}
    for text in sorted(texts - {""}, key=len, reverse=True):
        message = message.replace(text, CUT)
    return message


class _Guard:
    """Makes the records of all loggers. It never raises, because that would reach the caller."""

    def __init__(self, original: Callable[..., logging.LogRecord]) -> None:
        self._original = original

    def __call__(
        self, name: str, level: int, path: str, line: int, /, *rest: Any, **named: Any
    ) -> logging.LogRecord:
        try:
            record = self._original(name, level, path, line, *rest, **named)
            _guard(record)
        except Exception as error:
            # A __str__ that fails, or values that do not fit the format: the message is not shown.
            message = f"a line that cannot be shown ({path}:{line}: {type(error).__qualname__})"
            record = self._original(name, level, path, line, message, (), None)
        return record


def _guard(record: logging.LogRecord) -> None:
    # Formatted here, so that errors in formatting do not happen in the handlers.
    record.msg, record.args = record.getMessage(), ()
    # The level debug is for developers, who want to see everything.
    if record.name == CONNECTIONS and record.levelno > logging.DEBUG:
        record.msg = shown(record.msg)
    if record.exc_info:
        _, error, _ = record.exc_info
        record.exc_info = None
        if error is not None:
            record.msg = f"{_without_texts(record.msg, error)}\n{places(error)}"
