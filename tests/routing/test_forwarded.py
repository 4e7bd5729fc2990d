"""Where a request came from, and whose statements about it are trusted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from addon.routing import forwarded
from addon.routing.forwarded import Forwarded

HERE = ("http", "proxy:8080", "")
BALANCERS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        # No trusted proxy in front: the client's own headers do not count.
        ("192.0.2.7", {}, Forwarded("192.0.2.7", "192.0.2.7", *HERE)),
        (
            "192.0.2.7",
            {"for": "1.1.1.1", "proto": "https", "host": "evil", "prefix": "/x"},
            Forwarded("192.0.2.7", "192.0.2.7", *HERE),
        ),
        # A balancer without headers.
        ("10.0.0.1", {}, Forwarded("10.0.0.1", "10.0.0.1", *HERE)),
        # A balancer with all headers.
        (
            "10.0.0.1",
            {"for": "192.0.2.7", "proto": "https", "host": "ml.example.org", "prefix": "/team/"},
            Forwarded("192.0.2.7", "192.0.2.7, 10.0.0.1", "https", "ml.example.org", "/team"),
        ),
        # Two balancers, and a client that has sent a header itself.
        (
            "10.0.0.1",
            {"for": "8.8.8.8, 192.0.2.7, 10.0.0.2"},
            Forwarded("192.0.2.7", "8.8.8.8, 192.0.2.7, 10.0.0.2, 10.0.0.1", *HERE),
        ),
        (
            "::ffff:10.0.0.1",
            {"for": "2001:db8::1, fd00::2"},
            Forwarded("2001:db8::1", "2001:db8::1, fd00::2, ::ffff:10.0.0.1", *HERE),
        ),
        # Addresses with ports and brackets, as some balancers write them; IPv6 mostly has none.
        (
            "10.0.0.1",
            {"for": "203.0.113.9:51234, 10.0.0.2:80"},
            Forwarded("203.0.113.9", "203.0.113.9:51234, 10.0.0.2:80, 10.0.0.1", *HERE),
        ),
        (
            "10.0.0.1",
            {"for": "[2001:db8::1]:4711, [fd00::2]"},
            Forwarded("2001:db8::1", "[2001:db8::1]:4711, [fd00::2], 10.0.0.1", *HERE),
        ),
        (
            "10.0.0.1",
            {"for": "[2001:db8::1, 10.0.0.2"},
            Forwarded("10.0.0.2", "[2001:db8::1, 10.0.0.2, 10.0.0.1", *HERE),
        ),
        # A value that is not an address ends the trusted part.
        (
            "10.0.0.1",
            {"for": "192.0.2.7, unknown, 10.0.0.2"},
            Forwarded("10.0.0.2", "192.0.2.7, unknown, 10.0.0.2, 10.0.0.1", *HERE),
        ),
        (
            "10.0.0.1",
            {"for": " , ", "proto": "gopher", "host": "a, b", "prefix": "x"},
            Forwarded("10.0.0.1", "10.0.0.1", *HERE),
        ),
        (
            "fd00::1%eth0",
            {"for": "fd00::2%1", "proto": "HTTPS, http"},
            Forwarded("fd00::2%1", "fd00::2%1, fd00::1%eth0", "https", "proxy:8080", ""),
        ),
    ],
)  # fmt: skip
def test_read(peer: str, headers: dict[str, str], expected: Forwarded) -> None:
    """A trusted peer is believed, and so is the part of its chain that trusted proxies wrote."""
    found = read(peer, **{f"x-forwarded-{name}": value for name, value in headers.items()})
    assert found == replace(expected, trusted=peer != "192.0.2.7")


def read(peer: str, host: str = "proxy:8080", **headers: str) -> Forwarded:
    """Read the headers of a request to this proxy."""
    fields = {name.encode(): value.encode() for name, value in headers.items()}
    return forwarded.read(fields, peer=peer, scheme="http", host=host, trusted=BALANCERS)


@pytest.mark.parametrize(
    ("prefix", "believed"),
    [
        ("/team", "/team"),
        ("/team/a.b_c-d~e/", "/team/a.b_c-d~e"),
        ("/", ""),
        # Prefixes that lead elsewhere or are ambiguous.
        ("//evil.example", ""),
        ("/team//evil.example", ""),
        ("/\\evil.example", ""),
        ("/team/../x", ""),
        ("/./team", ""),
        ("/%2Fevil.example", ""),
        ("/team%2e%2e", ""),
        ("/team\x01", ""),
        ("/team\tx", ""),
        ("/team?x", ""),
        ("/team#x", ""),
        ("/a, /b", ""),
        ("/a,/b", ""),
        ("team", ""),
        ("http://evil.example", ""),
        ("/t\xe9am", ""),
    ],
)
def test_prefix(prefix: str, believed: str) -> None:
    """Only a prefix of plain path segments counts, as a Location begins with it."""
    assert read("10.0.0.1", **{"x-forwarded-prefix": prefix}).prefix == believed


@pytest.mark.parametrize(
    ("named", "proto", "port", "scheme", "host"),
    [
        ("ml.example.org", "https", "", "https", "ml.example.org"),
        ("ml.example.org:8443", "https", "443", "https", "ml.example.org:8443"),
        ("ml.example.org", "https", "443", "https", "ml.example.org"),
        ("ml.example.org", "https", "8443", "https", "ml.example.org:8443"),
        ("ml.example.org", "", "80", "http", "ml.example.org"),
        ("[2001:db8::1]", "", "8080", "http", "[2001:db8::1]:8080"),
        # The port also applies to the host that the client has named.
        ("", "https", "8443", "https", "proxy:8443"),
        ("", "https", "0", "https", "proxy"),
        ("", "https", "99999", "https", "proxy"),
        ("", "https", "8443, 443", "https", "proxy"),
        ("", "https", "\xb2", "https", "proxy"),
        ("", "https", "9" * 5000, "https", "proxy"),
        # Invalid hosts and schemes.
        ("user@evil.example", "https", "", "https", "proxy"),
        ("evil.example/x", "https", "", "https", "proxy"),
        ("evil.example?x", "https", "", "https", "proxy"),
        ("evil.example#", "https", "", "https", "proxy"),
        ("evil example", "https", "", "https", "proxy"),
        ("evil.example\\x", "https", "", "https", "proxy"),
        ("evil.example:x", "https", "", "https", "proxy"),
        ("//evil.example", "https", "", "https", "proxy"),
        ("[evil]", "https", "", "https", "proxy"),
        ("a.example, b.example", "https", "", "https", "proxy"),
        ("", "javascript", "", "http", "proxy"),
        ("", "https://evil.example", "", "http", "proxy"),
    ],
)
def test_host_and_scheme(named: str, proto: str, port: str, scheme: str, host: str) -> None:
    """Host and scheme must be valid; a port is added if the host has none."""
    said = {"x-forwarded-host": named, "x-forwarded-proto": proto, "x-forwarded-port": port}
    found = read("10.0.0.1", host="proxy", **{name: said[name] for name in said if said[name]})
    assert (found.scheme, found.host) == (scheme, host)


@pytest.mark.parametrize(
    ("field", "client", "chain", "scheme", "host"),
    [
        ("for=192.0.2.7", "192.0.2.7", "192.0.2.7", "http", "proxy:8080"),
        (
            'For="[2001:db8::1]:4711";Proto=HTTPS;Host="ml.example.org:8443";by=10.0.0.1',
            *("2001:db8::1", "2001:db8::1", "https", "ml.example.org:8443"),
        ),
        # The outermost trusted proxy's values count; those before it are the client's.
        (
            "for=8.8.8.8;host=evil.example, for=192.0.2.7;host=ml.example.org;proto=https, "
            "for=10.0.0.2;host=inner",
            *("192.0.2.7", "8.8.8.8, 192.0.2.7, 10.0.0.2", "https", "ml.example.org"),
        ),
        ("for=8.8.8.8, for=192.0.2.7", "192.0.2.7", "8.8.8.8, 192.0.2.7", "http", "proxy:8080"),
        # A node that is not an address was still written by the peer.
        (
            "for=8.8.8.8;host=evil.example, for=_hidden;host=ml.example.org;proto=https",
            *("10.0.0.1", "8.8.8.8, unknown", "https", "ml.example.org"),
        ),
        ("proto=https", "10.0.0.1", "unknown", "https", "proxy:8080"),
        ('for=192.0.2.7;host="evil.example/x"', "192.0.2.7", "192.0.2.7", "http", "proxy:8080"),
        # An invalid field counts as empty.
        ("for=192.0.2.7;for=8.8.8.8", "10.0.0.1", "", "http", "proxy:8080"),
        ("for=192.0.2.7:80", "10.0.0.1", "", "http", "proxy:8080"),
        ("", "10.0.0.1", "", "http", "proxy:8080"),
    ],
)
def test_forwarded(field: str, client: str, chain: str, scheme: str, host: str) -> None:
    """RFC 7239 is read from a trusted peer; each hop has its own scheme and host."""
    found = read("10.0.0.1", forwarded=field)
    whole = f"{chain}, 10.0.0.1" if chain else "10.0.0.1"
    assert found == Forwarded(client, whole, scheme, host, "", trusted=True)
    assert read("192.0.2.9", forwarded=field).client == "192.0.2.9"


def test_x_forwarded_takes_precedence() -> None:
    """A balancer's X-Forwarded-* headers win over Forwarded, which is probably the client's."""
    client = {"forwarded": "for=8.8.8.8;host=evil.example;proto=https"}
    for name, value in (("for", "192.0.2.7"), ("proto", "http"), ("host", "a"), ("port", "1")):
        found = read("10.0.0.1", **client, **{f"x-forwarded-{name}": value})
        assert (found.scheme, found.client == "8.8.8.8") == ("http", False)
    assert read("10.0.0.1", **client, **{"x-forwarded-prefix": "/x"}).client == "8.8.8.8"


def test_long_chains() -> None:
    """A client behind a balancer cannot make the proxy parse thousands of addresses."""
    chain = ", ".join(f"10.0.{n >> 8}.{n & 255}" for n in range(5000))
    assert read("10.0.0.1", **{"x-forwarded-for": chain}).client == "10.0.19.104"


def test_for_upstream() -> None:
    """The upstream gets the proxy's headers in place of the received ones, and no empty ones."""
    found = Forwarded("192.0.2.7", "192.0.2.7, 10.0.0.1", "https", "ml.example.org", "/team")
    assert found.for_upstream(((b"Accept", b"*/*"), (b"X_Forwarded_For", b"x")), "/mlflow") == (
        (b"Accept", b"*/*"),
        (b"X-Forwarded-For", b"192.0.2.7, 10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"ml.example.org"),
        (b"X-Forwarded-Prefix", b"/team/mlflow"),
    )
    assert Forwarded("::1", "::1", "http", "", "").for_upstream((), "") == (
        (b"X-Forwarded-For", b"::1"),
        (b"X-Forwarded-Proto", b"http"),
    )


@pytest.mark.parametrize(
    ("name", "of_clients", "of_trusted"),
    [
        ("X-Forwarded-For", True, True),
        ("x-forwarded-port", True, True),
        ("Forwarded", True, True),
        ("X_Forwarded_For", True, True),
        ("X-Forwarded_Host", True, True),
        ("X-Forwarded-User", True, False),
        ("X-Forwarded-Ssl", True, False),
        ("X-Forwarded", True, False),
        ("X-Real-IP", True, False),
        ("X_Forwarded_User", True, True),
        ("X_Real-IP", True, True),
        ("X-Forward", False, False),
        ("Forwarded-x", False, False),
        ("Host", False, False),
        ("My_Header", False, False),
    ],
)
def test_is_claim(name: str, of_clients: bool, of_trusted: bool) -> None:
    """Headers that only a proxy may set are recognized in any spelling that a server may fold."""
    assert forwarded.is_claim(name.encode(), trusted=False) is of_clients
    assert forwarded.is_claim(name.encode(), trusted=True) is of_trusted
