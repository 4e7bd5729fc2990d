"""CORS headers, so that web pages of other origins can read the proxy's own answers.

A browser shows an answer to a page only with Access-Control-Allow-Origin, and sends a preflight
before most requests (https://fetch.spec.whatwg.org/#http-cors-protocol). The registry's answers
stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import replace

from ..protocol.request_ids import REQUEST_ID
from .replies import Reply

METHOD = "access-control-request-method"
HEADERS = "access-control-request-headers"

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,4096}")


def for_page(
    reply: Reply, *, method: str, headers: Mapping[str, str], allowed: Container[str]
) -> Reply:
    """Return the proxy's own error or redirect with headers that let an allowed page read it.

    A preflight succeeds instead, so that the page sends its request and can read why that fails.
    The request is checked by itself. Browsers do not cache the answer, so the next preflight may
    reach the registry.

    Args:
        reply: the answer.
        method: HTTP method of the request.
        headers: of the request; names in any case.
        allowed: `origins.allowed`. "*" allows all, but without credentials, as in MLflow's list.
    """
    origin = headers.get("origin")
    if origin is None or (origin not in allowed and "*" not in allowed):
        return reply
    listed = origin in allowed
    more = {"Access-Control-Allow-Origin": origin if listed else "*"}
    if listed:
        more |= {"Access-Control-Allow-Credentials": "true", "Vary": "Origin"}
    if method == "OPTIONS" and METHOD in headers:
        more |= {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": "0"}
        asked = headers.get(HEADERS, "")
        if _NAMES.fullmatch(asked):
            more["Access-Control-Allow-Headers"] = asked
        kept = {REQUEST_ID: dict(reply.headers).get(REQUEST_ID, ""), "Content-Length": "0"}
        return Reply(200, (*kept.items(), ("Cache-Control", "no-store"), *more.items()), b"")
    more["Access-Control-Expose-Headers"] = f"{REQUEST_ID}, Proxy-Status, Retry-After"
    return replace(reply, headers=(*reply.headers, *more.items()))
