"""Redirects from http to the same place by https."""

from __future__ import annotations

import json

import pytest

from addon.protocol.to_https import CODE, error, secure_url

HERE = "http://r.example:80/api/x?token=secret"


@pytest.mark.parametrize(
    ("status", "location", "url", "secure"),
    [
        (301, "https://r.example/api/x?token=secret", HERE, "https://r.example"),
        (302, "https://r.example:443/api/x", HERE, "https://r.example"),
        (303, "HTTPS://R.Example:8443/api/x", HERE, "https://r.example:8443"),
        (307, "https://r.example", "http://r.example/", "https://r.example"),
        (308, "https://[::1]/a", "http://[::1]:80/a", "https://[::1]"),
        # The host as the client knows it: the proxy.
        (301, "https://proxy/api/x", HERE, "https://r.example"),
        (301, "https://proxy:8443/api/x", HERE, "https://r.example"),
        (301, "https://idp.example/api/x", HERE, None),
        (301, "https://r.example/login?next=/api/x", HERE, None),
        (301, "http://r.example/api/x", HERE, None),
        (301, "/api/x", HERE, None),
        (301, "//r.example/api/x", HERE, None),
        (301, "https://r.example/api/x", HERE.replace("http:", "https:"), None),
        (200, "https://r.example/api/x", HERE, None),
        (201, "https://r.example/api/x", HERE, None),
        (301, "", HERE, None),
        (301, "https://[", HERE, None),
        (301, "https://r.example:x/api/x", HERE, None),
    ],
)
def test_secure_url(status: int, location: str, url: str, secure: str | None) -> None:
    """Only a redirect to the same host and path counts; path and query are not repeated."""
    assert secure_url(status, location, url=url, names=("proxy",)) == secure


def test_error() -> None:
    """The error has MLflow's form and says what to do."""
    document = json.loads(error("https://r.example"))
    assert document["error_code"] == CODE
    assert "started with https://r.example as its upstream" in document["message"]
