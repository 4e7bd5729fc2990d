"""A scripted upstream: a real server on a socket that answers with given bytes.

It records each request as it came over the wire, so that a test can compare bytes.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Self

_CHUNK = re.compile(rb"[0-9a-f]+\r\n")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Received:
    """One request as bytes."""

    head: bytes
    body: bytes

    @property
    def target(self) -> str:
        """The request target."""
        return self.head.split(b" ")[1].decode("utf-8", "surrogateescape")

    def header(self, name: str) -> list[str]:
        """All values of a header, in their order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        return [value.strip() for key, value in pairs if key.lower() == name.lower()]


def held_until(release: threading.Event) -> Callable[[Received, socket.socket], None]:
    """Return an answer for `Upstream` that is sent once a test sets the event."""

    def wait(_: Received, connection: socket.socket) -> None:
        release.wait(20)
        connection.sendall(OK)

    return wait


def response(status: str, body: bytes, *headers: tuple[str, str], framing: str = "length") -> bytes:
    """Return the bytes of an answer.

    Args:
        status: code and reason.
        body: the body before framing.
        headers: headers besides those for framing.
        framing: "length", "chunked", "bytes" (a chunk for each of the first bytes), or "close".
    """
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    match framing:
        case "length":
            lines.append(f"Content-Length: {len(body)}")
        case "close":
            lines.append("Connection: close")
        case _:
            lines.append("Transfer-Encoding: chunked")
            cuts = range(1, 12) if framing == "bytes" else range(0)
            parts = [body[a:b] for a, b in zip((0, *cuts), (*cuts, len(body)), strict=True)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
            body += b"0\r\n\r\n"
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


Answer = bytes | Callable[[Received, socket.socket], bool | None]
"""Bytes to send, or a function that sends them and returns whether the connection stays open."""


def silent(_: Received, connection: socket.socket) -> None:
    """Never answer: wait until the other side gives up."""
    connection.recv(1)


class Upstream:
    """Listens on a loopback port, a free one by default, while it is used as a context manager."""

    def __init__(self, answer: Answer = OK, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self.requests: list[Received] = []
        """The complete requests."""
        self.begun = 0
        """How many heads have arrived."""
        self.cut: list[bytes] = []
        """Heads of requests whose bodies stayed incomplete."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                stream = connection.makefile("rb")
                while head := _read_head(stream):
                    self.begun += 1
                    if (body := _read_body(stream, Received(head, b""))) is None:
                        self.cut.append(head)
                        return
                    request = Received(head, body)
                    self.requests.append(request)
                    if not callable(self.answer):
                        connection.sendall(self.answer)
                    elif not self.answer(request, connection):
                        return
            except OSError:
                return  # The proxy closed the connection; tests look at the client's side.


def _read_head(stream: BinaryIO) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (line := stream.readline()):
            return b""
        head += line
    return head


def _read_body(stream: BinaryIO, received: Received) -> bytes | None:
    """Return a complete body; None if it is cut or its chunks are malformed."""
    body = b""
    if received.header("transfer-encoding"):
        while _CHUNK.fullmatch(line := stream.readline()):
            body += (data := stream.read(size := int(line, 16)))
            if len(data) < size or stream.readline() != b"\r\n":
                return None
            if size == 0:
                return body
        return None
    length = int((received.header("content-length") or ["0"])[0])
    body = stream.read(length)
    return body if len(body) == length else None
