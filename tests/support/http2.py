"""Writes HTTP/2 frames as a client, also forbidden ones, and reads those of a server."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from hpack import Decoder

from .wire import Message, Pairs

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WAS_RESET = (b":reset", b"")
"""Added to the fields of an answer whose stream was reset."""


@dataclass(frozen=True)
class Frame:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""

    kind: int
    payload: bytes = b""
    flags: int = 0

    def flagged(self, flag: int) -> Frame:
        """Return the frame with one more flag."""
        return replace(self, flags=self.flags | flag)

    def write(self, stream: int = 0) -> bytes:
        """Return its bytes on a stream; 0 is the connection."""
        size, kind = len(self.payload).to_bytes(3), bytes([self.kind, self.flags])
        return size + kind + stream.to_bytes(4) + self.payload


def block(pairs: Pairs) -> bytes:
    """Encode fields without any compression (RFC 7541, section 6.2.2)."""
    strings = ([bytes([len(part)]) + part for part in pair] for pair in pairs)
    return b"".join(b"\0" + name + value for name, value in strings)


def read_streams(data: bytes) -> dict[int, list[Message]]:
    """Return a client's messages by stream: all heads, also interim ones, with their bodies.

    Args:
        data: whole frames.
    """
    decoder, streams = Decoder(), defaultdict[int, list[Message]](list)
    while data:
        end, kind, flags = 9 + int.from_bytes(data[:3]), data[3], data[4]
        messages, payload = streams[int.from_bytes(data[5:9])], data[9:end]
        data = data[end:]
        if kind == HEADERS:
            (_, status), *fields = decoder.decode(payload, raw=True)
            pairs = tuple((name, value) for name, value in fields)
            messages.append(Message(b"HTTP/2.0 " + status, pairs))
        elif kind == DATA:
            messages[-1].body += payload
        elif kind == RESET:
            messages[:] = messages or [Message(b"", ())]
            messages[-1].fields += (WAS_RESET,)
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            messages[-1].complete = True
    return streams
