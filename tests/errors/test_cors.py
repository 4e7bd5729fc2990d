"""CORS headers of the proxy's own answers."""

from __future__ import annotations

import pytest

from addon.errors import cors, replies

LAB = "https://lab.example"
ERROR = replies.own_error(503, "X", "No.", "http_request_denied", "id-1", "artifacts_disabled")
ASKS = {"access-control-request-method": "PUT"}


def for_page(method: str, allowed: list[str], **headers: str) -> replies.Reply:
    """Return the error above for a request with such headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return cors.for_page(ERROR, method=method, headers=named, allowed=allowed)


def shared(reply: replies.Reply) -> dict[str, str]:
    """Return the reply's CORS headers."""
    return {n: v for n, v in reply.headers if n.startswith("Access-Control-") or n == "Vary"}


LISTED = {
    "Access-Control-Allow-Origin": LAB,
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Origin",
}
READABLE = {"Access-Control-Expose-Headers": "X-Request-Id, Proxy-Status, Retry-After"}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Max-Age": "0",
}


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ([LAB], LAB, LISTED),
        ([LAB, "*"], LAB, LISTED),
        # Other origins must not read answers to requests with credentials.
        (["*"], LAB, {"Access-Control-Allow-Origin": "*"}),
        (["*"], "null", {"Access-Control-Allow-Origin": "*"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_allowed(method: str, allowed: list[str], origin: str, expected: dict[str, str]) -> None:
    """The error stays the same, and an allowed page may read it."""
    reply = for_page(method, allowed, origin=origin)
    assert (reply.status, reply.body, reply.why) == (ERROR.status, ERROR.body, ERROR.why)
    assert reply.headers[: len(ERROR.headers)] == ERROR.headers
    assert shared(reply) == expected | READABLE


@pytest.mark.parametrize(
    ("allowed", "headers"),
    [
        ([], {"origin": LAB}),
        ([LAB], {}),
        (["*"], {}),
        ([LAB], {"origin": "https://evil.example"}),
        ([LAB], {"origin": LAB + ".evil.example"}),
        ([LAB], {"origin": f"{LAB}, {LAB}"}),
        ([LAB], {"origin": "http://lab.example"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_other_origins(method: str, allowed: list[str], headers: dict[str, str]) -> None:
    """Other origins, and clients that are not web pages, get no CORS headers."""
    assert for_page(method, allowed, **headers, access_control_request_method="PUT") is ERROR


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("content-type, x-y", "content-type, x-y"),
        ("", None),
        ("x\r\nSet-Cookie: a=b", None),
        ("x\xe4", None),
        ("x" * 5000, None),
    ],
)
def test_preflight(asked: str, granted: str | None) -> None:
    """A preflight succeeds, uncached; the headers it asks for are allowed if they are names."""
    asks = {"access_control_request_method": "PUT", "access_control_request_headers": asked}
    reply = for_page("OPTIONS", [LAB], origin=LAB, **asks)
    assert (reply.status, reply.body, reply.why) == (200, b"", "")
    headers = {"Access-Control-Allow-Headers": granted} if granted else {}
    assert shared(reply) == LISTED | PREFLIGHT | headers
    others = [header for header in reply.headers if header[0] not in shared(reply)]
    assert others == [
        ("X-Request-Id", "id-1"),
        ("Content-Length", "0"),
        ("Cache-Control", "no-store"),
    ]
    # A request with another method is not a preflight.
    assert for_page("PUT", [LAB], origin=LAB, **asks).status == 503
