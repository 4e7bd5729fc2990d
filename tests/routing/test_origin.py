"""The origin guard."""

import pytest

from addon.routing.origin import is_dropped, is_foreign


@pytest.mark.parametrize(
    ("method", "origin", "authority", "allowed", "foreign"),
    [
        ("POST", None, "proxy:8080", [], False),
        ("POST", "http://proxy:8080", "proxy:8080", [], False),
        ("POST", "http://PROXY:8080", "proxy:8080", [], False),
        # TLS may be terminated in front of the proxy.
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
    """A request is foreign only if it changes something for a site that is not allowed."""
    assert is_foreign(method, origin, authority, allowed) is foreign


@pytest.mark.parametrize(
    ("origin", "authority", "checked", "dropped"),
    [
        ("http://proxy.example", "proxy.example", True, True),
        ("http://proxy.example:8080", "proxy.example:8080", True, True),
        # The name may be an attacker's: it was not checked.
        ("http://proxy.example", "proxy.example", False, False),
        ("http://localhost.evil.example", "localhost.evil.example", False, False),
        ("http://10.0.0.evil.example", "10.0.0.evil.example", False, False),
        # TLS has checked the name, or there is none.
        ("https://proxy.example", "proxy.example", False, True),
        ("http://10.0.0.7:8080", "10.0.0.7:8080", False, True),
        ("http://[::1]:8080", "[::1]:8080", False, True),
        ("http://localhost:8080", "localhost:8080", False, True),
        ("http://ml.localhost:8080", "ml.localhost:8080", False, True),
        # Another site's origin.
        ("http://evil.example", "proxy.example", True, False),
        ("https://evil.example", "proxy.example", True, False),
        ("http://localhost:3000", "localhost:8080", True, False),
        ("http://127.0.0.1:8080", "localhost:8080", True, False),
        ("null", "proxy.example", True, False),
        ("", "", True, False),
    ],
)
def test_is_dropped(origin: str, authority: str, checked: bool, dropped: bool) -> None:
    """The origin of the proxy's own pages is dropped if its name cannot be an attacker's."""
    assert is_dropped(origin, authority, checked=checked) is dropped
