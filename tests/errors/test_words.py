"""The messages of upstream errors, in plain words."""

import pytest

from addon.errors.words import json_words, page_words
from addon.protocol import bodies

TITLE = b"<!doctype html><html><head><title>Bad   Gateway</title></head><body>x</body></html>"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (TITLE, "text/html", "Bad Gateway"),
        (TITLE + b"<svg><title>logo</title></svg>", "text/html", "Bad Gateway"),
        (b"<title> </title><h1>Sorry</h1>", "text/html", "Sorry"),
        # Without a title the first words count, without markup, scripts and control characters.
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
        # Odd and broken markup: the text so far counts.
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
    """The upstream's message is found in any kind of body."""
    assert page_words(body, content_type) == expected


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
    """The message is found in JSON of all shapes that gateways and frameworks use."""
    assert json_words(content) == expected


def test_words_are_capped() -> None:
    """A long page does not become a long message."""
    for said in (
        page_words(b"word " * 1000, "text/plain"),
        page_words(b"<title>" + b"word " * 100_000, "text/html"),
        json_words({"message": "word " * 1000}),
    ):
        assert len(said) == bodies.WORDS_LIMIT
        assert said.endswith("…")
