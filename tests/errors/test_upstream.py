"""Upstream errors: which are converted, and into what."""

import gzip
import json
from typing import Any

import pytest

from addon.errors import upstream as errors
from addon.errors.upstream import Answer, Asked
from addon.rules import rules_file
from addon.rules.model import Errors

RULES = rules_file.load(rules_file.DEFAULT_PATH).errors
PATH = "/api/2.0/mlflow/x"
ASKED = Asked("GET", f"/mlflow{PATH}", [PATH])
PAGE = b"<!doctype html><html><head><title>Bad   Gateway</title></head><body>x</body></html>"
NATIVE = b'{ "error_code":"RESOURCE_DOES_NOT_EXIST",\n "message":"x" }'


def rules(text: str) -> Errors:
    return rules_file.parse(f"errors: {{{text}}}", "test").errors


def convert(
    body: bytes, *, asked: Asked = ASKED, by: Errors = RULES, **changes: Any
) -> tuple[int, Any] | None:
    """Return the converted status and document; None if the answer passes."""
    fields: dict[str, Any] = {
        "status": 502,
        "content_type": "text/html",
        "encoding": "",
        "whole": True,
    }
    converted = errors.convert(asked, Answer(body=body, **(fields | changes)), by)
    if converted is None:
        return None
    return converted.status, converted.body and json.loads(converted.body)


def message(body: bytes, **changes: Any) -> str:
    converted = convert(body, **changes)
    assert converted is not None
    return str(converted[1]["message"])


@pytest.mark.parametrize(
    "page",
    [
        b"<title>404 Not Found</title><h1>Not Found</h1>",
        b"<h1>Error 404</h1>",
        b"",
        b"404 page not found",
        b'{"detail": "Not Found"}',
    ],
)
def test_not_found(page: bytes) -> None:
    """A 404 names the path as the client sent it; generic phrases are left out."""
    converted = convert(page, status=404)
    assert converted is not None
    assert converted[0] == 404
    assert converted[1] == {
        **(json.loads(page) if page[:1] == b"{" else {}),
        "error_code": "RESOURCE_NOT_FOUND",
        "message": "The requested resource was not found: /mlflow/api/2.0/mlflow/x",
    }


def test_not_found_with_a_reason() -> None:
    """Further details of a 404 follow the path."""
    body = b"<Error><Code>NoSuchBucket</Code><Message>No bucket</Message></Error>"
    assert message(body, status=404, request_id="r-1") == (
        "The requested resource was not found: /mlflow/api/2.0/mlflow/x. "
        "The server answered 404 (Not Found): NoSuchBucket: No bucket (request id r-1)"
    )


@pytest.mark.parametrize(
    ("body", "changes", "expected"),
    [
        (PAGE, {}, "The server answered 502 (Bad Gateway): Bad Gateway"),
        (b"upstream connect error", {"content_type": "text/plain"},
         "The server answered 502 (Bad Gateway): upstream connect error"),
        (b"", {}, "The server answered 502 (Bad Gateway) without a message."),
        (b"", {"status": 599}, "The server answered 599 (Unknown status) without a message."),
        (gzip.compress(PAGE), {"encoding": "gzip"},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        (PAGE, {"request_id": "a-1"},
         "The server answered 502 (Bad Gateway): Bad Gateway (request id a-1)"),
        (PAGE, {"request_id": "\x1b[1m" + "a" * 300},
         "The server answered 502 (Bad Gateway): Bad Gateway (request id [1m" + "a" * 124 + "…)"),
        # Wrong encodings and cut bodies still give an answer.
        (PAGE, {"encoding": "gzip"}, "The server answered 502 (Bad Gateway) without a message."),
        (gzip.compress(PAGE)[:-20], {"encoding": "gzip", "whole": False},
         "The server answered 502 (Bad Gateway): Bad Gateway"),
        (gzip.compress(NATIVE)[:-1], {"encoding": "gzip", "status": 400},
         'The server answered 400 (Bad Request): { "error_code":"RESOURCE_DOES_NOT_EXIST", '
         '"message":"x" }'),
        (b"\xff\xfe", {"encoding": "br"},
         "The server answered 502 (Bad Gateway) without a message."),
    ],
)  # fmt: skip
def test_message_of_an_error(body: bytes, changes: dict[str, Any], expected: str) -> None:
    """Status, the upstream's own words and its request ID are in the message."""
    converted = convert(body, **changes)
    assert converted == (
        changes.get("status", 502),
        {"error_code": RULES.code(changes.get("status", 502)), "message": expected},
    )


@pytest.mark.parametrize("path", ["/a\x00\x1b[0m", "/\udcff", "/\u2028"])
def test_hostile_paths_are_shown_safely(path: str) -> None:
    """Control characters and broken text in a path do not reach a terminal."""
    assert message(PAGE, status=404, asked=Asked("GET", path, [path])).isprintable()


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (NATIVE, "application/json", ""),
        (b'{"error_code": "X"}', "application/json; charset=utf-8", ""),
        (b'{"error_code": "X"}', "text/html", ""),
        (b'{"error_code": "X"}', "", ""),
        (gzip.compress(b'{"error_code": "X"}'), "application/json", "gzip"),
        (gzip.compress(b'{"error_code": "' + b"X" * 3_000_000 + b'"}'), "application/json", "gzip"),
        (b"compressed in a way that we cannot read", "application/json", "br"),
    ],
)
def test_native_errors_pass(body: bytes, content_type: str, encoding: str) -> None:
    """MLflow's own JSON passes unchanged, also with a wrong content type."""
    assert convert(body, content_type=content_type, encoding=encoding) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"detail": "No"}',
         {"detail": "No", "message": "The server answered 502 (Bad Gateway): No"}),
        (b'{"message": "Forbidden"}', {"message": "Forbidden"}),
        (b'{"message": {"a": 1}, "error_code": 7}',
         {"message": 'The server answered 502 (Bad Gateway): {"message": {"a": 1}, '
                     '"error_code": 7}',
          "upstream": {"error_code": 7, "message": {"a": 1}}}),
        (b'{"message": "", "upstream": 1}',
         {"message": 'The server answered 502 (Bad Gateway): {"message": "", "upstream": 1}',
          "upstream": 1, "upstream_": {"message": ""}}),
        (b'["No"]',
         {"message": "The server answered 502 (Bad Gateway): No", "upstream": ["No"]}),
        (b"null",
         {"message": "The server answered 502 (Bad Gateway) without a message.", "upstream": None}),
        (b"{}", {"message": "The server answered 502 (Bad Gateway) without a message."}),
        (b'\xef\xbb\xbf{"error_code": "X", "message": "m"}', {"error_code": "X", "message": "m"}),
    ],
)  # fmt: skip
def test_foreign_json_keeps_its_content(body: bytes, expected: dict[str, Any]) -> None:
    """JSON of another shape gains the fields that the client reads, and loses nothing."""
    converted = convert(body, content_type="application/json")
    assert converted == (502, {"error_code": "TEMPORARILY_UNAVAILABLE"} | expected)


