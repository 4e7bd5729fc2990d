"""Converts errors of the upstream to bodies that an MLflow client understands.

The client reads `error_code` and `message` from a JSON object and prints any other body unchanged
(`verify_rest_response` in mlflow/utils/rest_utils.py), so a user would see HTML in a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ..protocol import bodies
from ..rules.model import Errors
from .words import json_words, page_words

# Headers of a body, dropped with it (RFC 9110, section 8; RFC 9530).
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
    "repr-digest",
    "trailer",
    "transfer-encoding",
)

# Headers that let a cache store or revalidate an answer, or that describe a stored one (RFC 9111,
# section 5; RFC 9110, section 8.8), with those of single caches (RFC 9213, and older ones). Vary
# and Set-Cookie stay: they make no cache store anything, and a client may need its cookie.
_CACHE_HEADERS = frozenset(
    (
        *("age", "edge-control", "etag", "expires", "last-modified", "pragma"),
        *("surrogate-control", "warning", "x-accel-expires"),
    )
)

ADDED_REFUSED = (
    "The registry refused the credentials that this proxy adds. The operator of the proxy has to "
    "renew them (upstream.credentials in its rules)."
)
"""In place of advice for the client, which has none to check."""

CHALLENGE = 'Bearer realm="mlflow"'
"""WWW-Authenticate for a 401 without one (RFC 9110, section 15.5.2). Browsers open no dialog."""

# The headers in which servers, clouds and CDNs send their request ids.
_REQUEST_IDS = (
    "x-upstream-request-id",
    "request-id",
    "x-correlation-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-request-id",
    "apigw-requestid",
    "x-guploader-uploadid",
    "x-amz-cf-id",
    "cf-ray",
    "x-vercel-id",
    "x-trace-id",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request that its error message needs."""

    method: str
    received: str
    """The path as the client sent it, safe to show (see `target.shown`)."""
    paths: Sequence[str]
    """The paths (decoded, below the mount) of the request here and upstream."""
    file: bool = False
    """Whether the request is for a file, not for a route of the API."""
    hint: str = ""
    """Why a route may be missing, in a sentence; "" if there is no hint."""
    added: bool = False
    """Whether the proxy added its own credentials."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The parts of an upstream's answer that matter here."""

    status: int
    content_type: str
    """The Content-Type header, "" if there is none."""
    encoding: str
    """The Content-Encoding header, "" if there is none."""
    body: bytes
    """At least the first `bodies.HELD_LIMIT` bytes, as received."""
    whole: bool
    """Whether that is the whole body."""
    request_id: str = ""
    """The id that the upstream gave the request, if any."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The answer for the client in place of an upstream's error."""

    status: int
    body: bytes | None
    """None keeps the upstream's body."""


def concerns_caches(name: str) -> bool:
    """Return whether a header (in lower case) is for caches, such as CDN-Cache-Control."""
    return name in _CACHE_HEADERS or name.endswith("cache-control")


def may_need_conversion(status: int, content_type: str) -> bool:
    """Return whether the body of a response on an API path may need conversion, from its head."""
    return status >= 400 and not bodies.has_own_errors(content_type)


def upstream_request_id(headers: Mapping[str, str]) -> str:
    """Return the request id in the headers of an answer, "" if there is none.

    Args:
        headers: a mapping that ignores the case of names.
    """
    return next((value for name in _REQUEST_IDS if (value := headers.get(name))), "")


def is_long_native(answer: Answer) -> bool:
    """Return whether a long body begins like MLflow's own JSON, which passes unchanged."""
    decoded = bodies.decode(answer.body, answer.encoding)
    if decoded is None:
        return bodies.is_json(answer.content_type)
    return _begins_native(decoded.content)


def convert(asked: Asked, answer: Answer, rules: Errors) -> Converted | None:
    """Convert the error of an upstream to MLflow's.

    Returns:
        The answer for the client; None if it is MLflow's JSON already and passes unchanged.
    """
    decoded = bodies.decode(answer.body, answer.encoding)
    if decoded is None and bodies.is_json(answer.content_type):
        return None  # Compressed in a way that we cannot read; its Content-Type is JSON.
    plain = decoded.content if decoded else b""
    long = not answer.whole or len(plain) >= bodies.DECODED_LIMIT
    if long and _begins_native(plain):
        return None
    whole = answer.whole and decoded is not None and decoded.whole
    document = bodies.document(plain, answer.content_type) if whole else None
    native = document is not None and document.plain and _is_native(document.content)
    words = (
        json_words(document.content)
        if document is not None
        else page_words(plain, answer.content_type)
    )
    override = rules.override(
        method=asked.method,
        paths=asked.paths,
        status=answer.status,
        words=words,
        foreign=not native,
    )
    code, lead = (override.error_code, override.message or "") if override else (None, "")
    if asked.added and answer.status == 401:
        lead = lead or ADDED_REFUSED
    if native and override is None and not lead:
        return None
    status = (override and override.status) or answer.status
    if native and code is None and not lead:
        return Converted(status, None)
    body = _merged(
        {} if document is None else document.content,
        code=code or rules.code(status, file=asked.file),
        recode=code is not None,
        message=_message(asked, answer, words, lead),
        reword=lead != "",
    )
    return Converted(status, body)


def _begins_native(plain: bytes) -> bool:
    return re.match(rb'\s*\{.*"error_code"\s*:\s*"', plain, re.DOTALL) is not None


def _is_native(content: Any) -> bool:
    """Return whether a JSON document is an MLflow error (`RestException` in its client)."""
    code = content.get("error_code") if isinstance(content, dict) else None
    return isinstance(code, str) and code != ""


def _merged(content: Any, *, code: str, recode: bool, message: str, reword: bool) -> bytes:
    """Add the missing fields to a JSON document; replaced ones are kept under `upstream`.

    Args:
        content: the document, {} if there is none.
        code: the error_code, added if there is none.
        recode: whether it also replaces an existing one.
        message: the message, added if there is none.
        reword: whether it also replaces an existing one.
    """
    merged = dict(content) if isinstance(content, dict) else {}
    displaced: Any = {} if isinstance(content, dict) else content
    for key, value, replace in (("error_code", code, recode), ("message", message, reword)):
        present = merged.get(key)
        if isinstance(present, str) and present and not replace:
            continue
        if key in merged:
            displaced[key] = present
        merged[key] = value
    if displaced != {}:
        name = "upstream"
        while name in merged:
            name += "_"
        merged[name] = displaced
    return json.dumps(merged).encode("ascii")


def _message(asked: Asked, answer: Answer, words: str, lead: str) -> str:
    status = answer.status
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown status"
    said = f"The server answered {status} ({phrase})"
    said = f"{said}: {words}" if words else f"{said} without a message."
    if status == 404:
        missing = f"The requested resource was not found: {bodies.printable(asked.received)}"
        said = missing if _is_commonplace(words) else f"{missing}. {said}"
    if status in (404, 405) and asked.hint and not asked.file:
        said = f"{said.rstrip('.')}. {asked.hint}"
    if lead:
        said = f"{lead.rstrip('.')}. {said}"
    if answer.request_id:
        said += f" (request id {bodies.capped(answer.request_id, 128)})"
    return said


def _is_commonplace(words: str) -> bool:
    """Return whether a 404 only says that it is one, as the pages of most servers do."""
    return not set(re.findall(r"[^\W\d_]+", words.lower())) - {
        "error",
        "http",
        "page",
        "not",
        "found",
    }
