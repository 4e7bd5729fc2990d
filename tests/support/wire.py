"""Reads HTTP/1 messages leniently from all bytes that a proxy has written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Pairs = tuple[tuple[bytes, bytes], ...]
_STATUS = re.compile(rb"HTTP/\d\.\d ([0-9]+)")
_LENGTH = re.compile(rb"[0-9]+")
_CHUNK = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")


@dataclass
class Message:
    """One message, as far as it was received."""

    line: bytes
    fields: Pairs
    body: bytes = b""
    complete: bool = False
    until_end: bool = False
    """Whether only the end of the connection ends the body."""

    @property
    def status(self) -> int:
        """The status of an answer; 0 if it has none."""
        found = _STATUS.match(self.line)
        return int(found[1]) if found else 0

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field."""
        return [value for key, value in self.fields if key.lower() == name]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return data in portions, cut at these places."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(at)]


def read_requests(data: bytes) -> list[Message]:
    """Return requests; the last may be incomplete."""
    return _read(data, lambda _: False, ended=None)


def read_answers(data: bytes, methods: Sequence[bytes], *, ended: bool) -> list[Message]:
    """Return answers, also interim ones; the last may be incomplete.

    Args:
        data: all bytes that were written.
        methods: methods of the requests; any further answers have bodies.
        ended: whether the connection was closed in a way that ends a body.
    """
    asked = list(methods)

    def is_bodiless(message: Message) -> bool:
        if message.status < 200 and message.status != 101:
            return True
        method = asked.pop(0) if asked else b""
        return method == b"HEAD" or message.status in (101, 204, 304)

    return _read(data, is_bodiless, ended=ended)


def _read(
    data: bytes, is_bodiless: Callable[[Message], bool], *, ended: bool | None
) -> list[Message]:
    messages: list[Message] = []
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        fields = (field.partition(b":") for field in lines)
        message = Message(line, tuple((name, value.strip()) for name, _, value in fields))
        messages.append(message)
        if not found:
            break
        data = rest
        if is_bodiless(message):
            message.complete = True
        elif any(b"chunked" in value.lower() for value in message.values(b"transfer-encoding")):
            data = _read_chunks(message, data)
        elif length := message.values(b"content-length"):
            size = int(length[0]) if _LENGTH.fullmatch(length[0]) else 0
            message.body, data = data[:size], data[size:]
            message.complete = len(message.body) == size
        elif ended is None:
            message.complete = True
        else:
            message.body, data = data, b""
            message.complete, message.until_end = ended, True
        if not message.complete:
            break
    return messages


def _read_chunks(message: Message, data: bytes) -> bytes:
    while found := _CHUNK.match(data):
        size, begin = int(found[1], 16), found.end()
        message.body += data[begin : begin + size]
        if len(data) < begin + size + 2:
            return b""
        if data[begin + size : begin + size + 2] != b"\r\n":
            return b""  # Malformed: the message never ends.
        data = data[begin + size + 2 :]
        if not size:
            message.complete = True
            return data
    return b""
