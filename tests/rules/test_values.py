"""The types of values in the rules: what is accepted, and what it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from addon.rules import values


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (values.Size, 0, 0),
        (values.Size, "7", 7),
        (values.Size, "7B", 7),
        (values.Size, "512 KiB", 512 * 2**10),
        (values.Size, "3MiB", 3 * 2**20),
        (values.Size, "1GiB", 2**30),
        (values.Host, "A.Example:8443", "a.example:8443"),
        (values.Host, "[::1]:5000", "[::1]:5000"),
        (values.PathPrefix, "/", ""),
        (values.PathPrefix, "/mlflow/", "/mlflow"),
        (values.PathPrefix, "/a.b/c_d/~e", "/a.b/c_d/~e"),
        (values.PathPrefix, "", ""),
        (values.RequestPath, "/a?b=%20", "/a?b=%20"),
        (values.OriginName, "*", "*"),
        (values.OriginName, "https://lab.example:8443", "https://lab.example:8443"),
        (values.OriginName, "http://[::1]:8080", "http://[::1]:8080"),
        (values.Status, 404, "404"),
        (values.Status, "5xx", "5xx"),
        (values.FilePath, None, None),
        (values.FilePath, "/run/secrets/token", "/run/secrets/token"),
        (values.FilterExpression, None, None),
        (values.FilterExpression, "~m PUT", "~m PUT"),
    ],
)
def test_valid_values(kind: Any, value: object, expected: object) -> None:
    """A valid value is converted to its plain form."""
    assert TypeAdapter(kind).validate_python(value) == expected


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (values.Size, (True, -1, 1.5, None, "", "1KB", "1 kib", "-1", "1  KiB", "MiB")),
        (values.Host, ("", "a b", "https://a", "a/b", "a:", "::1", "user@a")),
        (values.PathPrefix, ("a", "//a", "/a//b", "/a/../b", "/./a", "/a%2e", "/a b", "/a//")),
        (values.RequestPath, ("", "a", "/a b", "/a#b", "/\u00e9", "/a\n")),
        (values.OriginName, ("", "lab.example", "https://", "https://a/", "https://A.example")),
        (values.OriginName, ("http://a:80", "https://a:443", "ftp://a", "null")),
        (values.Status, (True, 200, 399, 600, 404.0, "3xx", "4XX", "40", None)),
        (values.FilePath, ("token", "./token", "", "/a\nb")),
        (values.Regex, ("(", "a{999999999999}", 5, None)),
        (values.Network, ("10.0.0.1/8", "a", 10, None)),
        (values.FilterExpression, ("~q ~m", "~bq x")),
    ],
)
def test_refused(kind: Any, wrong: tuple[object, ...]) -> None:
    """A value that could mean something else, or nothing, is refused."""
    for value in wrong:
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("status", "listed"),
    [(404, True), (403, False), (500, True), (599, True), (600, False), (50, False)],
)
def test_matches_status(status: int, listed: bool) -> None:
    """A status is listed by itself or by its class."""
    assert values.matches_status(status, ["404", "5xx"]) is listed


@pytest.mark.parametrize(
    ("path", "plain"),
    [("", True), ("/a", True), ("/a/b", True), ("/", False), ("a", False), ("/a/", False)],
)
def test_is_plain_path(path: str, plain: bool) -> None:
    """A plain path has a slash before each segment, and no empty segment."""
    assert values.is_plain_path(path) is plain
