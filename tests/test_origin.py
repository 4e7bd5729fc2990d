"""The origin guard."""

import pytest

from addon.origin import is_foreign


@pytest.mark.parametrize(
    ("method", "origin", "authority", "allowed", "foreign"),
    [
        ("POST", None, "proxy:8080", [], False),
        ("POST", "http://proxy:8080", "proxy:8080", [], False),
        ("POST", "http://PROXY:8080", "proxy:8080", [], False),
        # TLS may end in front of the proxy.
        ("POST", "https://proxy", "proxy", [], False),
        ("POST", "https://proxy", "proxy:80", [], False),
        ("POST", "https://evil.example", "proxy:8080", [], True),
        ("POST", "http://proxy:9090", "proxy:8080", [], True),
        ("POST", "http://proxy.evil.example", "proxy", [], True),
        ("DELETE", "https://evil.example", "proxy", [], True),
        ("PUT", "null", "proxy", [], True),
        ("PATCH", "", "proxy", [], True),
        ("POST", "https://evil.example", "", [], True),
        ("QUERY", "https://evil.example", "proxy", [], True),
        ("GET", "https://evil.example", "proxy", [], False),
        ("OPTIONS", "https://evil.example", "proxy", [], False),
        ("POST", "https://lab.example", "proxy", ["https://lab.example"], False),
        ("POST", "http://lab.example", "proxy", ["https://lab.example"], True),
        ("POST", "null", "proxy", ["*"], False),
    ],
)
def test_is_foreign(
    method: str, origin: str | None, authority: str, allowed: list[str], foreign: bool
) -> None:
    """Only a request that changes something for another, not allowed site is foreign."""
    assert is_foreign(method, origin, authority, allowed) is foreign
