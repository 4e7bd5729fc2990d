"""The addresses on the command line of `run`."""

from __future__ import annotations

import argparse

import pytest

from addon.cli import addresses
from addon.cli.addresses import Upstream


@pytest.mark.parametrize(
    ("text", "url", "base_path"),
    [
        ("https://r.example", "https://r.example", ""),
        ("http3://r.example", "http3://r.example", ""),
        ("http://r.example:65535/", "http://r.example:65535", ""),
        ("http://[::1]:5000/a/b/", "http://[::1]:5000", "/a/b"),
    ],
)
def test_upstream(text: str, url: str, base_path: str) -> None:
    """The URL is split into the registry's address and its base path."""
    assert addresses.upstream(text) == Upstream(url, base_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r.example", "'r.example': expected a URL such as"),
        ("HTTPS://r.example", "expected a URL such as"),
        ("https://r.example:65536", "expected a port from 1 to 65535"),
        ("https://r.example:\u0663", "expected a URL such as"),
        ("https://r.example?token=secret", "'https://r.example': expected no more than a path"),
        ("https://r.example/a/../b?token=secret", "expected no more than a path"),
        ("https://r.example/a%2Fb", "expected no more than a path"),
        ("https://user:secret@r.example", "expected a URL without user and password"),
        ("https://r.example/secret@x", "expected a URL without user and password"),
    ],
)
def test_invalid_upstreams(text: str, message: str) -> None:
    """The message has what was expected, and no secret."""
    with pytest.raises(argparse.ArgumentTypeError) as error:
        addresses.upstream(text)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":80", ("", 80)),
        ("[::1]:0", ("::1", 0)),
        ("proxy.example:65535", ("proxy.example", 65535)),
        ("8080", None),
        ("a:", None),
        ("a:65536", None),
        ("a:-1", None),
        ("a:\u0663", None),
    ],
)
def test_listen(text: str, expected: tuple[str, int] | None) -> None:
    """A host may be missing, but a port must be a decimal number up to 65535."""
    if expected is None:
        with pytest.raises(argparse.ArgumentTypeError, match="expected HOST:PORT"):
            addresses.listen(text)
    else:
        assert addresses.listen(text) == expected


@pytest.mark.parametrize(
    ("host", "text"), [("a", "a:1"), ("", ":1"), ("::1", "[::1]:1"), ("127.0.0.1", "127.0.0.1:1")]
)
def test_shown(host: str, text: str) -> None:
    """An IPv6 address has brackets."""
    assert addresses.shown(host, 1) == text


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("127.0.0.1", None),
        ("", None),
        ("localhost", None),
        ("192.0.2.1", "--listen: 192.0.2.1:0: this machine has no such address"),
        ("2001:db8::1", "--listen: [2001:db8::1]:0: "),
        ("no.such.host.invalid", "--listen: no.such.host.invalid:0: "),
    ],
)
def test_problem(host: str, problem: str | None) -> None:
    """The message has the reason why an address cannot be used."""
    assert (addresses.problem(host, 0, udp=True) or "").startswith(problem or "")
    assert (addresses.problem(host, 0) is None) == (problem is None)
