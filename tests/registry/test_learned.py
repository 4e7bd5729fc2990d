"""Learning an upstream's dialect from clients' own requests."""

from __future__ import annotations

import pytest

from addon.registry.answers import Answer
from addon.registry.learned import finding, is_missing, is_no_better, may_ask_twice

JSON = "application/json"
LIST = Answer(200, JSON, b'{"experiments": []}')
PAGE = Answer(404, "text/html", b"<html>no</html>")
DETAIL = Answer(404, JSON, b'{"detail": "Not Found"}')
PICKY = Answer(400, JSON, b'{"error_code": "INVALID_PARAMETER_VALUE"}')
ASKS = Answer(401, "text/html", b"You are not authenticated")
APP = Answer(200, "text/html", b"<!doctype html><div id=app>")
LOGIN = Answer(302, location="https://idp.example/login")
DOWN = Answer(502, JSON, b'{"error_code": "TEMPORARILY_UNAVAILABLE"}')
NONE = Answer(None, error="no connection: Connection refused")


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/api/2.0/mlflow/runs/get", True),
        ("HEAD", "/api/2.0/mlflow-artifacts/artifacts/a", True),
        ("OPTIONS", "/anything", True),
        ("POST", "/api/2.0/mlflow/experiments/search", True),
        ("POST", "/ajax-api/3.0/mlflow/logged-models/search", True),
        ("POST", "/api/2.0/preview/mlflow/runs/search", True),
        ("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", True),
        ("POST", "/api/2.0/mlflow/runs/search/more", False),
        ("POST", "/api/2.0/mlflow/runs/create", False),
        ("POST", "/api/2.0/mlflow/runs/research", False),
        ("POST", "/api/2.0/mlflow/search", False),
        ("POST", "/other/api/2.0/mlflow/runs/search", False),
        ("PUT", "/api/2.0/mlflow/runs/search", False),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/a", False),
        ("PATCH", "/api/2.0/mlflow/registered-models/update", False),
        ("get", "/api/2.0/mlflow/runs/get", False),
    ],
)
def test_may_ask_twice(method: str, path: str, may: bool) -> None:
    """Only requests that change nothing may be sent twice."""
    assert may_ask_twice(method, path) is may


MISSING = Answer(404, JSON, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}')
FORBIDDEN = Answer(403, JSON, b'{"error_code": "PERMISSION_DENIED"}')


@pytest.mark.parametrize(
    ("answer", "missing", "no_better", "tells"),
    [
        (PAGE, True, True, False),
        (DETAIL, True, True, False),
        (APP, True, True, False),
        (Answer(405, "text/html", b"<h1>"), True, True, False),
        (Answer(404), True, True, False),
        (LIST, False, False, True),
        (PICKY, False, False, True),
        (MISSING, False, False, True),
        (FORBIDDEN, False, False, False),
        (ASKS, False, True, False),
        (LOGIN, False, True, False),
        (Answer(400, "text/html", b"<h1>"), False, True, False),
        (DOWN, False, False, False),
        (Answer(503, "text/html", b"<h1>"), False, False, False),
        (Answer(200, "application/octet-stream", b"file"), False, False, False),
        (NONE, False, False, False),
    ],
)
def test_answers(answer: Answer, missing: bool, no_better: bool, tells: bool) -> None:
    """An answer is judged as the first one, as the second one after a page, and as a finding."""
    assert (is_missing(answer), is_no_better(answer)) == (missing, no_better)
    found = finding("ajax", "/x", PAGE, answer)
    assert (found is not None) is tells
    if found:
        assert (found.dialect, found.base_path) == ("ajax", "/x")
        assert found.why.startswith("/x/api: 404 HTML; /x/ajax-api: ")


def test_streamed_answers() -> None:
    """A streamed answer is judged by its content type."""
    for answer, tells in ((Answer(200, JSON), True), (Answer(200, "text/html"), False)):
        found = finding("standard", "", PAGE, answer, streamed=True)
        assert (found is not None) is tells
    assert finding("standard", "", PAGE, Answer(200, JSON)) is None
