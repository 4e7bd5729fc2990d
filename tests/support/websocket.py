"""The handshake of a WebSocket (RFC 6455, section 4)."""

from __future__ import annotations

import base64
import hashlib

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(key: str) -> str:
    """What a server answers to a key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
