"""Error bodies that an MLflow client understands.

The client reads `error_code` and `message` from a JSON body and prints anything else as it came
(`verify_rest_response` in mlflow/utils/rest_utils.py), which for HTML means a page in a terminal.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any

BODY_LIMIT = 64 * 1024
"""Bytes of an error body that are kept to find its title; the rest is read and dropped."""

DECODED_LIMIT = 16 * BODY_LIMIT
"""Bytes to which a compressed error body may grow while we look at it."""

MESSAGE_LIMIT = 300
"""Characters of an upstream's own words that go into a message."""

# What describes a body that is no longer there (RFC 9110, section 8; RFC 9530).
ENTITY_HEADERS = (
    "accept-ranges",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
    "trailer",
    "transfer-encoding",
)

_JSON = re.compile(r"application/(?:[^;\s]+\+)?json\s*(?:;|$)", re.IGNORECASE)
# Formats with errors of their own, which their clients read: OTLP, gRPC, server-sent events.
_NOT_OURS = re.compile(r"application/(?:x-protobuf|protobuf|grpc)|text/event-stream", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: status, headers, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def json_reply(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer with a JSON body that no cache keeps."""
    body = json.dumps(content).encode("ascii")
    fixed = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    return Reply(status, tuple((fixed | dict(headers or {})).items()), body)


def proxy_reply(status: int, code: str, message: str) -> Reply:
    """An error of the proxy's own making; `source` tells it from one of the upstream's."""
    return json_reply(status, {"error_code": code, "message": message, "source": "proxy"})


def may_need_conversion(status: int, content_type: str) -> bool:
    """Tell from the head of a response on an API path whether its body has to be looked at."""
    return status >= 400 and not _NOT_OURS.match(content_type)


def is_json(content_type: str) -> bool:
    """Tell whether a Content-Type is JSON or a format built on it (RFC 6839)."""
    return _JSON.match(content_type) is not None


def convert(
    *, status: int, code: str, path: str, content_type: str, encoding: str, body: bytes, whole: bool
) -> bytes | None:
    """Turn the body of an error into MLflow's JSON.

    Args:
        status: HTTP status, >= 400.
        code: the error_code for it.
        path: the path as the client sent it, without the query.
        content_type: the Content-Type header, "" if there is none.
        encoding: the Content-Encoding header, "" if there is none.
        body: the first `BODY_LIMIT` bytes of the body as they came.
        whole: whether that is all of it.

    Returns:
        The new body, or None where the body is JSON already and passes as it is.
    """
    plain = _decoded(body, encoding)
    if whole and plain is None and is_json(content_type):
        return None  # Compressed in a way we do not read; its label says JSON.
    if whole and plain is not None and _is_json_document(plain):
        return None
    message = _message(status, path, _own_words(plain or b"", content_type))
    return json.dumps({"error_code": code, "message": message}).encode("ascii")


def _message(status: int, path: str, words: str) -> str:
    if status == 404:
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return f"The requested resource was not found: {_CONTROL.sub('?', shown)}"
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown status"
    if not words:
        return f"The server answered {status} ({phrase}) without a message."
    return f"The server answered {status} ({phrase}): {words}"


def _decoded(body: bytes, encoding: str) -> bytes | None:
    """Undo gzip and deflate as far as the bytes go; None for what we cannot read."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            for wbits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
                try:
                    return zlib.decompressobj(wbits).decompress(body, DECODED_LIMIT)
                except zlib.error:
                    continue
    return None


def _is_json_document(body: bytes) -> bool:
    if body.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _own_words(body: bytes, content_type: str) -> str:
    """The title of a page, else its first words: what the upstream wanted to say."""
    match = _CHARSET.search(content_type)
    try:
        text = body.decode(match[1] if match else "utf-8", "replace")
    except (LookupError, UnicodeError):  # No such charset, or none that can replace (idna).
        text = body.decode("utf-8", "replace")
    if "<" in text:
        page = _Page()
        with contextlib.suppress(AssertionError):
            # html.parser gives up on marked sections that it does not know; what it has read by
            # then has to do.
            page.feed(text)
            page.close()
        text = page.title or page.text
    text = " ".join(_CONTROL.sub(" ", text).split())
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


class _Page(HTMLParser):
    """Collects the title and the visible text of an HTML or XML document."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.text = ""
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("title", "script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
        elif self._inside is None and len(self.text) <= MESSAGE_LIMIT:
            self.text += f" {data}"


# mitmproxy reports what went wrong with a connection as text, with addresses and bytes of the
# peer in it. Clients get one of these sentences, which carry neither.
_PROBLEMS = (
    (r"name or service|name resolution|getaddrinfo|nodename|no address", "its name is unknown"),
    (r"certificate", "its TLS certificate was not accepted"),
    (r"tls|ssl|handshake", "the TLS handshake failed"),
    (r"timed? ?out|timeout|errno 110", "it did not answer in time"),
    (r"unreachable|no route|errno 11[23]|errno 101", "there is no route to it"),
    (r"refused|connect call failed", "it refused the connection"),
    (r"closed|reset|broken pipe|eof|terminated", "it closed the connection without an answer"),
    (r"parse|unexpected|protocol error|received|smuggling", "its answer was not valid HTTP"),
)


def connection_problem(message: str) -> str:
    """Say in plain words, without addresses and bytes, why an upstream could not be used.

    Args:
        message: mitmproxy's message for the failed connection.
    """
    for pattern, sentence in _PROBLEMS:
        if re.search(pattern, message, re.IGNORECASE):
            return sentence
    return "the connection failed"


def own_reply(status: int, code: str, message: str) -> Reply:
    """The answer for an error that mitmproxy reports by itself.

    Args:
        status: the HTTP status it would answer with.
        code: the error_code for it.
        message: its own words, which are not passed on.
    """
    match status:
        case 413:
            text = "The request body is larger than this proxy accepts."
        case _ if status < 500:
            text = "The request is not valid HTTP."
        case _:
            text = f"The registry behind this proxy cannot be used: {connection_problem(message)}."
    return proxy_reply(status, code, text)