@pytest.mark.parametrize("body", [b"<html>", b"", b"{broken", b"[" * 100_000])
def test_a_page_labelled_json_is_converted(body: bytes) -> None:
    """A Content-Type of JSON does not make a page JSON."""
    converted = convert(body, content_type="application/json")
    assert converted is not None
    assert set(converted[1]) == {"error_code", "message"}


def test_parsed_documents_can_be_written() -> None:
    """A JSON document of any depth can be extended without an error."""
    for depth in (*range(700, 1010), 5000, 10_000, 50_000):
        body = b"[" * depth + b"]" * depth
        assert errors.convert(ASKED, Answer(500, "application/json", "", body, True), RULES)


@pytest.mark.parametrize(
    ("begin", "native"),
    [
        (b'{"error_code": "X", "message": "', True),
        (b'{"message": "x", "error_code": "Y', True),
        (b'{"detail": "', False),
        (b'["error_code": "', False),
        (b"<html>", False),
    ],
)
def test_long_bodies(begin: bytes, native: bool) -> None:
    """For a body too long to hold, its beginning shows whether it is MLflow's."""
    body = begin + b"x" * 1000
    answer = Answer(502, "application/json", "", body, whole=False)
    assert errors.is_long_native(answer) is native
    assert (convert(body, content_type="application/json", whole=False) is None) is native


