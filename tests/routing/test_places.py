"""Cookies, locations and other places in the headers of answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from addon.routing.places import Places, are_in
from addon.routing.rewrite import Origin

UPSTREAM = Origin("https", "registry.example.org", 443)
MOUNTED = Places(UPSTREAM, "http", "proxy.example.com:8080", "/mlflow", "/base")
ROOT = replace(MOUNTED, mount="", base_path="")


def sent(places: Places, name: str, value: str) -> str | None:
    """Return a header's value as the client gets it; None if it is removed."""
    fields = places.headers(((name.encode(), value.encode()),))
    return fields[0][1].decode() if fields else None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # The path of the whole upstream.
        ("a=b; Path=/", "a=b; Path=/mlflow"),
        ("a=b; Path=/base", "a=b; Path=/mlflow"),
        ("a=b; Path=/base/", "a=b; Path=/mlflow"),
        # A part of the upstream.
        ("a=b; path=/base/ajax-api", "a=b; path=/mlflow/ajax-api"),
        ("a=b;Path = /base/x/ ;Secure", "a=b;Path =/mlflow/x/;Secure"),
        ("a=b; Path=/basement", "a=b; Path=/mlflow/basement"),
        # No valid path: browsers use that of the request.
        ("a=b", "a=b"),
        ("a=b; Path=", "a=b; Path="),
        ("a=b; Path", "a=b; Path"),
        ("a=b; Path=x", "a=b; Path=x"),
        ('a=b; Path="/"', 'a=b; Path="/"'),
        # The last path counts.
        ("a=b; Path=/x; Path=/base/y", "a=b; Path=/mlflow/x; Path=/mlflow/y"),
        # The upstream's host, or a domain above it.
        ("a=b; Domain=registry.example.org; Path=/", "a=b; Path=/mlflow"),
        ("a=b; domain = .Example.ORG ;HttpOnly", "a=b;HttpOnly"),
        ("a=b; Domain=x.example; Domain=example.org", "a=b"),
        # Another host's domain, which browsers refuse with or without a proxy.
        ("a=b; Domain=other.example", "a=b; Domain=other.example"),
        ("a=b; Domain=y.example.org", "a=b; Domain=y.example.org"),
        ("a=b; Domain=example.org; Domain=x.example", "a=b; Domain=example.org; Domain=x.example"),
        ("a=b; Domain=", "a=b; Domain="),
        # Secure stays, and so do prefixes that require it.
        ("a=b; Secure; SameSite=None; Path=/", "a=b; Secure; SameSite=None; Path=/mlflow"),
        ("__Secure-a=b; Secure; Path=/", "__Secure-a=b; Secure; Path=/mlflow"),
        ("__Host-a=b; Secure; Path=/", "__Host-a=b; Secure; Path=/"),
        ("__hOST-a=b; Secure; Path=/", "__hOST-a=b; Secure; Path=/"),
        # Text that only looks like attributes.
        ("Path=/base; Max-Age=0", "Path=/base; Max-Age=0"),
        ('a="x, Path=/"; Expires=Thu, 01 Jan 1970 00:00:00 GMT', None),
        (";;= ; =", ";;= ; ="),
        ("", ""),
        ("a=\xe4\u20ac; Path=/", "a=\xe4\u20ac; Path=/mlflow"),
    ],
)
def test_cookie(value: str, expected: str | None) -> None:
    """A cookie is moved to the mount and to the proxy's host; all else stays unchanged."""
    assert sent(MOUNTED, "Set-Cookie", value) == (value if expected is None else expected)


@pytest.mark.parametrize(
    ("authority", "domain", "kept"),
    [
        ("mlflow.example.org", "example.org", True),
        ("mlflow.example.org:8080", ".example.org", True),
        ("mlflow.example.org", "registry.example.org", False),
        ("example.org", "example.org", True),
        ("10.0.0.7", "example.org", False),
        ("", "example.org", False),
    ],
)
def test_shared_domain(authority: str, domain: str, kept: bool) -> None:
    """A domain above both hosts is kept."""
    value = f"a=b; Domain={domain}"
    expected = value if kept else "a=b"
    assert sent(replace(ROOT, authority=authority), "Set-Cookie", value) == expected


def test_cookie_of_an_address() -> None:
    """An IP address has no domains above it."""
    places = replace(ROOT, upstream=Origin("http", "10.0.0.7", 5000))
    assert sent(places, "Set-Cookie", "a=b; Domain=10.0.0.7") == "a=b"
    assert sent(places, "Set-Cookie", "a=b; Domain=0.0.7") == "a=b; Domain=0.0.7"


def test_cookie_without_mount_and_base_path() -> None:
    """Without a mount and a base path, a cookie's path stays unchanged."""
    for path in ("/", "/x", "/x/"):
        assert sent(ROOT, "Set-Cookie", f"a=b; Path={path}") == f"a=b; Path={path}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Location", "https://registry.example.org/base/x", "http://proxy.example.com:8080/mlflow/x"),
        ("location", "/base/x", "/mlflow/x"),
        ("Content-Location", "/base/x", "/mlflow/x"),
        ("Link", '</base/x>; rel="next"', '</mlflow/x>; rel="next"'),
        ("Link", "</x>;a=b, <y>, <https://cdn.example/z>", "</mlflow/x>;a=b, <y>, <https://cdn.example/z>"),
        ("Link", '</x>; title="</y>"', '</mlflow/x>; title="</y>"'),
        ("Link", "/x", "/x"),
        ("Refresh", "5; url=/base/x", "5; url=/mlflow/x"),
        ("Refresh", "0;URL = '/x?a;b'", "0;URL = '/mlflow/x?a;b'"),
        ("Refresh", "0, https://registry.example.org", "0, http://proxy.example.com:8080/mlflow/"),
        ("Refresh", "5; url=https://other.example/", "5; url=https://other.example/"),
        ("Refresh", "5", "5"),
        ("Refresh", "5;" + " " * 60_000, "5;" + " " * 60_000),
        ("Link", "," * 60_000, "," * 60_000),
        ("Link", " " * 60_000, " " * 60_000),
        # Removed: not meant for clients of the proxy.
        ("Alt-Svc", 'h3=":443"; ma=86400', None),
        ("Public-Key-Pins", "max-age=1", None),
        # No places.
        ("Strict-Transport-Security", "max-age=1", "max-age=1"),
        ("ETag", '"/base/x"', '"/base/x"'),
    ],
)  # fmt: skip
def test_headers(name: str, value: str, expected: str | None) -> None:
    """A place on the upstream becomes one on the proxy, or the header is removed."""
    assert sent(MOUNTED, name, value) == expected
    if value != expected:
        assert are_in({name.lower().encode(): value.encode()})


def test_order() -> None:
    """Repeated fields and all others keep their order."""
    fields = ((b"Set-Cookie", b"a=1; Path=/"), (b"X", b"\xff"), (b"set-cookie", b"b=\xff;Path=/"))
    expected = (
        (b"Set-Cookie", b"a=1; Path=/mlflow"),
        fields[1],
        (b"set-cookie", b"b=\xff;Path=/mlflow"),
    )
    assert MOUNTED.headers(fields) == expected
    assert not are_in({b"content-type": b"text/html", b"etag": b"x"})
