"""Any upstream answer on an API path reaches the client unchanged or as a valid error.

Hypothesis generates the answers; a real mitmdump runs between a real client and a real socket.
`python -m pytest tests/integration/test_any_answer.py --hypothesis-profile long` takes minutes.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import zlib
from dataclasses import dataclass
from typing import Any

import lab
from hypothesis import event, given
from hypothesis import strategies as st
from support.client import Response, request
from support.upstream import Received, Upstream

from addon.protocol import bodies

LABELS = [
    *("text/html", "text/html; charset=utf-8", "TEXT/HTML;charset=latin-1", "text/plain", ""),
    *("application/json", "application/problem+json", "application/xml", "text/html; charset=idna"),
    *("application/x-protobuf", "text/event-stream", "application/grpc", "*/*", "\u00fc", ";;"),
]
WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error_code", "message", "detail", "error", "title"]) | WORDS,
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda content: json.dumps(content).encode()),
    st.builds(
        lambda code, message: json.dumps({"error_code": code, "message": message}).encode(),
        st.sampled_from(["INTERNAL_ERROR", "X"]),
        WORDS,
    ),
    WORDS.map(lambda text: f"<!doctype html><title>{text}</title>".encode("utf-8", "replace")),
    WORDS.map(lambda text: f"<Error><Code>{text}</Code></Error>".encode("utf-8", "replace")),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=9), st.just(70_000)),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Retry-After", "Location", "X-Request-Id", "Set-Cookie", "ETag", "Content-Disposition"]
        ),
        st.sampled_from(["1", "/login?x=1", "/api/2.0/x", "https://idp.example/", "attachment"])
        | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    ),
    max_size=3,
)


@dataclass(frozen=True)
class Sent:
    """A generated answer of the upstream."""

    status: int
    label: str
    encoding: str
    headers: list[tuple[str, str]]
    body: bytes
    framing: str
    cut: int
    """Number of bytes that are missing at the end."""

    def parts(self) -> list[bytes]:
        """The bytes, in the pieces in which they are sent."""
        lines = [f"HTTP/1.1 {self.status} Reason"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.label:
            lines.append(f"Content-Type: {self.label}")
        if self.encoding:
            lines.append(f"Content-Encoding: {self.encoding}")
        body = self.entity()
        half = len(body) // 2
        pieces = [body[:half], body[half:]]
        match self.framing:
            case "length":
                lines.append(f"Content-Length: {len(body)}")
            case "chunked":
                lines.append("Transfer-Encoding: chunked")
                pieces = [b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p] + [b"0\r\n\r\n"]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        whole = b"".join([head, *pieces])
        end = max(0, len(whole) - self.cut)
        at = len(head) + len(pieces[0])
        return [whole[: min(at, end)], whole[at:end]]

    def entity(self) -> bytes:
        """The body after its Content-Encoding is applied."""
        match self.encoding:
            case "gzip":
                return gzip.compress(self.body, mtime=0)
            case "deflate":
                return zlib.compress(self.body)
        return self.body


ANSWERS = st.builds(
    Sent,
    status=st.sampled_from([200, 201, 301, 302, 307, 400, 401, 403, 404, 405, 413, 500, 502, 503])
    | st.integers(200, 599).filter(lambda status: status not in (204, 205, 304)),
    label=st.sampled_from(LABELS),
    encoding=st.sampled_from(["", "", "", "gzip", "deflate", "br", "x"]),
    headers=HEADERS,
    body=BODIES,
    framing=st.sampled_from(["length", "chunked", "close"]),
    cut=st.sampled_from([0, 0, 0, 1, 5, 50]),
)


@given(
    answer=ANSWERS,
    method=st.sampled_from(["GET", "GET", "POST", "PUT", "HEAD"]),
    path=st.sampled_from(
        ["/api/2.0/mlflow/x", "/mlflow/api/2.0/mlflow-artifacts/artifacts/a.pkl", "/graphql"]
    ),
)
def test_any_answer(
    scripted: Upstream, scripted_proxy: lab.Server, answer: Sent, method: str, path: str
) -> None:
    """The client gets the upstream's bytes or a JSON error with the right status, never a hang."""

    def send(_: Received, connection: socket.socket) -> None:
        for part in answer.parts():
            connection.sendall(part)

    scripted.answer = send
    try:
        got = request(scripted_proxy.url, path, method=method, body=b"{}", timeout=20)
    except (http.client.HTTPException, ConnectionError):
        # A stream may break off only if the upstream's did.
        assert answer.cut
        event("broken")
        return
    entity = b"" if method == "HEAD" else answer.entity()
    cut = answer.cut > 0 and method != "HEAD"
    if got.status == answer.status and got.body == entity and not is_error(got, answer):
        event("unchanged")
        return
    if (
        cut
        and answer.framing == "close"
        and entity.startswith(got.body)
        and not is_error(got, answer)
    ):
        event("unchanged as far as a client can tell")
        return
    assert got.headers["Content-Type"] == "application/json"
    if method == "HEAD":
        assert got.body == b""
    else:
        content = json.loads(got.body)
        assert isinstance(content["error_code"], str)
        assert isinstance(content["message"], str)
    if got.headers["Proxy-Status"]:
        assert got.status == 502
        assert answer.cut
        event("broken off")
        return
    event("converted")
    expected = answer.status if answer.status >= 400 else 401
    assert got.status == expected


def decoded(body: bytes, encoding: str) -> bytes:
    """A body with its Content-Encoding removed."""
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
    return body


def is_error(got: Response, answer: Sent) -> bool:
    """Tell whether an answer passed unchanged but should have been converted."""
    if got.status < 400 or bodies.has_own_errors(answer.label) or not got.body:
        return False
    if answer.encoding and bodies.is_json(answer.label):
        return False  # It may be in a coding that this test cannot decode.
    try:
        content: Any = json.loads(decoded(got.body, answer.encoding))
    except (ValueError, OSError, zlib.error):
        return True
    return not (isinstance(content, dict) and isinstance(content.get("error_code"), str))


@given(raw=st.binary(max_size=100) | st.binary(max_size=60).map(lambda b: b"HTTP/1.1 200 " + b))
def test_any_bytes(scripted: Upstream, scripted_proxy: lab.Server, raw: bytes) -> None:
    """Arbitrary bytes from the upstream give an error, not a hang or an empty reply."""

    def send(_: Received, connection: socket.socket) -> None:
        connection.sendall(raw)

    scripted.answer = send
    got = request(scripted_proxy.url, "/api/2.0/mlflow/x", timeout=20)
    if got.status != 200:
        assert isinstance(json.loads(got.body)["error_code"], str)