@pytest.mark.parametrize(
    ("vocabulary", "file", "status", "code"),
    [
        ("default", False, 404, "RESOURCE_NOT_FOUND"),
        ("default", True, 404, "RESOURCE_NOT_FOUND"),
        ("mlflow", False, 404, "ENDPOINT_NOT_FOUND"),
        ("mlflow", True, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("mlflow", False, 413, "RESOURCE_LIMIT_EXCEEDED"),
        ("mlflow", False, 418, "BAD_REQUEST"),
    ],
)
def test_vocabulary(vocabulary: str, file: bool, status: int, code: str) -> None:
    """The rules choose the error codes that MLflow's client acts on."""
    text = rules_file.DEFAULT_PATH.read_text().replace(
        "vocabulary: default", f"vocabulary: {vocabulary}"
    )
    by = rules_file.parse(text, "test").errors
    converted = convert(PAGE, status=status, by=by, asked=Asked("GET", PATH, [PATH], file))
    assert converted is not None
    assert converted[1]["error_code"] == code


MULTIPART = "Multipart upload is not supported for the current artifact repository"
CREATE = "/ajax-api/2.0/mlflow-artifacts/mpu/create/1/a/artifacts"
PRESIGNED = "/api/2.0/mlflow-artifacts/presigned/1/a/artifacts/x"


@pytest.mark.parametrize(
    ("path", "status", "body", "sent", "begins"),
    [
        (CREATE, 404, PAGE, 404, MULTIPART),
        (CREATE, 405, b"", 405, MULTIPART),
        (CREATE, 501, b"<p>no</p>", 501, MULTIPART),
        (CREATE, 500, PAGE, 501, MULTIPART),
        (CREATE, 404, b'{"detail": "Not Found"}', 404, MULTIPART),
        (CREATE, 403, b'{"message": "Missing Authentication Token"}', 403, MULTIPART),
        (CREATE, 502, PAGE, 502, "The server answered 502"),
        (CREATE.replace("create", "complete"), 404, PAGE, 404, "The requested resource"),
        (PRESIGNED, 404, PAGE, 404, "The requested resource"),
        (PRESIGNED, 405, PAGE, 501, "Presigned download is not supported"),
        (PRESIGNED, 500, PAGE, 501, "Presigned download is not supported"),
        (PRESIGNED, 401, PAGE, 401, "The server answered 401"),
    ],
)
def test_multipart_falls_back(path: str, status: int, body: bytes, sent: int, begins: str) -> None:
    """A refusal of multipart that is not MLflow's makes the client fall back."""
    converted = convert(body, status=status, asked=Asked("POST", path, [path]))
    assert converted is not None
    assert converted[0] == sent
    assert converted[1]["message"].startswith(begins)
    assert convert(NATIVE, status=status, asked=Asked("POST", path, [path])) is None


@pytest.mark.parametrize(
    ("override", "body", "expected"),
    [
        ("statuses: [500], status: 404, error_code: GONE", PAGE,
         (404, {"error_code": "GONE", "message": "The server answered 500 (Internal Server "
                                                 "Error): Bad Gateway"})),
        # The code follows the new status unless the override sets it.
        ("statuses: [5xx], status: 404", b"",
         (404, {"error_code": "BAD_REQUEST",
                "message": "The server answered 500 (Internal Server Error) without a message."})),
        ("statuses: [500], status: 404", NATIVE, (404, None)),
        ("statuses: [500], status: 404, error_code: GONE", NATIVE,
         (404, {"error_code": "GONE", "message": "x",
                "upstream": {"error_code": "RESOURCE_DOES_NOT_EXIST"}})),
        ("statuses: [500], message: Call us.", NATIVE,
         (500, {"error_code": "RESOURCE_DOES_NOT_EXIST", "upstream": {"message": "x"},
                "message": "Call us. The server answered 500 (Internal Server Error): x"})),
        ("statuses: [500], status: 404, bodies: foreign", NATIVE, None),
        ("statuses: [501, 4xx], status: 404", NATIVE, None),
        ("statuses: [500], says: ^x$, status: 404", NATIVE, (404, None)),
        ("statuses: [500], says: y, status: 404", NATIVE, None),
        ("statuses: [500], methods: [GET, PUT], status: 404", NATIVE, (404, None)),
        ("statuses: [500], methods: [PUT], status: 404", NATIVE, None),
        ("statuses: [500], path: /api/.*, status: 404", NATIVE, (404, None)),
        ("statuses: [500], path: /api, status: 404", NATIVE, None),
        ("statuses: [500], error_code: A}, {statuses: [5xx], error_code: B", PAGE,
         (500, {"error_code": "A",
                "message": "The server answered 500 (Internal Server Error): Bad Gateway"})),
    ],
)  # fmt: skip
def test_overrides(override: str, body: bytes, expected: object) -> None:
    """An override matches route, method, status and the upstream's message."""
    by = rules(f"overrides: [{{{override}}}]")
    assert convert(body, status=500, by=by) == expected


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
    """Errors are converted, except in formats with their own errors."""
    assert errors.may_need_conversion(status, content_type) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"cf-ray": "c", "x-upstream-request-id": "a"}, "a"),
        ({"x-amz-request-id": "b"}, "b"),
        ({"x-upstream-request-id": "", "x-correlation-id": "d"}, "d"),
        ({"content-type": "text/html"}, ""),
    ],
)
def test_upstream_request_id(headers: dict[str, str], expected: str) -> None:
    """The upstream's request ID is found in any of its usual headers."""
    assert errors.upstream_request_id(headers) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [(b"no", "text/plain", ": no"), (NATIVE, "application/json", ": x")],
)
def test_refused_credentials_of_the_proxy(body: bytes, content_type: str, words: str) -> None:
    """A 401 to the proxy's credentials says who can act, also in MLflow's JSON; a 403 does not."""
    asked = Asked("GET", f"/mlflow{PATH}", [PATH], added=True)
    said = message(body, asked=asked, status=401, content_type=content_type)
    assert said == f"{errors.ADDED_REFUSED} The server answered 401 (Unauthorized){words}"
    told = convert(body, asked=asked, status=403, content_type=content_type)
    assert errors.ADDED_REFUSED not in str(told)
