"""Messages and flows made here equal those from mitmproxy's constructors."""

from __future__ import annotations

import uuid

from mitmproxy import connection, http

from addon.engine import messages

PAIRS = ((b"Host", b"registry"), (b"accept", b"*/*"), (b"Accept", b"text/html"))


def test_a_request() -> None:
    """A request has all values where mitmproxy has them."""
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


def test_a_flow() -> None:
    """A flow differs from mitmproxy's only in its ID."""
    client = connection.Client(peername=("client", 1), sockname=("proxy", 2))
    server = connection.Server(address=("registry", 80))
    request = http.Request.make("GET", "http://registry/")
    made, theirs = messages.flow(client, server, request), http.HTTPFlow(client, server, live=True)
    theirs.request, theirs.timestamp_created = request, request.timestamp_start
    assert uuid.UUID(made.id).version == uuid.UUID(theirs.id).version == 4
    assert uuid.UUID(made.id).variant == uuid.UUID(theirs.id).variant
    theirs.id = made.id
    assert vars(made) == vars(theirs)
    assert made.get_state() == theirs.get_state()
    assert made.metadata is not messages.flow(client, server, request).metadata


def test_names_do_not_repeat() -> None:
    """IDs do not repeat, neither within one system call's random bytes nor after them."""
    names = [next(messages._IDS) for _ in range(1_000)]
    assert len(set(names)) == len(names)
    assert all(str(uuid.UUID(name)) == name for name in names)


def test_a_response() -> None:
    """A response has all values where mitmproxy has them."""
    made = messages.response(PAIRS, version=b"HTTP/1.1", status=200, reason=b"OK", timestamp=2)
    theirs = http.Response(b"HTTP/1.1", 200, b"OK", http.Headers(PAIRS), None, None, 2, None)
    assert made.get_state() == theirs.get_state()
    assert (vars(made).keys(), vars(made.data)) == (vars(theirs).keys(), vars(theirs.data))
    assert made.copy().get_state() == theirs.get_state()
    assert made.stream is False
