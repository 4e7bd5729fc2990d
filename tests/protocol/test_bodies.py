"""What a body is and says."""

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
    """JSON and the formats built on it."""
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
    """The labels of web pages."""
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
    """A label of HTML does not make a page; a first angle bracket does."""
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
    """gzip and deflate in all their forms; lies and what we do not read give nothing."""
    expected = None if encoding == "br" or (encoding == "gzip" and body == TITLE) else TITLE
    assert bodies.decode(body, encoding) == (expected and bodies.Decoded(expected, True))


@pytest.mark.parametrize(("cut", "whole"), [(0, True), (1, False), (20, False)])
def test_decode_tells_what_is_cut(cut: int, whole: bool) -> None:
    """What has no end is shown as far as it goes, and known for what it is."""
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
    """A gzip file may have several members; what follows them is ignored, as clients do."""
    assert bodies.decode(body, "gzip") == expected


def test_members_are_bounded_together() -> None:
    """Many members cannot grow beyond all bounds, either."""
    bomb = gzip.compress(bytes(bodies.DECODED_LIMIT // 2 + 1)) * 50
    decoded = bodies.decode(bomb, "gzip")
    assert decoded is not None
    assert len(decoded.content) == bodies.DECODED_LIMIT
    assert not decoded.whole


def test_decode_is_bounded() -> None:
    """A small body cannot grow beyond all bounds."""
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
        # Python would read these and write what is no JSON.
        (b'{"a": NaN}', "application/json", None),
        (b'{"a": 1e999}', "application/json", None),
        (b'{"a": -Infinity}', "application/json", None),
    ],
)  # fmt: skip
def test_document(body: bytes, content_type: str, expected: bodies.Document | None) -> None:
    """What is JSON, and whether a client can read it as it is labelled."""
    assert bodies.document(body, content_type) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (TITLE, "text/html", "Bad Gateway"),
        (TITLE + b"<svg><title>logo</title></svg>", "text/html", "Bad Gateway"),
        (b"<title> </title><h1>Sorry</h1>", "text/html", "Sorry"),
        # Without a title the first words count; markup, scripts and control characters do not.
        (b"<h1>Sorry &amp; bye</h1><script>x()</script><p>soon\x00\x1b[31m</p>", "text/html",
         "Sorry & bye soon [31m"),
        (b"upstream connect error", "text/plain", "upstream connect error"),
        (b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code><Message>It is gone.</Message>"
         b"<Key>secret</Key><RequestId>17</RequestId></Error>", "application/xml",
         "NoSuchKey: It is gone."),
        (b"<ErrorResponse><Error><Code>SlowDown</Code></Error></ErrorResponse>", "text/xml",
         "SlowDown"),
        (b"<error>no fields</error>", "text/xml", "no fields"),
        (b"<p>Use <code>PUT</code></p>", "text/html", "Use PUT"),
        (b"", "text/html", ""),
        # Odd and broken markup: what is there so far counts.
        (b"<title>Bad Gateway</title><![x[ y ]]>", "text/html", "Bad Gateway"),
        (b"<p>Bad Gateway</p><![ x", "text/html", "Bad Gateway"),
        (b"<p>Bad Gateway</p><!-- x", "text/html", "Bad Gateway"),
        (b"<p>Bad Gateway</p><script>x()", "text/html", "Bad Gateway"),
        (b"<p>Bad <![CDATA[Gate<way]]></p>", "text/xml", "Bad Gate<way"),
        (b"<p>Bad</p><![CDATA[Gateway", "text/xml", "Bad"),
        (b"<p>a < b <3 &lt;3</p>", "text/html", "a < b < 3 <3"),
        (b"Bad<br>Gateway<STYLE>p</style >!", "text/html", "Bad Gateway !"),
        (b"<title>Bad Gateway", "text/html", "Bad Gateway"),
        (b"no <markup> here", "text/plain", "no <markup> here"),
        (b"<!doctype html><!-- a > b --><html><TITLE lang=en>Bad\nGateway</TITLE>", "",
         "Bad Gateway"),
        (b"<title>F\xfcr</title>", "text/html; charset=latin-1", "Für"),
        ("<title>Für</title>".encode(), "text/html; charset=nonsense", "Für"),
        (b"<title>x</title>", "text/html; charset=idna", "x"),
        (b"<title>x</title>", "text/html; charset=hex", "x"),
        (b"<title>\xff</title>", "text/html; charset=utf-8", "\ufffd"),
        (b"<title>\xe2\x80\xa8a</title>", "text/html", "a"),
    ],
)  # fmt: skip
def test_words(body: bytes, content_type: str, expected: str) -> None:
    """What the upstream wanted to say, whatever it is wrapped in."""
    assert bodies.words(body, content_type) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"message": "m", "error": "e"}, "m"),
        ({"Message": "User is not authorized"}, "User is not authorized"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body", "name"], "msg": "field required", "type": "x"}]},
         "body.name: field required"),
        ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "a; b"),
        ({"type": "about:blank", "title": "Out of credit", "status": 403, "detail": "You have 30"},
         "Out of credit: You have 30"),
        ({"error": "invalid_token", "error_description": "The token expired"}, "The token expired"),
        ({"error": {"code": 403, "message": "quota", "status": "X"}}, "quota"),
        ({"errors": [{"message": "first"}, {"message": "second"}]}, "first; second"),
        ({"fault": {"faultstring": "Invalid key", "detail": {}}}, "Invalid key"),
        ({"kind": "Status", "status": "Failure", "message": "pods not found"}, "pods not found"),
        ({"message": None, "detail": "d"}, "d"),
        ({"message": "", "detail": "d"}, "d"),
        ({"foo": 1}, '{"foo": 1}'),
        ([{"detail": "d"}], "d"),
        ("text", "text"),
        (["a\x00b", "\x1b[31m"], "a b; [31m"),
        (5, "5"),
        (False, "false"),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)  # fmt: skip
def test_json_words(content: object, expected: str) -> None:
    """What JSON of all the shapes that gateways and frameworks use wants to say."""
    assert bodies.json_words(content) == expected


def test_words_are_capped() -> None:
    """A long page does not become a long message."""
    for said in (
        bodies.words(b"word " * 1000, "text/plain"),
        bodies.words(b"<title>" + b"word " * 100_000, "text/html"),
        bodies.json_words({"message": "word " * 1000}),
    ):
        assert len(said) == bodies.WORDS_LIMIT
        assert said.endswith("…")
