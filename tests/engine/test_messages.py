"""Messages that are built around their fields are those that mitmproxy's constructors make."""

from __future__ import annotations

from mitmproxy import http

from addon.engine import messages

PAIRS = ((b"Host", b"registry"), (b"accept", b"*/*"), (b"Accept", b"text/html"))


def test_a_request() -> None:
    """All values are where mitmproxy has them."""
    made = messages.request(
        PAIRS,
        method=b"GET",
        path=b"/x?y",
        version=b"HTTP/1.1",
        timestamp=1.5,
        host="registry",
        port=80,
        scheme=b"http",
        authority=b"registry:80",
    )
    asked = (b"GET", b"http", b"registry:80", b"/x?y", b"HTTP/1.1")
    theirs = http.Request("registry", 80, *asked, http.Headers(PAIRS), None, None, 1.5, None)
    assert made.get_state() == theirs.get_state()
    assert (vars(made).keys(), vars(made.data)) == (vars(theirs).keys(), vars(theirs.data))
    assert made.headers == theirs.headers
    assert made.copy().get_state() == theirs.get_state()
    assert made.stream is False


def test_a_response() -> None:
    """The same for a response."""
    made = messages.response(PAIRS, version=b"HTTP/1.1", status=200, reason=b"OK", timestamp=2)
    theirs = http.Response(b"HTTP/1.1", 200, b"OK", http.Headers(PAIRS), None, None, 2, None)
    assert made.get_state() == theirs.get_state()
    assert (vars(made).keys(), vars(made.data)) == (vars(theirs).keys(), vars(theirs.data))
    assert made.copy().get_state() == theirs.get_state()
    assert made.stream is False
