"""Credentials that the proxy adds: for which requests, from which sources, never in messages."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from addon.routing.credentials import AGAIN, Credentials
from addon.rules.model import Upstream

ADDED = b"Bearer the-token"


def credentials(*entries: dict[str, str], now: list[float] | None = None) -> Credentials:
    clock = now if now is not None else [0.0]
    upstream = Upstream.model_validate({"credentials": [*entries]})
    environment = {"TOKEN": "the-token", "LOGIN": "robot:back:door", "EMPTY": "", "TWO": "a b"}
    return Credentials(upstream, environment, clock=lambda: clock[0])


def to_add(found: Credentials, **changes: Any) -> bytes:
    host, port = changes.pop("host", "registry.example"), changes.pop("port", 443)
    request = {"method": "GET", "fields": {}, "authority": "proxy:8080", "origins": []}
    return found.to_add(host, port, **(request | changes))


TOKEN = {"host": "registry.example", "env": "TOKEN"}
OTHER_SITE = {b"origin": b"https://evil.example"}


@pytest.mark.parametrize(
    ("entry", "request_", "added"),
    [
        (TOKEN, {}, ADDED),
        (TOKEN, {"host": "REGISTRY.example."}, ADDED),
        (TOKEN, {"host": "other.example"}, b""),
        (TOKEN, {"host": "registry.example.evil.example"}, b""),
        (TOKEN | {"host": "registry.example:8443"}, {}, b""),
        (TOKEN | {"host": "registry.example:8443"}, {"port": 8443}, ADDED),
        (TOKEN | {"env": "LOGIN", "scheme": "basic"}, {}, b"Basic cm9ib3Q6YmFjazpkb29y"),
        # A client's own header wins, whatever its value.
        (TOKEN, {"fields": {b"authorization": b"Bearer mine"}}, b""),
        (TOKEN, {"fields": {b"authorization": b""}}, b""),
        # A server might return the request, or do something unknown.
        (TOKEN, {"method": "TRACE"}, b""),
        (TOKEN, {"method": "TRACK"}, b""),
        (TOKEN, {"method": "get"}, b""),
        (TOKEN, {"method": "DELETE"}, ADDED),
        # Pages of other sites cannot change anything with them.
        (TOKEN, {"method": "POST", "fields": OTHER_SITE}, b""),
        (TOKEN, {"method": "POST", "fields": OTHER_SITE, "origins": ["*"]}, ADDED),
        (TOKEN, {"method": "POST", "fields": {b"origin": b"http://proxy:8080"}}, ADDED),
    ],
)
def test_requests_that_get_credentials(
    entry: dict[str, str], request_: dict[str, Any], added: bytes
) -> None:
    """Credentials are added to requests for the listed host without a header of their own."""
    assert to_add(credentials(entry), **request_) == added


def test_the_first_entry_counts() -> None:
    """The first matching entry applies; an entry with a port applies only to that port."""
    found = credentials(
        TOKEN | {"host": "registry.example:8443"},
        {"host": "registry.example", "env": "LOGIN", "scheme": "basic"},
    )
    assert to_add(found, port=8443) == ADDED
    assert to_add(found).startswith(b"Basic ")
    assert to_add(credentials()) == b""


@pytest.mark.parametrize(
    ("content", "scheme", "problem"),
    [
        (b"", "bearer", "it is empty"),
        (b"\n", "bearer", "it is empty"),
        (b"canary canary", "bearer", "expected one token"),
        (b"Bearer canary", "bearer", "expected one token"),
        (b"canary\ncanary\n", "bearer", "expected one token"),
        (b"canary\xff", "bearer", "expected one token"),
        (b"canary" * 9999, "bearer", "expected 16 KiB at most"),
        (b"canary", "basic", "expected USER:PASSWORD"),
        (b"canary:x\r\ny", "basic", "expected USER:PASSWORD"),
    ],
)
def test_unusable_secrets(tmp_path: Path, content: bytes, scheme: str, problem: str) -> None:
    """An unusable secret is reported with its place, but without its content."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="credentials") as raised:
        credentials(TOKEN, {"host": "other", "scheme": scheme, "file": str(file)})
    assert str(raised.value).startswith(f"upstream.credentials[1].file: '{file}': {problem}")
    assert "canary" not in str(raised.value).replace(str(file), "")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"env": "NOT_SET"}, "env: 'NOT_SET': this environment variable is not set"),
        ({"env": "EMPTY"}, "env: 'EMPTY': it is empty"),
        ({"file": "/no/such/file"}, "file: '/no/such/file': cannot be read: No such file"),
        ({"file": "/dev"}, "file: '/dev': expected a regular file"),
        ({"file": "/dev/null"}, "file: '/dev/null': expected a regular file"),
    ],
)
def test_unusable_sources(entry: dict[str, str], message: str) -> None:
    """An unusable source is reported with its key."""
    with pytest.raises(ValueError, match="credentials") as raised:
        credentials({"host": "registry.example"} | entry)
    assert str(raised.value).startswith(f"upstream.credentials[0].{message}")


def test_a_file_that_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed file is read again, also through a link; if it is useless, the old secret stays."""
    caplog.set_level(logging.WARNING)
    now, link = [0.0], tmp_path / "link"

    def put(content: str) -> None:
        """Replace the file as Kubernetes does with a Secret."""
        folder = tmp_path / f"data{now[0]}"
        folder.mkdir()
        (folder / "token").write_text(content)
        new = tmp_path / "new"
        new.symlink_to(folder)
        new.replace(link)

    put("first\n")
    found = credentials({"host": "registry.example", "file": str(link / "token")}, now=now)
    assert to_add(found) == b"Bearer first"
    put_at = {AGAIN: ("second\r\n", b"Bearer second"), 2 * AGAIN: ("", b"Bearer second")}
    for seconds, (content, added) in put_at.items():
        now[0] = seconds - 0.001
        assert to_add(found) != b"Bearer " + content.strip().encode()
        now[0] = seconds
        put(content)
        assert to_add(found) == added
    now[0] = 3 * AGAIN
    assert to_add(found) == b"Bearer second"
    link.unlink()
    now[0] = 4 * AGAIN
    assert to_add(found) == b"Bearer second"
    now[0] = 5 * AGAIN
    put("third")
    assert to_add(found) == b"Bearer third"
    said = [record.getMessage() for record in caplog.records]
    file = link / "token"
    assert said == [
        f"credentials for registry.example were read again: {file}",
        f"the old credentials for registry.example stay: {file}: it is empty",
        f"the old credentials for registry.example stay: {file}: "
        "cannot be read: No such file or directory",
        f"credentials for registry.example were read again: {file}",
    ]
