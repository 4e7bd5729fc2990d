"""Formats, encodings and messages of bodies."""

import gzip
import zlib

import pytest

from addon.protocol import bodies

TITLE = b"<!doctype html><html><head><title>Bad   Gateway</title></head><body>x</body></html>"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("application/json-seq", False),
        ("text/json", False),
        ("", False),
    ],
)
def test_is_json(content_type: str, expected: bool) -> None:
    """JSON and formats based on it are recognized."""
    assert bodies.is_json(content_type) is expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html", True),
        ("TEXT/HTML ;charset=utf-8", True),
        ("application/xhtml+xml", True),
        ("text/htmlx", False),
        ("application/xml", False),
        ("", False),
    ],
)
def test_is_html(content_type: str, expected: bool) -> None:
    """The content types of web pages are recognized."""
    assert bodies.is_html(content_type) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html>", True),
        (b"\r\n  <!doctype html>", True),
        (b"\xef\xbb\xbf<html>", True),
        (b"3.17.2", False),
        (b'{"a": "<html>"}', False),
        (b"", False),
    ],
)
def test_is_markup(body: bytes, expected: bool) -> None:
    """A body counts as markup if it begins with an angle bracket, whatever its content type."""
    assert bodies.is_markup(body) is expected


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", TITLE),
        ("identity", TITLE),
        (" GZIP ", gzip.compress(TITLE)),
        ("x-gzip", gzip.compress(TITLE)),
        ("deflate", zlib.compress(TITLE)),
        ("deflate", zlib.compress(TITLE)[2:-4]),
        ("gzip", TITLE),
        ("br", b"\xff\xfe"),
    ],
)
def test_decode(encoding: str, body: bytes) -> None:
    """gzip and deflate are decoded in all forms; wrong or unknown encodings give None."""
    expected = None if encoding == "br" or (encoding == "gzip" and body == TITLE) else TITLE
    assert bodies.decode(body, encoding) == (expected and bodies.Decoded(expected, True))


@pytest.mark.parametrize(("cut", "whole"), [(0, True), (1, False), (20, False)])
def test_decode_reports_cut_bodies(cut: int, whole: bool) -> None:
    """A cut body is decoded as far as it goes and reported as incomplete."""
    body = gzip.compress(TITLE * 10)
    decoded = bodies.decode(body[: len(body) - cut], "gzip")
    assert decoded is not None
    assert decoded.whole is whole
    assert TITLE.startswith(decoded.content[:10])


MEMBERS = gzip.compress(TITLE[:40]) + gzip.compress(b"") + gzip.compress(TITLE[40:])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (MEMBERS, bodies.Decoded(TITLE, True)),
        (MEMBERS + b"\0", bodies.Decoded(TITLE, True)),
        (MEMBERS + b"padding", bodies.Decoded(TITLE, True)),
        (MEMBERS + b"\x1f\x8b is no member", bodies.Decoded(TITLE, True)),
        (MEMBERS[:-1], bodies.Decoded(TITLE, False)),
        (MEMBERS + gzip.compress(b"more")[:1], bodies.Decoded(TITLE, False)),
        (MEMBERS + gzip.compress(b"more")[:10], bodies.Decoded(TITLE, False)),
        (gzip.compress(b"") * 10_000 + MEMBERS, bodies.Decoded(TITLE, True)),
    ],
)
def test_decode_members(body: bytes, expected: bodies.Decoded) -> None:
    """A gzip file may have several members; bytes after them are ignored, as clients do."""
    assert bodies.decode(body, "gzip") == expected


def test_members_are_bounded_together() -> None:
    """The decoded size of many members together is limited."""
    bomb = gzip.compress(bytes(bodies.DECODED_LIMIT // 2 + 1)) * 50
    decoded = bodies.decode(bomb, "gzip")
    assert decoded is not None
    assert len(decoded.content) == bodies.DECODED_LIMIT
    assert not decoded.whole


def test_decode_is_bounded() -> None:
    """The decoded size of a body is limited."""
    bomb = gzip.compress(bytes(50 * 2**20))
    decoded = bodies.decode(bomb, "gzip")
    assert decoded is not None
    assert len(decoded.content) == bodies.DECODED_LIMIT
    assert not decoded.whole


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a": 1}', "application/json", bodies.Document({"a": 1}, True)),
        (b" [1]", "", bodies.Document([1], True)),
        ('{"ü": 1}'.encode("latin-1"), "application/json; charset=latin-1",
         bodies.Document({"ü": 1}, True)),
        (b'\xef\xbb\xbf{"a": 1}', "application/json", bodies.Document({"a": 1}, False)),
        ('{"a": 1}'.encode("utf-16"), "application/json", bodies.Document({"a": 1}, False)),
        (b'{"a": 1}', "application/json; charset=nonsense", bodies.Document({"a": 1}, False)),
        (b"", "application/json", None),
        (b"{broken", "application/json", None),
        (b"<html>", "application/json", None),
        (b"[" * 100_000, "application/json", None),
        # Python would read these and write invalid JSON.
        (b'{"a": NaN}', "application/json", None),
        (b'{"a": 1e999}', "application/json", None),
        (b'{"a": -Infinity}', "application/json", None),
    ],
)  # fmt: skip
def test_document(body: bytes, content_type: str, expected: bodies.Document | None) -> None:
    """A document says whether a body is JSON, and whether clients can read it as labelled."""
    assert bodies.document(body, content_type) == expected
