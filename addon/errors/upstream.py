"""Errors of the upstream, as bodies that an MLflow client understands.

The client reads `error_code` and `message` from a JSON object and prints anything else as it came
(`verify_rest_response` in mlflow/utils/rest_utils.py), which for HTML means a page in a terminal.
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
    "repr-digest",
    "trailer",
    "transfer-encoding",
)

# What lets a cache keep an answer, ask again for it, or tells of one that was kept (RFC 9111,
# section 5; RFC 9110, section 8.8), also in the words of some caches alone (RFC 9213, and before).
# Vary and Set-Cookie stay: no cache keeps anything for them, and a client may need its cookie.
_CACHE_HEADERS = frozenset(
    (
        *("age", "edge-control", "etag", "expires", "last-modified", "pragma"),
        *("surrogate-control", "warning", "x-accel-expires"),
    )
)

CHALLENGE = 'Bearer realm="mlflow"'
"""WWW-Authenticate of a 401 without one (RFC 9110, section 15.5.2). No browser opens a dialog."""

# Under which names servers, clouds and CDNs give their request ids.
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
    """What of a request matters for the wording of its error."""

    method: str
    received: str
    """The path as the client sent it, as it may be shown (see `target.shown`)."""
    paths: Sequence[str]
    """The paths (decoded, below the mount) that it had here and upstream."""
    file: bool = False
    """Whether it is for a file, not for a route of the API."""
    hint: str = ""
    """Why a route may be missing, in a sentence; "" if there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What of an upstream's answer matters."""

    status: int
    content_type: str
    """The Content-Type header, "" if there is none."""
    encoding: str
    """The Content-Encoding header, "" if there is none."""
    body: bytes
    """At least the first `bodies.HELD_LIMIT` bytes, as they came."""
    whole: bool
    """Whether that is all of it."""
    request_id: str = ""
    """The id that the upstream gave the request, if any."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What the client gets in place of an upstream's error."""

    status: int
    body: bytes | None
    """None leaves the upstream's body as it is."""


def concerns_caches(name: str) -> bool:
    """Tell whether a header (in lower case) is for caches, such as CDN-Cache-Control."""
    return name in _CACHE_HEADERS or name.endswith("cache-control")


def may_need_conversion(status: int, content_type: str) -> bool:
    """Tell from the head of a response on an API path whether its body has to be looked at."""
    return status >= 400 and not bodies.has_own_errors(content_type)


def upstream_request_id(headers: Mapping[str, str]) -> str:
    """The request id among the headers of an answer, "" if there is none.

    Args:
        headers: looked up by lower-case names; a name's case must not matter to it.
    """
    return next((value for name in _REQUEST_IDS if (value := headers.get(name))), "")


def is_long_native(answer: Answer) -> bool:
    """Tell from its beginning whether a long body is MLflow's own JSON, which passes as it is."""
    decoded = bodies.decode(answer.body, answer.encoding)
    if decoded is None:
        return bodies.is_json(answer.content_type)
    return _begins_native(decoded.content)


def convert(asked: Asked, answer: Answer, rules: Errors) -> Converted | None:
    """Turn the error of an upstream into MLflow's.

    Returns:
        What to send, or None where the answer is MLflow's JSON already and passes as it is.
    """
    decoded = bodies.decode(answer.body, answer.encoding)
    if decoded is None and bodies.is_json(answer.content_type):
        return None  # Compressed in a way we do not read; its label says JSON.
    plain = decoded.content if decoded else b""
    long = not answer.whole or len(plain) >= bodies.DECODED_LIMIT
    if long and _begins_native(plain):
        return None
    whole = answer.whole and decoded is not None and decoded.whole
    document = bodies.document(plain, answer.content_type) if whole else None
    native = document is not None and document.plain and _is_native(document.content)
    words = (
        bodies.json_words(document.content)
        if document is not None
        else bodies.words(plain, answer.content_type)
    )
    override = rules.override(
        method=asked.method,
        paths=asked.paths,
        status=answer.status,
        words=words,
        foreign=not native,
    )
    if native and override is None:
        return None
    status = (override and override.status) or answer.status
    code, lead = (override.error_code, override.message or "") if override else (None, "")
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
    """Tell whether a JSON document is an error of MLflow's (`RestException` in its client)."""
    if not isinstance(content, dict):
        return False
    code = content.get("error_code")
    return isinstance(code, str) and code != ""


def _merged(content: Any, *, code: str, recode: bool, message: str, reword: bool) -> bytes:
    """Add what is missing to a JSON document; what has to give way is kept under `upstream`.

    Args:
        content: the document, {} if there is none.
        code: the error_code, put in where there is none.
        recode: whether it takes the place of another one, too.
        message: the message, put in where there is none.
        reword: whether it takes the place of another one, too.
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
    """Tell whether a 404 says no more than that it is one, as the pages of most servers do."""
    return not set(re.findall(r"[^\W\d_]+", words.lower())) - {
        "error",
        "http",
        "page",
        "not",
        "found",
    }
