"""What a registry's answer says by its type and its first bytes."""

from __future__ import annotations

import json

import pytest

from addon.registry import answers
from addon.registry.answers import Answer

JSON = "application/json"


@pytest.mark.parametrize(
    ("content_type", "body", "html", "is_json"),
    [
        (JSON, b'{"a": 1}', False, True),
        (JSON, b" [1]", False, True),
        (JSON, b"true", False, False),
        (JSON, b"", False, False),
        (JSON, b"<html>", True, False),
        ("text/html", b"\n <!doctype html>", True, False),
        # MLflow's /version.
        ("text/html", b"3.17.2", False, False),
        ("text/html", b'{"a": 1}', False, False),
    ],
)
def test_kinds(content_type: str, body: bytes, html: bool, is_json: bool) -> None:
    """Only markup is a page, and only an object or a list with the right type is JSON."""
    answer = Answer(200, content_type, body)
    assert (answers.is_html(answer), answers.is_json_answer(answer)) == (html, is_json)


NO_ARTIFACTS = b"disabled due to the mlflow server running with `--no-serve-artifacts`. To enable"
ONLY_ARTIFACTS = b"disabled due to the mlflow server running in `--artifacts-only` mode. To enable"
NOT_SERVED = (
    b'{"detail":"Artifact serving is disabled. Run `mlflow server` with `--serve-artifacts`"}'
)
REFUSED = json.dumps({"error_code": "ARTIFACTS_DISABLED"}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, NO_ARTIFACTS, "disabled: the registry runs with --no-serve-artifacts"),
        (501, NOT_SERVED, "disabled: the registry runs with --no-serve-artifacts"),
        (503, ONLY_ARTIFACTS, "disabled: the registry runs with --artifacts-only"),
        (503, REFUSED, "disabled"),
        (503, b'{"error_code": "TEMPORARILY_UNAVAILABLE"}', ""),
        # A success may quote anything.
        (200, NO_ARTIFACTS, ""),
        (None, NO_ARTIFACTS, ""),
    ],
)
def test_switched_off(status: int | None, body: bytes, expected: str) -> None:
    """A route that is off on purpose is known by MLflow's message or the proxy's code."""
    assert answers.switched_off(Answer(status, JSON, body)) == expected


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        (JSON, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', "RESOURCE_DOES_NOT_EXIST"),
        ("text/html", b'{"error_code": "X"}', ""),
        (JSON, b'{"error_code": 7}', ""),
        (JSON, b'{"error_code": ""}', ""),
        # Text for a terminal and for logs: no control characters, and not too long.
        (JSON, b'{"error_code": "\\u001b[2J"}', ""),
        (JSON, b'{"error_code": "' + b"X" * 64 + b'"}', ""),
        (JSON, b'["error_code"]', ""),
        (JSON, b"7", ""),
        (JSON, b"{}", ""),
        (JSON, b'{"error_code": ', ""),
        (JSON, b"[" * 100_000, ""),
    ],
)
def test_error_code(content_type: str, body: bytes, code: str) -> None:
    """The error_code is read from an object of MLflow's form, and from nothing else."""
    assert answers.error_code(Answer(404, content_type, body)) == code


def test_https_required() -> None:
    """The answer in place of a redirect to https is an error in MLflow's form."""
    answer = answers.https_required("https://r.example")
    assert (answer.status, answers.error_code(answer)) == (501, "HTTPS_REQUIRED")
