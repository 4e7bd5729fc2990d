"""Error bodies: which ones are converted, and into what."""

import gzip
import json
import zlib

import pytest

from addon import errors

PAGE = b"<!doctype html><html><head><title>Bad   Gateway</title></head><body>x</body></html>"


def convert(body: bytes, **changes: object) -> object:
    arguments: dict[str, object] = {
        "status": 502,
        "code": "CODE",
        "path": "/mlflow/api/2.0/x",
        "content_type": "text/html",
        "encoding": "",
        "body": body,
        "whole": True,
    }
    converted = errors.convert(**(arguments | changes))  # type: ignore[arg-type]
    return None if converted is None else json.loads(converted)


def test_not_found() -> None:
    """A 404 names the path as the client sent it."""
    assert convert(PAGE, status=404, code="RESOURCE_NOT_FOUND") == {
        "error_code": "RESOURCE_NOT_FOUND",
        "message": "The requested resource was not found: /mlflow/api/2.0/x",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": PAGE}, "The server answered 502 (Bad Gateway): Bad Gateway"),
        # Without a title the first words count; markup, scripts and control characters do not.
        (
            {"body": b"<h1>Sorry &amp; bye</h1><script>x()</script><p>soon\x00\x1b[31m</p>"},
            "The server answered 502 (Bad Gateway): Sorry & bye soon [31m",
        ),
        ({"body": b"upstream connect error", "content_type": "text/plain"},
         "The server answered 502 (Bad Gateway): upstream connect error"),
        ({"body": b"<Error><Code>SlowDown</Code></Error>", "content_type": "application/xml"},
         "The server answered 502 (Bad Gateway): SlowDown"),
        ({"body": b""}, "The server answered 502 (Bad Gateway) without a message."),
        ({"body": b"", "status": 599},
         "The server answered 599 (Unknown status) without a message."),
        ({"body": gzip.compress(PAGE), "encoding": "gzip"},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        ({"body": zlib.compress(PAGE), "encoding": "deflate"},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        ({"body": zlib.compress(PAGE)[2:-4], "encoding": "deflate"},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        # Markup that the parser gives up on: what it has read so far counts.
        ({"body": b"<title>Bad Gateway</title><![x[ y ]]>"},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        ({"body": b"<p>Bad Gateway</p><![ x"},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        # Lies and cut bodies still give an answer.
        ({"body": PAGE, "encoding": "gzip"},
         "The server answered 502 (Bad Gateway) without a message."),
        ({"body": gzip.compress(PAGE)[:-20], "encoding": "gzip", "whole": False},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        ({"body": b"\xff\xfe", "encoding": "br"},
         "The server answered 502 (Bad Gateway) without a message."),
        ({"body": b"<title>F\xfcr</title>", "content_type": "text/html; charset=latin-1"},
         "The server answered 502 (Bad Gateway): Für"),
        ({"body": "<title>Für</title>".encode(), "content_type": "text/html; charset=nonsense"},
         "The server answered 502 (Bad Gateway): Für"),
        ({"body": b"<title>x</title>", "content_type": "text/html; charset=idna"},
         "The server answered 502 (Bad Gateway): x"),
        ({"body": b"<title>\xff</title>", "content_type": "text/html; charset=utf-8"},
         "The server answered 502 (Bad Gateway): \ufffd"),
    ],
)  # fmt: skip
def test_own_words_survive(changes: dict[str, object], message: str) -> None:
    """What the upstream wanted to say stands in the message, whatever it is wrapped in."""
    body = changes.pop("body")
    assert isinstance(body, bytes)
    assert convert(body, **changes) == {"error_code": "CODE", "message": message}


def test_message_is_capped() -> None:
    """A long page does not become a long message."""
    converted = convert(b"word " * 1000, content_type="text/plain")
    assert isinstance(converted, dict)
    assert len(converted["message"]) < 400
    assert converted["message"].endswith("…")


@pytest.mark.parametrize("path", ["/a\x00\x1b[0m", "/\udcff", "/\u2028"])
def test_hostile_paths_are_shown_safely(path: str) -> None:
    """No control character and no broken text of a path reaches a terminal."""
    converted = convert(PAGE, status=404, path=path)
    assert isinstance(converted, dict)
    shown = converted["message"].removeprefix("The requested resource was not found: ")
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (b'{"error_code": "X", "message": "m"}', "application/json", ""),
        (b"  [1]", "application/json; charset=utf-8", ""),
        (b'{"error_code": "X"}', "text/html", ""),
        (b'{"error_code": "X"}', "", ""),
        (gzip.compress(b'{"error_code": "X"}'), "application/json", "gzip"),
        (gzip.compress(b'{"error_code": "' + b"X" * 200_000 + b'"}'), "application/json", "gzip"),
        (b"compressed in a way that we cannot read", "application/json", "br"),
    ],
)
def test_json_passes(body: bytes, content_type: str, encoding: str) -> None:
    """JSON stays as it is, also where its label is wrong."""
    assert convert(body, content_type=content_type, encoding=encoding) is None


def test_a_cut_body_is_never_json() -> None:
    """What was dropped might have been anything, so the rest does not pass for a document."""
    assert convert(b"{}", content_type="application/json", whole=False) is not None


@pytest.mark.parametrize("body", [b"<html>", b"", b"{broken", b"[" * 100_000])
def test_what_only_claims_to_be_json_is_converted(body: bytes) -> None:
    """A Content-Type of JSON does not make a page JSON."""
    assert convert(body, content_type="application/json") is not None


@pytest.mark.parametrize(
    ("status", "content_type", "expected"),
    [
        (404, "text/html", True),
        (400, "", True),
        (500, "application/json", True),
        (399, "text/html", False),
        (200, "text/html", False),
        (503, "application/x-protobuf", False),
        (503, "application/grpc+proto", False),
        (500, "text/event-stream; charset=utf-8", False),
    ],
)
def test_may_need_conversion(status: int, content_type: str, expected: bool) -> None:
    """Errors are looked at, except in formats that have errors of their own."""
    assert errors.may_need_conversion(status, content_type) is expected


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
    assert errors.is_json(content_type) is expected


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("[Errno 111] Connect call failed ('10.0.0.1', 9)", "it refused the connection"),
        ("[Errno -2] Name or service not known", "its name is unknown"),
        ("[Errno -3] Temporary failure in name resolution", "its name is unknown"),
        (
            "Certificate verify failed: self-signed certificate",
            "its TLS certificate was not accepted",
        ),
        ("The remote server does not speak TLS.", "the TLS handshake failed"),
        ("[Errno 110] Connect call failed ('10.0.0.1', 9)", "it did not answer in time"),
        ("[Errno 113] Connect call failed ('10.0.0.1', 9)", "there is no route to it"),
        ("server closed connection", "it closed the connection without an answer"),
        ("[Errno 104] Connection reset by peer", "it closed the connection without an answer"),
        ("Cannot parse HTTP response: bad", "its answer was not valid HTTP"),
        ("unexpected server response: b'Set-Cookie: secret'", "its answer was not valid HTTP"),
        ("something else", "the connection failed"),
    ],
)
def test_connection_problem(message: str, sentence: str) -> None:
    """mitmproxy's messages become plain words, without addresses and bytes of the peer."""
    assert errors.connection_problem(message) == sentence


def test_own_reply_does_not_pass_the_message_on() -> None:
    """An answer of the proxy's own says that it is, and nothing of what it knows."""
    for status in (400, 413, 502):
        reply = errors.own_reply(status, "CODE", "secret 10.0.0.1")
        content = json.loads(reply.body)
        assert reply.status == status
        assert content["source"] == "proxy"
        assert content["error_code"] == "CODE"
        assert "secret" not in content["message"]
        assert "10.0.0.1" not in content["message"]
