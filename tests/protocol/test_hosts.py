"""The host guard."""

import re

import pytest

from addon.protocol import hosts

ALLOWED = [
    "mlflow.example.org",
    "*.lab.example.org",
    "proxy:8080",
    "any:*",
    "10.0.0.0/16",
    "192.0.2.7:8080",
    "[::1]:8080",
    "fd00::/8",
    "2001:db8::7",
    "[2001:db8:1::/48]:99",
]


def is_allowed(authority: str, *allowed: str) -> bool:
    """Return the guard's decision for a list as in the rules."""
    return hosts.is_allowed(authority, [hosts.pattern(text) for text in allowed])


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("mlflow.example.org", True),
        ("MLflow.Example.org:8443", True),
        ("mlflow.example.org.", True),
        ("a.lab.example.org", True),
        ("a.b.lab.example.org:1", True),
        ("lab.example.org", False),
        (".lab.example.org.evil.example", False),
        ("evillab.example.org", False),
        ("evil.example", False),
        ("mlflow.example.org.evil.example", False),
        ("evil.example/mlflow.example.org", False),
        ("mlflow.example.org@evil.example", False),
        ("evil.example@mlflow.example.org", False),
        ("mlflow.example.org/evil", False),
        ("mlflow.example.org?evil", False),
        ("mlflow.exa\tmple.org", False),
        ("proxy:8080", True),
        ("proxy:8081", False),
        ("proxy", False),
        ("any:1", True),
        # Addresses are not compared as text, and names are not addresses.
        ("10.0.1.2:99", True),
        ("10.1.0.2", False),
        ("10.0.attacker.example", False),
        ("10.0.1.2.attacker.example", False),
        ("10.0.258", False),
        ("010.0.1.2", False),
        ("192.0.2.7:8080", True),
        ("192.0.2.7", False),
        ("[::ffff:10.0.1.2]", True),
        ("[::1]:8080", True),
        ("[0:0::1]:8080", True),
        ("[::1]:8081", False),
        ("[fd12::3]:5000", True),
        ("[fe12::3]", False),
        ("[2001:db8::7]", True),
        ("[2001:db8:1:2::]:99", True),
        ("[2001:db8:1:2::]", False),
        ("[fd00::1%eth0]", False),
        ("[fd00:::1]", False),
        ("fd00::1", False),
        ("1", False),
        ("", False),
        (".", False),
        ("a b", False),
        ("mlflow.example.org, evil.example", False),
        ("mlflow.example.org:x", False),
        ("mlflow.example.org:0", False),
        ("mlflow.example.org:99999", False),
    ],
)
def test_is_allowed(authority: str, expected: bool) -> None:
    """A name matches with any port unless the list names a port."""
    assert is_allowed(authority, *ALLOWED) is expected


def test_any_host() -> None:
    """A single star allows every valid name or address, with a given port if it has one."""
    assert is_allowed("anything:1", "*")
    assert is_allowed("10.0.0.1", "*")
    assert not is_allowed("", "*")
    assert is_allowed("anything:8080", "*:8080")
    assert not is_allowed("anything:8081", "*:8080")


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("10.0.*", "expected a network instead: 10.0.0.0/16"),
        ("10.*", "expected a network instead: 10.0.0.0/8"),
        ("192.168.1.*:8080", "expected a network instead: 192.168.1.0/24"),
        ("172.16.*.*", "expected a network instead: 172.16.0.0/16"),
        ("*.0.0.1", "expected a network instead, such as 10.0.0.0/8 or fd00::/8"),
        ("[fd00:*]", "expected a network instead, such as 10.0.0.0/8 or fd00::/8"),
        ("mlflow.*", "expected * for whole labels in front of a name, such as *.example.org"),
        ("ml*.example.org", "expected * for whole labels in front of a name"),
        ("*example.org", "expected * for whole labels in front of a name"),
        ("a.*.example.org", "expected * for whole labels in front of a name"),
        ("*.*.org", "expected * for whole labels in front of a name"),
        ("*.", "expected * for whole labels in front of a name"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("10.0", "expected an IP address or a network such as 10.0.0.0/8"),
        ("10.0.0.256", "expected an IP address or a network such as 10.0.0.0/8"),
        ("0x0a000001", "expected an IP address or a network such as 10.0.0.0/8"),
        ("fd00::g", "expected an IP address or a network such as 10.0.0.0/8"),
        ("-a.example", "expected a host name such as mlflow.example.org"),
        ("a..example", "expected a host name such as mlflow.example.org"),
        ("a b", "expected a host name such as mlflow.example.org"),
        ("proxy:0", "expected a port from 1 to 65535"),
        ("proxy:http", "expected a host name, an IP address or a network, with or without a port"),
        ("https://a.example", "expected a host name, an IP address or a network"),
        ("", "expected a host name, an IP address or a network"),
    ],
)
def test_refused_entries(text: str, instead: str) -> None:
    """An entry that covers more than it seems to is refused with a suggestion."""
    with pytest.raises(ValueError, match=re.escape(instead)):
        hosts.pattern(text)


@pytest.mark.parametrize(
    ("authority", "address", "expected"),
    [
        ("::1:5000", "::1", "[::1]:5000"),
        ("::1", "::1", "[::1]"),
        ("[::1]:5000", "::1", "[::1]:5000"),
        ("mlflow.example.org:80", "::1", "mlflow.example.org:80"),
    ],
)
def test_in_brackets(authority: str, address: str, expected: str) -> None:
    """An IPv6 address gets brackets once, and other hosts get none."""
    assert hosts.in_brackets(authority, address) == expected
