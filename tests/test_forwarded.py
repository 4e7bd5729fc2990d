"""Whom a request came from: whose word counts."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from addon import forwarded
from addon.forwarded import Forwarded

HERE = ("http", "proxy:8080", "")
BALANCERS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        # Nobody in front: what a client says of itself does not count.
        ("192.0.2.7", {}, Forwarded("192.0.2.7", "192.0.2.7", *HERE)),
        (
            "192.0.2.7",
            {"for": "1.1.1.1", "proto": "https", "host": "evil", "prefix": "/x"},
            Forwarded("192.0.2.7", "192.0.2.7", *HERE),
        ),
        # A balancer that says nothing.
        ("10.0.0.1", {}, Forwarded("10.0.0.1", "10.0.0.1", *HERE)),
        # One that tells all.
        (
            "10.0.0.1",
            {"for": "192.0.2.7", "proto": "https", "host": "ml.example.org", "prefix": "/team/"},
            Forwarded("192.0.2.7", "192.0.2.7, 10.0.0.1", "https", "ml.example.org", "/team"),
        ),
        # Two of them, and a client that has written something itself.
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
        # What is no address ends what can be believed.
        (
            "10.0.0.1",
            {"for": "192.0.2.7, unknown, 10.0.0.2"},
            Forwarded("10.0.0.2", "192.0.2.7, unknown, 10.0.0.2, 10.0.0.1", *HERE),
        ),
        (
            "10.0.0.1",
            {"for": " , ", "proto": "gopher", "host": "a, b", "prefix": "x"},
            Forwarded("10.0.0.1", "10.0.0.1", "http", "a", ""),
        ),
        (
            "fd00::1%eth0",
            {"for": "fd00::2%1", "proto": "HTTPS, http"},
            Forwarded("fd00::2%1", "fd00::2%1, fd00::1%eth0", "https", "proxy:8080", ""),
        ),
    ],
)  # fmt: skip
def test_read(peer: str, headers: dict[str, str], expected: Forwarded) -> None:
    """A trusted peer is believed, and as much of its chain as was written by trusted ones."""
    fields = {f"x-forwarded-{name}".encode(): value.encode() for name, value in headers.items()}
    how: dict[str, Any] = {"scheme": "http", "host": "proxy:8080", "trusted": BALANCERS}
    assert forwarded.read(fields, peer=peer, **how) == expected


def test_headers() -> None:
    """What the upstream is told; nothing of what there is not."""
    found = Forwarded("192.0.2.7", "192.0.2.7, 10.0.0.1", "https", "ml.example.org", "/team")
    assert found.headers("/mlflow") == [
        ("X-Forwarded-For", "192.0.2.7, 10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "ml.example.org"),
        ("X-Forwarded-Prefix", "/team/mlflow"),
    ]
    assert Forwarded("::1", "::1", "http", "", "").headers("") == [
        ("X-Forwarded-For", "::1"),
        ("X-Forwarded-Proto", "http"),
    ]
