"""A table of upstream answers, and what the client gets for each.

A real server on a socket answers with exactly the bytes of a row, behind a real mitmdump.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lab
import pytest
from support.client import http2, request
from support.fixtures import StartProxy
from support.upstream import Received, Upstream, response

API = "/mlflow/api/2.0/mlflow/experiments/nope"
FILE = "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/model.pkl"
HTML_FILE = "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/report.html"
LIST = "/api/2.0/mlflow-artifacts/artifacts?path=a"
CREATE = "/api/2.0/mlflow-artifacts/mpu/create/1/a/artifacts"
PRESIGNED = "/api/2.0/mlflow-artifacts/presigned/1/a/artifacts/model.pkl"

TRACES = "/mlflow/v1/traces"
CHAT = "/gateway/mlflow/v1/chat/completions"

HTML = "text/html; charset=utf-8"
JSON = "application/json"
NGINX = (
    b"<html>\r\n<head><title>%s</title></head>\r\n<body><center><h1>%s</h1></center></body></html>"
)
NATIVE = b'{"error_code":"INVALID_PARAMETER_VALUE",  "message":"Bad name \xc3\xbc"}\n'
# From a server that moves files only by presigned URLs (MLflow 3.18).
PRESIGNED_ONLY = (
    b'{"error_code": "PERMISSION_DENIED", "message": "This server requires artifacts to be '
    b"uploaded directly to storage. Upgrade your MLflow client to match this server (MLflow "
    b'3.18.0) or a newer version.", "artifacts_presigned_only": true}'
)
LONG_NATIVE = b'{"error_code": "INTERNAL_ERROR", "message": "' + b"x" * 700_000 + b'"}'
LOGIN = b"<!doctype html><html><head><title>Sign in to Example</title></head><form></form></html>"
GZIP = ("Content-Encoding", "gzip")
MULTIPART = "Multipart upload is not supported for the current artifact repository"


def nginx(status: str) -> bytes:
    return NGINX.replace(b"%s", status.encode())


def said(status: str, words: str = "") -> str:
    code, _, phrase = status.partition(" ")
    return (
        f"The server answered {code} ({phrase}){f': {words}' if words else ' without a message.'}"
    )


@dataclass(frozen=True)
class Row:
    """An answer of the upstream, and what the client gets for it."""

    answer: bytes
    status: int
    """Status that the client gets."""
    code: str = ""
    """error_code that the client gets; "" if the answer passes byte for byte."""
    message: str | None = ""
    """Its whole message, or only the beginning if it ends with …; None for any."""
    content: dict[str, Any] = field(default_factory=dict)
    """Other fields of the document."""
    target: str = API
    method: str = "GET"
    accept: str = "*/*"


NOT_FOUND = f"The requested resource was not found: {API}"
DENIED, UNAVAILABLE = "PERMISSION_DENIED", "TEMPORARILY_UNAVAILABLE"
IS_LOGIN = "The server asks for a login at https://idp.example/oauth2/authorize (it answered …"
IS_PAGE = "The server answered 200 with a web page (Sign in to Example) in place of JSON…"


def error(status: str, kind: str, body: bytes, *headers: tuple[str, str], **how: Any) -> bytes:
    return response(status, body, ("Content-Type", kind), *headers, **how)


def redirect(status: str, location: str) -> bytes:
    return error(status, HTML, b"<a>moved</a>", ("Location", location))


CACHED = (
    ("Cache-Control", "public, max-age=600"),
    *(("Age", "7"), ("ETag", '"x"'), ("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")),
    *(("Last-Modified", "Fri, 01 Jan 2021 00:00:00 GMT"), ("Pragma", "cache")),
    *(("CDN-Cache-Control", "max-age=600"), ("Surrogate-Control", "max-age=600")),
)
IDP = "https://idp.example/oauth2/authorize?client_id=x&state=secret"
PROBLEM = {
    "type": "https://example/credit",
    "title": "No credit",
    "detail": "30 left",
    "status": 403,
}
SPRING = {"timestamp": 1, "status": 500, "error": "Internal Server Error", "path": "/x"}
FASTAPI = {"detail": [{"loc": ["body", "name"], "msg": "field required", "type": "missing"}]}


def foreign(status: str, content: Any, code: str, message: str, **more: Any) -> Row:
    """Return a row for a JSON error in a form other than MLflow's."""
    kept = content if isinstance(content, dict) else {"upstream": content}
    return Row(
        error(status, JSON, json.dumps(content).encode()),
        int(status[:3]), code, message, kept, **more,
    )  # fmt: skip


