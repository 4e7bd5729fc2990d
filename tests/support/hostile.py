"""Request targets that try to reach an artifact operation under another name."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .client import connect

ENDPOINTS = [
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/a"),
    ("PUT", "/ajax-api/2.0/mlflow-artifacts/artifacts/a"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/none"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/a"),
    ("POST", "/ajax-api/2.0/mlflow-artifacts/mpu/complete/a"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/abort/a"),
    ("GET", "/api/2.0/mlflow-artifacts/presigned/a"),
    ("GET", "/get-artifact"),
    ("GET", "/model-versions/get-artifact"),
    ("GET", "/ajax-api/2.0/mlflow/get-trace-artifact"),
    ("GET", "/ajax-api/3.0/mlflow/get-trace-artifact"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files"),
    ("GET", "/api/2.0/mlflow/logged-models/m-1/artifacts/directories"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
    ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-download-url"),
    ("GET", "/api/2.0/mlflow/artifacts/list"),
    ("POST", "/graphql"),
]
"""All kinds of artifact operations of MLflow 3: method and path."""

ARTIFACT_ROUTE = re.compile("artifact|presigned|mpu|promptlab|graphql")
"""Matches the routes of artifact operations, and no others."""

_SLASHES = ["%2F", "%2f", "%252F", "%5C", "\\", "%c0%af", "%ef%bc%8f", "%u002f", "%2F/", "//"]
_DOTS = ["/.", "/x/..", "/%2e", "/x/%2e%2e", "/x/.%2e", "/..", "/x/%252e%252e", "/./."]
_CONTROLS = [
    *("%00", "%0a", "%0d", "%09", "%20", "%7f", "%0d%0a", "%1f", "%0b", "%0c", "%85"),
    *("%c2%85", "%e2%80%a8", "%c2%a0", "\udcff", "%ff", "%c3%28"),
]
_ENDS = [
    *("/", "//", "/.", "%2F", "#", "#x", ";", ".", "%20", "%23", "%3f", "%0a", "%00", "?", "?x"),
    *("/%0a", "\\", "%5c", "/..", "/../artifacts", "?path=a", "?a=%2F..", "?x#y", ";.css"),
]
_BEGINS = [
    *("/x/..", "/static-files/..", "/.", "/%2e", "/health/..", "/mlflow", "/api/mlflow", "/"),
    *("/mlflow/..", "//", "/%2F", "/version/../", "http://127.0.0.1", "HTTP://x", "//x.example"),
    *("http://x.example:80", "/mlflow/", "/%6dlflow", "/team-a", "/a/b", "/team-a//", "/api"),
]
_CLIMBS = [
    *("/..", "/%2e%2e", "/.%2e", "/%252e%252e", "/x/../..", "/..;", "/..;x", "/x/%2e%2e/.."),
    *("/./..", "//..", "/%2F..", "/..%2F", "/..%5C", "\\..", "/../..", "/static-files/../.."),
]


Endpoints = Sequence[tuple[str, str]]


def targets(
    seed: int, count: int, prefix: str = "", endpoints: Endpoints = ENDPOINTS
) -> Iterator[tuple[str, str]]:
    """Yield methods and request targets; the same for the same seed.

    Args:
        seed: seed of the random numbers.
        count: how many targets.
        prefix: path in front of the endpoints.
        endpoints: methods and paths of the operations.
    """
    dice = random.Random(seed)
    for _ in range(count):
        method, path = dice.choice(endpoints)
        path = prefix + path
        for _ in range(dice.choice([1, 1, 2, 2, 3, 4])):
            path = dice.choice(_MUTATIONS)(path, dice)
        yield method, path


def climbing(seed: int, count: int, folder: str) -> Iterator[tuple[str, str]]:
    """Yield the same targets behind a path that leaves a folder and enters it again.

    Args:
        seed: seed of the random numbers.
        count: how many targets.
        folder: the last segment of a base path.
    """
    dice = random.Random(seed)
    for method, path in targets(seed, count):
        way = dice.choice(_CLIMBS)
        yield method, f"{way}{dice.choice(['/', '%2F', '//', ''])}{folder}{path}"


def _encoded(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def _at(path: str, dice: random.Random, put: Callable[[str], str]) -> str:
    i = dice.randrange(len(path))
    return path[:i] + put(path[i]) + path[i + 1 :]


def _slash(path: str, dice: random.Random, put: str) -> str:
    i = dice.choice([i for i, char in enumerate(path) if char == "/"] or [0])
    return path[:i] + put + path[i + 1 :]


_MUTATIONS: list[Callable[[str, random.Random], str]] = [
    lambda path, dice: _at(path, dice, _encoded),
    lambda path, dice: _at(path, dice, lambda char: _encoded(char).lower()),
    lambda path, dice: _at(path, dice, lambda char: _encoded(char).replace("%", "%25")),
    lambda path, dice: _at(path, dice, str.swapcase),
    lambda path, dice: _at(path, dice, lambda char: dice.choice(_CONTROLS) + char),
    lambda path, dice: _slash(path, dice, dice.choice(_SLASHES)),
    lambda path, dice: _slash(path, dice, dice.choice(_DOTS) + "/"),
    lambda path, dice: _slash(path, dice, dice.choice([";x=y", ";", "%3B", "%3bx"]) + "/"),
    lambda path, dice: path + dice.choice(_ENDS),
    lambda path, dice: dice.choice(_BEGINS) + path,
    lambda path, dice: "".join(
        _encoded(char) if char != "/" and dice.random() < 0.5 else char for char in path
    ),
]


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A keep-alive connection that sends targets unchanged."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stream: Any = None

    def send(self, method: str, target: str, extra: str = "") -> Answer:
        """Send a request with a small JSON body; status 0 means no answer at all."""
        for _ in range(2):  # The other side may close a connection that was kept alive.
            try:
                return self._send(method, target, extra)
            except (OSError, ValueError, IndexError):
                self._stream = None
        return Answer(0, {}, b"")

    def _send(self, method: str, target: str, extra: str) -> Answer:
        if self._stream is None:
            self._stream = connect(self.url, timeout=20).makefile("rwb")
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n"
            f"{extra}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        self._stream.write(head.encode("utf-8", "surrogateescape"))
        self._stream.flush()
        status = int(self._stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self._stream.readline(), 16):
                body += self._stream.read(size)
                self._stream.readline()
            self._stream.readline()
        else:
            body = self._stream.read(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self._stream = None
        return Answer(status, headers, body)


_H2C = ["h2c", "H2C", "H2c", "h2C"]
_VALUES = [
    *(
        f"{a}{token}{b}"
        for token in _H2C
        for a in ("", " ", "\t", ",", ", ")
        for b in ("", " ", ",")
    ),
    *("h2c, websocket", "websocket, h2c", "websocket,h2c", "WebSocket, H2C", "h2c/1", "h2c;q=1"),
    *("foo, h2c", "h2c, foo", "h2c, h2c", '"h2c"', "h2c\xa0", "xh2c", "h2cx", "h2c-14"),
]


def upgrades() -> Iterator[tuple[str, list[str]]]:
    """Yield requests to upgrade to HTTP/2 without TLS: method and version, and header lines."""
    connections = ["Upgrade, HTTP2-Settings", "upgrade", "UPGRADE,http2-settings", "close, Upgrade"]
    connections += ["keep-alive, Upgrade", "te, upgrade"]
    websocket = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    for i, value in enumerate(_VALUES):
        connection = f"Connection: {connections[i % len(connections)]}"
        fields = [connection, f"Upgrade: {value}", "HTTP2-Settings: AAAA"]
        yield "GET HTTP/1.1", fields
        yield "GET HTTP/1.1", [*fields, *websocket]
        yield "GET HTTP/1.1", [connection, "Upgrade: websocket", f"upgrade: {value}", *websocket]
        yield "GET HTTP/1.1", [connection, f"upGRADE: {value}", "UPGRADE: websocket"]
        for line in ("GET HTTP/1.0", "OPTIONS HTTP/1.1", "get HTTP/1.1", "CONNECT HTTP/1.1"):
            if i % 7 == 0:
                yield line, fields
    yield "GET HTTP/1.1", ["Upgrade: h2c"]
    yield "GET HTTP/1.1", ["Upgrade: h2c", "Connection: Upgrade", "Connection: HTTP2-Settings"]
    yield "GET HTTP/1.1", ["Upgrade: websocket", "Connection: Upgrade", "Connection: h2c", "X: h2c"]


def asking(target: str, fields: list[str], line: str) -> str:
    """Return the head of such a request."""
    method, version = line.split()
    return "\r\n".join([f"{method} {target} {version}", "Host: x", *fields, "", ""])
