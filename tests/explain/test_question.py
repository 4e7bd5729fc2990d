"""The parts of a question: the URL of a request, and its upstream."""

from __future__ import annotations

import pytest

from addon.explain.question import server, split
from addon.routing.rewrite import Origin


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/a?b=//c", ("", "/a?b=//c")),
        ("//a", ("", "//a")),
        ("http://proxy", ("proxy", "/")),
        ("HTTPS://proxy:8443/a//b?c", ("proxy:8443", "/a//b?c")),
        ("a/b", None),
        ("ftp://proxy/a", None),
        ("http:///a", None),
        ("", None),
    ],
)
def test_split(url: str, expected: tuple[str, str] | None) -> None:
    """A URL is split after its authority; a path has none."""
    if expected is None:
        with pytest.raises(ValueError, match="expected a URL such as"):
            split(url)
    else:
        assert split(url) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r.example", Origin("https", "r.example", 443)),
        ("r.example:5000", Origin("https", "r.example", 5000)),
        ("http://r.example/deep", Origin("http", "r.example", 80)),
        ("[::1]:5000", Origin("https", "::1", 5000)),
        ("", None),
        ("r.example:port", None),
    ],
)
def test_server(text: str, expected: Origin | None) -> None:
    """An upstream without a scheme is one with https."""
    if expected is None:
        with pytest.raises(ValueError, match="expected HOST, HOST:PORT or a URL"):
            server(text)
    else:
        assert server(text) == expected
