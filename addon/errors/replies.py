"""The proxy's own answers.

The client reads `error_code` and `message` from a JSON body and prints any other body unchanged
(`verify_rest_response` in mlflow/utils/rest_utils.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from ..protocol.request_ids import REQUEST_ID

_ASCII = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: status, headers, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    why: str = ""
    """For the proxy's own error: a `Refusal`, or the type of a `Problem` with an upstream."""


Refusal = Literal[
    "ambiguous_target",
    "artifacts_disabled",
    "body_timeout",
    "body_too_large",
    "foreign_host",
    "foreign_origin",
    "head_timeout",
    "head_too_large",
    "internal_error",
    "malformed",
    "not_mounted",
    "operation_refused",
    "too_many_connections",
    "too_many_requests",
    "too_much_held",
]
"""Why a request is not passed on."""

_BUSY = frozenset[str](
    {"connection_limit_reached", "too_many_connections", "too_many_requests", "too_much_held"}
)
"""Reasons for which the same request may pass a little later."""

RETRY_AFTER = "30"
"""Seconds. MLflow's client repeats a 503 seven times: about as long as without this header."""


def json_reply(
    status: int, content: Any, headers: Mapping[str, str] | None = None, *, why: str = ""
) -> Reply:
    """Return an answer with a JSON body, not to be cached."""
    body = json.dumps(content).encode("ascii")
    fixed = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    return Reply(status, tuple((fixed | dict(headers or {})).items()), body, why)


def redirect(location: str, request_id: str) -> Reply:
    """Return a redirect that keeps the method (RFC 9110, section 15.4.9), not to be cached.

    Args:
        location: a URL or a relative reference; characters that are not ASCII become escapes.
        request_id: also in the access log.
    """
    headers = {
        "Location": quote(location, safe=_ASCII, errors="surrogateescape"),
        "Content-Length": "0",
        "Cache-Control": "no-store",
        REQUEST_ID: request_id,
    }
    return Reply(308, tuple(headers.items()), b"")


def own_error(
    status: int, code: str, message: str, kind: str, request_id: str, why: str = ""
) -> Reply:
    """Return the proxy's own error; `source` distinguishes it from an upstream's.

    Args:
        status: HTTP status.
        code: the error_code for it.
        message: a sentence for the person who reads it.
        kind: the error type (see `Problem`).
        request_id: also in the log.
        why: as in `Reply`; by default the error type.
    """
    content = {
        "error_code": code,
        "message": f"{message} (request id {request_id})",
        "source": "proxy",
        "request_id": request_id,
    }
    why = why or kind
    headers = own_headers(kind, request_id)
    if why in _BUSY:
        headers["Retry-After"] = RETRY_AFTER
    elif why == "operation_refused" and status == 503:
        headers["Retry-After"] = "1"
    return json_reply(status, content, headers, why=why)


def own_headers(kind: str, request_id: str) -> dict[str, str]:
    """Return the headers of the proxy's own errors: the source (RFC 9209) and the request id."""
    return {"Proxy-Status": f"mlflow-proxy; error={kind}", REQUEST_ID: request_id}


TIMEOUTS = frozenset(
    {
        "connection_timeout",
        "connection_read_timeout",
        "connection_write_timeout",
        "http_response_timeout",
    }
)
"""Error types with status 504 (RFC 9209, section 2.3)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure, in words and as an error type (RFC 9209, section 2.3)."""

    sentence: str
    kind: str
    refusal: Refusal | None = None
    """The reason for a refusal, if the request is at fault."""


def _bad_request(sentence: str, refusal: Refusal) -> Problem:
    return Problem(sentence, "http_request_error", refusal)


TOO_LARGE = _bad_request("The request body is larger than this proxy accepts.", "body_too_large")
BODY_STALLED = _bad_request("The request body stalled for too long.", "body_timeout")
TOO_MUCH_HELD = Problem(
    "This proxy has reached its limit for bodies and heads in memory. Please try again.",
    "http_request_denied",
    "too_much_held",
)
_BAD_REQUESTS = {
    408: _bad_request("The request head did not arrive in time.", "head_timeout"),
    413: TOO_LARGE,
    431: _bad_request("The request head is larger than this proxy accepts.", "head_too_large"),
}
_MALFORMED = _bad_request("The request is not valid HTTP.", "malformed")

# mitmproxy reports connection failures as text that contains addresses and bytes of the peer.
# Clients get one of these sentences instead.
NO_FILES = Problem("this proxy has no open files left", "connection_limit_reached")
_PROBLEMS = {
    r"too many open files|errno 2[34]\b": NO_FILES,
    r"too large": Problem(
        "the headers of its answer are too large", "http_response_header_section_size"
    ),
    r"name or service|name resolution|getaddrinfo|nodename|no address": Problem(
        "its name is unknown", "dns_error"
    ),
    r"certificate": Problem("its TLS certificate was not accepted", "tls_certificate_error"),
    r"tls|ssl|handshake": Problem("the TLS handshake failed", "tls_protocol_error"),
    r"timed? ?out|timeout|errno 110": Problem("it did not answer in time", "connection_timeout"),
    r"unreachable|no route|errno 11[23]|errno 101": Problem(
        "there is no route to it", "destination_ip_unroutable"
    ),
    r"refused|connect call failed": Problem("it refused the connection", "connection_refused"),
    r"closed|reset|broken pipe|eof|terminated": Problem(
        "it closed the connection without an answer", "connection_terminated"
    ),
    r"parse|unexpected|protocol error|received|smuggling": Problem(
        "its answer was not valid HTTP", "http_protocol_error"
    ),
}
_UNKNOWN_PROBLEM = Problem("the connection failed", "destination_unavailable")

UPSTREAM_PROBLEMS = TIMEOUTS | {problem.kind for problem in (*_PROBLEMS.values(), _UNKNOWN_PROBLEM)}
"""The error types of all problems with an upstream."""


def connection_problem(message: str) -> Problem:
    """Return why an upstream could not be used, without addresses and bytes.

    Args:
        message: mitmproxy's message for the failed connection.
    """
    found = (p for regex, p in _PROBLEMS.items() if re.search(regex, message, re.IGNORECASE))
    return next(found, _UNKNOWN_PROBLEM)


def explain(status: int, message: str, known: Problem | None = None) -> Problem:
    """Return the problem for an error that mitmproxy reports.

    Args:
        status: the HTTP status of mitmproxy's own answer.
        message: mitmproxy's message, which is not passed on.
        known: a more precise reason, if known.
    """
    if known is not None and known.refusal:
        return known
    if status < 500:
        return _BAD_REQUESTS.get(status, _MALFORMED)
    why = known or connection_problem(message)
    sentence = f"The registry behind this proxy cannot be used: {why.sentence}."
    return Problem(sentence, why.kind)
