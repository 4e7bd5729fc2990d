"""The field Forwarded, and the addresses in it."""

from __future__ import annotations

import pytest

from addon.protocol import forwarded_field


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        ("for=a", [{"for": "a"}]),
        ("FOR=a ; Proto=b,for=c", [{"for": "a", "proto": "b"}, {"for": "c"}]),
        (' , for="a, b;c\\"d" ;, ', [{"for": 'a, b;c"d'}]),
        ("for=a;;proto=b;", [{"for": "a", "proto": "b"}]),
        ('for=""', [{"for": ""}]),
        ("", []),
        (",", []),
        ("for", None),
        ("for=", None),
        ("for=a b", None),
        ("for = a", None),
        ('for="a', None),
        ('for="a\\"', None),
        ('for="a"b', None),
        ("for=[::1]", None),
        ("=a", None),
        ("for=a;FOR=b", None),
    ],
)
def test_field(value: str, hops: list[dict[str, str]] | None) -> None:
    """The grammar is exactly that of RFC 7239, section 4, except for spaces."""
    assert forwarded_field.hops(value) == hops


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:51234", "192.0.2.7"),
        ("192.0.2.7:_port", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[fe80::1%eth0]:4711", "fe80::1%eth0"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("192.0.2.7:", None),
        ("192.0.2.7:123456", None),
        ("192.0.2.7:80:80", None),
        ("192.0.2.07", None),
        ("192.0.2", None),
        ("[192.0.2.7]x", None),
        ("[2001:db8::1", None),
        ("fe80::1%<script>", None),
        ("fe80::1%" + "a" * 17, None),
        ("1" * 100_000, None),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
    ],
)
def test_address(node: str, address: str | None) -> None:
    """An address is found in all its spellings, and in nothing else."""
    assert forwarded_field.address(node) == address