def no_answer(answer: bytes) -> Row:
    """Return a row for an answer that is cut off or is no HTTP answer."""
    message = "The registry behind this proxy cannot be used: it…"
    return Row(answer, 502, UNAVAILABLE, message, {"source": "proxy"})


ROWS = {
    # HTML in every framing and encoding.
    "nginx 404": Row(error("404 Not Found", HTML, nginx("404 Not Found")),
        404, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "chunked": Row(error("404 Not Found", HTML, nginx("404 Not Found"), framing="chunked"),
        404, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "until the end": Row(error("404 Not Found", HTML, nginx("404 Not Found"), framing="close"),
        404, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "HTTP/1.0": Row(b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\n\r\n" + nginx("404"),
        404, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "404 with a reason": Row(error("404 Not Found", HTML, nginx("No such workspace")),
        404, "RESOURCE_NOT_FOUND", f"{NOT_FOUND}. {said('404 Not Found', 'No such workspace')}"),
    "nginx 403": Row(error("403 Forbidden", HTML, nginx("403 Forbidden")),
        403, DENIED, said("403 Forbidden", "403 Forbidden")),
    "nginx 405": Row(error("405 Not Allowed", HTML, nginx("405 Not Allowed")),
        405, "ENDPOINT_NOT_FOUND", said("405 Method Not Allowed", "405 Not Allowed")),
    "nginx 413": Row(error("413 Too Large", HTML, nginx("413 Request Entity Too Large")),
        413, "RESOURCE_LIMIT_EXCEEDED", "The server answered 413 (…", method="PUT", target=FILE),
    "429": Row(error("429 Too Many Requests", HTML, nginx("Slow down"), ("Retry-After", "9")),
        429, "REQUEST_LIMIT_EXCEEDED", said("429 Too Many Requests", "Slow down")),
    "408": Row(error("408 Request Timeout", HTML, b"<h1>Too slow</h1>"),
        408, "DEADLINE_EXCEEDED", said("408 Request Timeout", "Too slow")),
    "Flask 500": Row(error("500 INTERNAL SERVER ERROR", HTML, nginx("500 Internal Server Error")),
        500, "INTERNAL_ERROR", said("500 Internal Server Error", "500 Internal Server Error")),
    "nginx 502": Row(error("502 Bad Gateway", HTML, nginx("502 Bad Gateway")),
        502, UNAVAILABLE, said("502 Bad Gateway", "502 Bad Gateway")),
    "504": Row(error("504 Gateway Timeout", HTML, nginx("504 Gateway Time-out")),
        504, "DEADLINE_EXCEEDED", said("504 Gateway Timeout", "504 Gateway Time-out")),
    "maintenance": Row(error("503 Service Unavailable", HTML, nginx("Back at noon"),
        framing="close"), 503, UNAVAILABLE, said("503 Service Unavailable", "Back at noon")),
    "409": Row(error("409 Conflict", HTML, nginx("Busy")),
        409, "RESOURCE_CONFLICT", said("409 Conflict", "Busy")),
    "501": Row(error("501 Not Implemented", HTML, nginx("No")),
        501, "NOT_IMPLEMENTED", said("501 Not Implemented", "No")),
    "418": Row(error("418 Teapot", HTML, nginx("Tea")),
        418, "BAD_REQUEST", "The server answered 418…"),
    "599": Row(error("599 Odd", HTML, nginx("Odd")),
        599, "INTERNAL_ERROR", said("599 Unknown status", "Odd")),
    "request id": Row(error("500 Oops", HTML, nginx("Oops"), ("X-Amzn-RequestId", "1-abc")),
        500, "INTERNAL_ERROR", said("500 Internal Server Error", "Oops") + " (request id 1-abc)"),
    "gzip": Row(error("403 Forbidden", HTML, gzip.compress(nginx("Stop")), GZIP),
        403, DENIED, said("403 Forbidden", "Stop")),
    "deflate": Row(error("403 Forbidden", HTML, zlib.compress(nginx("Stop")),
        ("Content-Encoding", "deflate")), 403, DENIED, said("403 Forbidden", "Stop")),
    "false gzip": Row(error("403 Forbidden", HTML, nginx("Stop"), GZIP),
        403, DENIED, said("403 Forbidden")),
    "brotli": Row(error("403 Forbidden", HTML, b"\x0b\x02\x80", ("Content-Encoding", "br")),
        403, DENIED, said("403 Forbidden")),
    "false charset": Row(error("403 Forbidden", "text/html; charset=nope", nginx("Halt")),
        403, DENIED, said("403 Forbidden", "Halt")),
    "latin-1": Row(error("403 Forbidden", "text/html; charset=latin-1", nginx("Zur\u00fcck")
        .decode().encode("latin-1")), 403, DENIED, said("403 Forbidden", "Zur\u00fcck")),
    "entity headers": Row(error("403 Forbidden", HTML, nginx("Stop"), ("ETag", "x"),
        ("Content-Range", "bytes 1-2/3")), 403, DENIED, said("403 Forbidden", "Stop")),
    "no content type": Row(response("403 Forbidden", nginx("Stop")),
        403, DENIED, said("403 Forbidden", "Stop")),
    "binary label": Row(error("403 Forbidden", "application/octet-stream", nginx("Stop")),
        403, DENIED, said("403 Forbidden", "Stop")),
    "label of JSON": Row(error("403 Forbidden", JSON, nginx("Stop")),
        403, DENIED, said("403 Forbidden", "Stop")),
    "control characters": Row(error("403 Forbidden", HTML, nginx("\x1b[31mStop\x00\u2028!")),
        403, DENIED, said("403 Forbidden", "[31mStop !")),
    "long page": Row(error("403 Forbidden", HTML, nginx("Stop") * 20_000, framing="chunked"),
        403, DENIED, said("403 Forbidden", "Stop…")),
    "long title": Row(error("403 Forbidden", HTML, nginx("word " * 10_000)),
        403, DENIED, said("403 Forbidden", "word word …")),
    "empty 404": Row(response("404 Not Found", b""), 404, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "empty 503": Row(response("503 Service Unavailable", b"", framing="close"),
        503, UNAVAILABLE, said("503 Service Unavailable")),
    "empty JSON": Row(error("500 Oops", JSON, b""),
        500, "INTERNAL_ERROR", said("500 Internal Server Error")),
    # XML of object stores and CDNs, plain text of load balancers.
    "S3": Row(error("404 Not Found", "application/xml", b"<?xml version='1.0'?>\n<Error>"
        b"<Code>NoSuchKey</Code><Message>The key does not exist.</Message><Key>a</Key></Error>",
        ("x-amz-request-id", "5B1")), 404, "RESOURCE_NOT_FOUND",
        f"The requested resource was not found: {FILE}. "
        + said("404 Not Found", "NoSuchKey: The key does not exist.") + " (request id 5B1)",
        target=FILE),
    "Azure": Row(error("403 Forbidden", "application/xml", b"\xef\xbb\xbf<?xml version='1.0'?>"
        b"<Error><Code>AuthenticationFailed</Code><Message>Expired.\nTime:1</Message></Error>"),
        403, DENIED, said("403 Forbidden", "AuthenticationFailed: Expired. Time:1"),
        target=FILE),
    "S3 slow down": Row(error("503 Slow Down", "text/xml", b"<Error><Code>SlowDown</Code></Error>",
        framing="chunked"), 503, UNAVAILABLE, said("503 Service Unavailable", "SlowDown")),
    "Envoy": Row(error("503 Service Unavailable", "text/plain", b"upstream connect error or "
        b"disconnect/reset before headers. reset reason: connection timeout"), 503, UNAVAILABLE,
        said("503 Service Unavailable", "upstream connect error or disconnect/reset before "
             "headers. reset reason: connection timeout")),
    "no healthy upstream": Row(error("503 Service Unavailable", "text/plain",
        b"no healthy upstream"), 503, UNAVAILABLE,
        said("503 Service Unavailable", "no healthy upstream")),
    "Go 404": Row(error("404 Not Found", "text/plain; charset=utf-8", b"404 page not found\n"),
        404, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "foreign Host": Row(error("403 Forbidden", "text/plain", b"Invalid Host header"),
        403, DENIED, said("403 Forbidden", "Invalid Host header")),
    # JSON: MLflow's own errors pass unchanged, other forms keep their content.
    "MLflow": Row(error("400 Bad Request", JSON, NATIVE), 400),
    "MLflow, presigned alone": Row(error("403 Forbidden", JSON, PRESIGNED_ONLY), 403, target=FILE),
    "MLflow, presigned alone, upload": Row(error("403 Forbidden", JSON, PRESIGNED_ONLY),
        403, target=FILE, method="PUT"),
    "MLflow, presigned alone, multipart": Row(error("403 Forbidden", JSON, PRESIGNED_ONLY),
        403, target=CREATE, method="POST"),
    "MLflow chunked": Row(error("400 Bad Request", JSON, NATIVE, framing="chunked"), 400),
    "MLflow gzip": Row(error("400 Bad Request", JSON, gzip.compress(NATIVE), GZIP), 400),
    "MLflow under a false label": Row(error("400 Bad Request", HTML, NATIVE), 400),
    "MLflow, long": Row(error("500 Oops", JSON, LONG_NATIVE), 500),
    "MLflow, long, chunked": Row(error("500 Oops", JSON, LONG_NATIVE, framing="chunked"), 500),
    "MLflow, long, gzip": Row(error("500 Oops", JSON, gzip.compress(LONG_NATIVE), GZIP), 500),
    "FastAPI": foreign("404 Not Found", {"detail": "Not Found"}, "RESOURCE_NOT_FOUND", NOT_FOUND),
    "FastAPI 422": foreign("422 Unprocessable", FASTAPI, "BAD_REQUEST",
        "The server answered 422 …"),
    "API gateway": foreign("403 Forbidden", {"message": "Missing Authentication Token"},
        DENIED, "Missing Authentication Token"),
    "RFC 9457": foreign("403 Forbidden", PROBLEM, DENIED,
        said("403 Forbidden", "No credit: 30 left")),
    "Spring": foreign("500 Oops", SPRING, "INTERNAL_ERROR",
        said("500 Internal Server Error", "Internal Server Error")),
    "OAuth": foreign("401 Unauthorized", {"error": "invalid_token", "error_description": "Expired"},
        "UNAUTHENTICATED", said("401 Unauthorized", "Expired")),
    "nested": foreign("429 Too Many", {"error": {"code": 429, "message": "Quota"}},
        "REQUEST_LIMIT_EXCEEDED", said("429 Too Many Requests", "Quota")),
    "a list": foreign("500 Oops", ["Oops"], "INTERNAL_ERROR",
        said("500 Internal Server Error", "Oops")),
    "a text": foreign("401 Unauthorized", "Unauthorized", "UNAUTHENTICATED",
        said("401 Unauthorized", "Unauthorized")),
    "null": foreign("500 Oops", None, "INTERNAL_ERROR", said("500 Internal Server Error")),
    "a number as code": Row(error("400 Bad Request", JSON, b'{"error_code": 1003, "message": "m"}'),
        400, "BAD_REQUEST", "m", {"upstream": {"error_code": 1003}}),
    "byte order mark": Row(error("400 Bad Request", JSON, b'\xef\xbb\xbf{"detail": "x"}'),
        400, "BAD_REQUEST", said("400 Bad Request", "x"), {"detail": "x"}),
    "broken JSON": Row(error("500 Oops", JSON, b'{"error_code": "X", '),
        500, "INTERNAL_ERROR", 'The server answered 500 (Internal Server Error): {"error_code"…'),
    "no JSON constant": Row(error("500 Oops", JSON, b'{"detail": NaN}'),
        500, "INTERNAL_ERROR", "The server answered 500…"),
    "long foreign JSON": Row(error("500 Oops", JSON, b'{"detail": "' + b"x" * 2_000_000 + b'"}'),
        500, "INTERNAL_ERROR", "The server answered 500…"),
    # Login pages and redirects.
    "login page": Row(error("200 OK", HTML, LOGIN), 401, "UNAUTHENTICATED", IS_PAGE),
    "login page, chunked": Row(error("200 OK", HTML, LOGIN, framing="chunked"),
        401, "UNAUTHENTICATED", IS_PAGE),
    "login page, gzip, chunked": Row(error("200 OK", HTML, gzip.compress(LOGIN), GZIP,
        framing="bytes"), 401, "UNAUTHENTICATED", IS_PAGE),
    "login page, long": Row(error("200 OK", HTML, LOGIN * 50_000, framing="chunked"),
        401, "UNAUTHENTICATED", IS_PAGE),
    "login page, no label": Row(response("200 OK", LOGIN, framing="close"),
        401, "UNAUTHENTICATED", IS_PAGE),
    "login page for an upload": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target=HTML_FILE, method="PUT"),
    "login page for a listing": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target=LIST),
    "login page for a model": Row(error("200 OK", HTML, LOGIN, framing="chunked"),
        401, "UNAUTHENTICATED", IS_PAGE, target=FILE),
    "login page for multipart": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target=CREATE, method="POST"),
    **{
        f"redirect {status}": Row(redirect(f"{status} Moved", IDP),
            401, "UNAUTHENTICATED", IS_LOGIN)
        for status in (301, 302, 303, 307, 308)
    },
    "redirect for a file": Row(redirect("302 Found", IDP),
        401, "UNAUTHENTICATED", IS_LOGIN, target=FILE),
    "redirect for a file to an unknown page": Row(redirect("302 Found",
        "https://portal.example/welcome?token=secret"), 401, "UNAUTHENTICATED",
        "The server asks for a login at https://portal.example/welcome (…", target=FILE),
    "redirect for a file to another route": Row(redirect("302 Found", "/api/session"),
        401, "UNAUTHENTICATED", "The server asks for a login at PROXY/api/session (…", target=FILE),
    "redirect to /login": Row(redirect("302 Found", "/login?next=secret"),
        401, "UNAUTHENTICATED", "The server asks for a login at PROXY/mlflow/login (…"),
    "redirect on the API": Row(redirect("308 Moved", "/ajax-api/2.0/mlflow/experiments/nope/"),
        308),
    "redirect to an object store": Row(redirect("307 Moved",
        "https://s3.example/b/login/model.pkl?X-Amz-Signature=x"), 307, target=FILE),
    "redirect to a file elsewhere": Row(redirect("302 Found", "https://cdn.example/b/model.pkl"),
        302, target=FILE),
    "redirect of the UI": Row(redirect("302 Found", IDP), 302, target="/"),
    "redirect of a browser": Row(redirect("302 Found", IDP), 302, accept="text/html,*/*;q=0.8"),
    "page for a browser": Row(error("200 OK", HTML, LOGIN), 200, accept="text/html,*/*;q=0.8"),
    "page under /static-files": Row(error("404 Not Found", HTML, nginx("404")),
        404, target="/mlflow/static-files/x"),
    "page under /api": Row(error("404 Not Found", HTML, nginx("404")),
        404, "RESOURCE_NOT_FOUND", "The requested resource was not found: /api", target="/api"),
    "page of the UI": Row(error("200 OK", HTML, LOGIN), 200, target="/"),
    "HTML artifact": Row(error("200 OK", HTML, LOGIN, framing="chunked"), 200, target=HTML_FILE),
    "HTML artifact as attachment": Row(error("200 OK", HTML, LOGIN, ("Content-Disposition",
        "attachment")), 200, target=FILE),
    "JSON labelled as HTML": Row(error("200 OK", HTML, b' {"runs": []}'), 200),
    "long JSON without a label": Row(response("200 OK", LONG_NATIVE, framing="chunked"), 200),
    "white space, then JSON": Row(error("200 OK", HTML, b" " * 300_000 + b"{}", framing="chunked"),
        200),
    "empty success": Row(error("200 OK", HTML, b""), 200),
    # Refusals of multipart uploads and presigned downloads.
    "multipart 404": Row(error("404 Not Found", HTML, nginx("404 Not Found")),
        404, "NOT_IMPLEMENTED", f"{MULTIPART}. …", target=CREATE, method="POST"),
    "multipart 405, text": Row(error("405 Not Allowed", "text/plain", b"no"),
        405, "NOT_IMPLEMENTED", f"{MULTIPART}. …", target=CREATE, method="POST"),
    "multipart 500": Row(error("500 Oops", HTML, nginx("Oops")),
        501, "NOT_IMPLEMENTED", f"{MULTIPART}. …", target=CREATE, method="POST"),
    "presigned 405": Row(error("405 Not Allowed", HTML, nginx("405")),
        501, "NOT_IMPLEMENTED", "Presigned download is not supported…", target=PRESIGNED),
    # OpenTelemetry: protobuf passes unchanged, other errors are converted.
    "traces": Row(error("400 Bad Request", "application/x-protobuf", b"\x08\x03"), 400,
        target=TRACES, method="POST"),
    "traces, HTML": Row(error("404 Not Found", HTML, nginx("404")),
        404, "RESOURCE_NOT_FOUND", "The requested resource was not found: /mlflow/v1/traces…",
        target=TRACES, method="POST"),
    "traces, taken": Row(error("200 OK", "application/x-protobuf", b"\x0a\x00"), 200,
        target=TRACES, method="POST"),
    "traces, taken, no label": Row(response("200 OK", b""), 200, target=TRACES, method="POST"),
    "traces, JSON": Row(error("400 Bad Request", JSON, b'{"code": 3, "message": "No span"}'),
        400, "BAD_REQUEST", "No span", {"code": 3}, target=TRACES, method="POST"),
    "traces, later": Row(error("503 Service Unavailable", HTML, nginx("Back at noon"),
        ("Retry-After", "9")), 503, UNAVAILABLE,
        said("503 Service Unavailable", "Back at noon"), target=TRACES, method="POST"),
    "traces, login page": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target=TRACES, method="POST"),
    "traces, redirect": Row(redirect("302 Found", IDP),
        401, "UNAUTHENTICATED", IS_LOGIN, target=TRACES, method="POST"),
    "metrics, login page": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target="/v1/metrics", method="POST"),
    "logs, redirect": Row(redirect("303 See Other", IDP),
        401, "UNAUTHENTICATED", IS_LOGIN, target="/v1/logs", method="POST"),
    # The AI gateway, and the version of MLflow.
    "gateway": Row(error("200 OK", JSON, b'{"choices": []}'), 200, target=CHAT, method="POST"),
    "gateway, events": Row(error("200 OK", "text/event-stream", b"data: {}\n\n",
        framing="chunked"), 200, target=CHAT, method="POST"),
    "gateway, login page": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target=CHAT, method="POST"),
    "gateway, a provider's error": Row(error("429 Too Many", JSON, b'{"error": {"message": "Q"}}'),
        429, "REQUEST_LIMIT_EXCEEDED", said("429 Too Many Requests", "Q"),
        {"error": {"message": "Q"}}, target=CHAT, method="POST"),
    "version": Row(error("200 OK", HTML, b"3.17.2"), 200, target="/mlflow/version"),
    "version, login page": Row(error("200 OK", HTML, LOGIN),
        401, "UNAUTHENTICATED", IS_PAGE, target="/version"),
    "version, redirect": Row(redirect("302 Found", IDP),
        401, "UNAUTHENTICATED", IS_LOGIN, target="/version"),
    "gRPC": Row(error("503 Unavailable", "application/grpc+proto", b"\x00\x00"), 503),
    "protobuf": Row(error("500 Oops", "application/protobuf", b"\x08"), 500),
    "events": Row(error("500 Oops", "text/event-stream", b"data: x\n\n", framing="chunked"), 500),
    "bytes": Row(error("200 OK", "application/octet-stream", bytes(range(256))), 200, target=FILE),
    "a part of a file": Row(error("206 Partial Content", "application/octet-stream", b"abc",
        ("Content-Range", "bytes 0-2/9")), 206, target=FILE),
    "no content": Row(b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "not modified": Row(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304),
    # Answers that are cut off or are no HTTP answer.
    "cut page": no_answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\n<html>"),
    "cut chunk": no_answer(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n<html>"),
    "cut JSON": no_answer(b"HTTP/1.1 400 No\r\nContent-Length: 99\r\n\r\n" + NATIVE),
    "cut login page": no_answer(error("200 OK", HTML, LOGIN)[:-1]),
    "cut login page, chunked": no_answer(error("200 OK", HTML, LOGIN, framing="chunked")[:-5]),
    "cut redirect": no_answer(redirect("302 Found", IDP)[:-1]),
    "cut head": no_answer(b"HTTP/1.1 500 Oops\r\nContent-Le"),
    "garbage": no_answer(b"SSH-2.0-x\r\n\r\n"),
    "nothing": no_answer(b""),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_row(scripted: Upstream, scripted_proxy: lab.Server, name: str) -> None:
    """Each answer passes as it is or becomes an error that MLflow's client understands."""
    row = ROWS[name]

    def answer(received: Received, connection: Any) -> None:
        connection.sendall(row.answer)

    scripted.answer = answer
    got = request(
        scripted_proxy.url,
        row.target,
        method=row.method,
        headers={"Accept": row.accept},
        body=b"{}",
    )
    assert got.status == row.status
    if not row.code:
        _, _, body = row.answer.partition(b"\r\n\r\n")
        assert got.body == (dechunked(body) if b"chunked" in row.answer[:200] else body)
        return
    content = json.loads(got.body)
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["Content-Length"] == str(len(got.body))
    for gone in ("Content-Encoding", "ETag", "Content-Range", "Transfer-Encoding", "Location"):
        assert got.headers[gone] is None
    assert got.headers.get_all("Cache-Control") == ["no-store"]
    if row.status == 401:
        assert got.headers["WWW-Authenticate"] == 'Bearer realm="mlflow"'
    assert content["error_code"] == row.code
    assert content.items() >= row.content.items()
    if row.message is not None:
        begin, open_end, _ = row.message.replace("PROXY", scripted_proxy.url).partition("…")
        assert content["message"].startswith(begin)
        assert open_end or content["message"] == begin
    assert len(content["message"]) < 700
    assert content["message"].isprintable()
    assert "secret" not in got.body.decode()
    assert got.headers.get("Retry-After") == ("9" if b"Retry-After: 9" in row.answer else None)


def dechunked(body: bytes) -> bytes:
    """Return the data of a chunked body."""
    data = b""
    while match := re.match(rb"([0-9a-f]+)\r\n", body):
        begin, size = match.end(), int(match[1], 16)
        data += body[begin : begin + size]
        body = body[begin + size + 2 :]
    return data


def test_other_headers_stay(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """Headers that do not describe the body are kept when an error is converted."""
    kept = (
        ("WWW-Authenticate", "Basic realm=x"),
        ("Retry-After", "7"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Vary", "Accept"),
        ("X-Request-Id", "r-1"),
    )
    scripted.answer = error("401 Unauthorized", HTML, nginx("401"), *kept)
    got = request(scripted_proxy.url, API)
    assert "error_code" in json.loads(got.body)
    assert got.headers.get_all("WWW-Authenticate") == ["Basic realm=x"]
    for name, value in kept:
        # The request already has an id.
        name = name.replace("X-Request-Id", "X-Upstream-Request-Id")
        assert value in got.headers.get_all(name, [])


def test_a_range_outside_of_a_file(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """A client that resumes a download learns how long the file is."""
    scripted.answer = error("416 No", HTML, nginx("416"), ("Content-Range", "bytes */47"))
    got = request(scripted_proxy.url, FILE, headers={"Range": "bytes=90-"})
    assert (got.status, got.headers["Content-Range"]) == (416, "bytes */47")
    assert "error_code" in json.loads(got.body)


@pytest.mark.parametrize(
    "answer",
    [
        error("200 OK", HTML, LOGIN, *CACHED),
        error("404 Not Found", HTML, nginx("404 Not Found"), *CACHED),
        error("500 Oops", JSON, b'{"detail": "No such file"}', *CACHED),
    ],
)
def test_errors_are_not_cached(
    scripted: Upstream, scripted_proxy: lab.Server, answer: bytes
) -> None:
    """A converted answer gets no-store and loses the upstream's caching headers."""
    scripted.answer = answer
    headers = request(scripted_proxy.url, API).headers
    assert headers.get_all("Cache-Control") == ["no-store"]
    for name, _ in CACHED[1:]:
        assert headers[name] is None


def test_an_overridden_status_is_not_cached(scripted: Upstream, shared_proxy: StartProxy) -> None:
    """An error with an overridden status gets no-store: caches may keep a 404, but no 500."""
    proxy = shared_proxy(scripted.url, errors={"overrides": [{"statuses": [500], "status": 404}]})
    scripted.answer = error("500 Oops", JSON, NATIVE, *CACHED)
    got = request(proxy.url, API)
    assert (got.status, got.body) == (404, NATIVE)
    assert got.headers.get_all("Cache-Control") == ["no-store"]
    assert got.headers["ETag"] is None


def test_a_shared_cache(scripted: Upstream, scripted_proxy: lab.Server, tmp_path: Path) -> None:
    """A shared cache does not serve one client's 401 to a later client that is logged in."""
    servers = f"""
      proxy_cache_path {tmp_path}/cache keys_zone=all:1m;
      server {{
        listen 127.0.0.1:PORT;
        proxy_cache all;
        location / {{ proxy_pass {scripted_proxy.url}; }}
      }}
    """
    with lab.nginx(tmp_path, servers) as cache:
        cache.wait("/livez")
        scripted.answer = error("200 OK", HTML, LOGIN, *CACHED)
        assert request(cache.url, API).status == 401
        scripted.answer = error("200 OK", JSON, b'{"a": 1}', *CACHED)
        for _ in range(2):
            got = request(cache.url, API)
            assert (got.status, got.body) == (200, b'{"a": 1}')
            # The cache does keep what the upstream allows it to.
            scripted.answer = error("200 OK", JSON, b'{"a": 2}')


def test_over_http2(scripted: Upstream, start_proxy: StartProxy, tmp_path: Path) -> None:
    """An HTTP/2 client gets the same answers as an HTTP/1.1 client."""
    proxy = start_proxy(scripted.url, options=("--set", f"confdir={tmp_path}"))
    url = proxy.url.replace("http://127.0.0.1", "https://localhost")
    with http2(tmp_path / "mitmproxy-ca-cert.pem") as session:
        for name in (
            *("nginx 404", "long page", "MLflow, long, chunked", "API gateway", "login page"),
            *("login page, long", "long JSON without a label", "redirect 302", "cut page"),
        ):
            row = ROWS[name]
            scripted.answer = lambda _, connection, row=row: connection.sendall(row.answer)
            got = session.get(url + row.target)
            assert got.http_version == "HTTP/2"
            assert got.status_code == row.status, name
            if row.code:
                assert got.json()["error_code"] == row.code
            else:
                assert got.content == LONG_NATIVE


@pytest.mark.parametrize("name", ["nginx 404", "S3", "login page", "redirect 302", "FastAPI"])
def test_head(scripted: Upstream, scripted_proxy: lab.Server, name: str) -> None:
    """The answer to HEAD has no body, even if the answer is converted."""
    row = ROWS[name]
    head, end, _ = row.answer.partition(b"\r\n\r\n")
    scripted.answer = head + end
    got = request(scripted_proxy.url, row.target, method="HEAD")
    # After HEAD there is no body that could show a login page.
    assert got.status == (200 if name == "login page" else row.status)
    assert got.body == b""
