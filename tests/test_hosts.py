"""The host guard."""

import pytest

from addon import hosts

ALLOWED = ["mlflow.example.org", "*.lab.example.org", "proxy:8080", "10.0.*", "[::1]:8080"]


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("mlflow.example.org", True),
        ("MLflow.Example.org:8443", True),
        ("mlflow.example.org.", True),
        ("a.lab.example.org", True),
        ("lab.example.org", False),
        ("evil.example", False),
        ("mlflow.example.org.evil.example", False),
        ("evil.example/mlflow.example.org", False),
        ("mlflow.example.org@evil.example", False),
        ("proxy:8080", True),
        ("proxy:8081", False),
        ("proxy", False),
        ("10.0.1.2:99", True),
        ("10.1.0.2", False),
        ("[::1]:8080", True),
        ("[::1]:8081", False),
        ("1", False),
        ("", False),
        ("a b", False),
        ("mlflow.example.org, evil.example", False),
        ("mlflow.example.org:x", False),
    ],
)
def test_is_allowed(authority: str, expected: bool) -> None:
    """A name counts with any port unless the list says which."""
    assert hosts.is_allowed(authority, ALLOWED) is expected


def test_any_host() -> None:
    """A star alone allows all that is a name."""
    assert hosts.is_allowed("anything:1", ["*"])
    assert not hosts.is_allowed("", ["*"])
