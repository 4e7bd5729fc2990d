"""Detecting an upstream's dialect from its answers."""

from __future__ import annotations

import pytest

from addon.registry.answers import Answer
from addon.registry.dialect import (
    Dialect,
    Finding,
    find,
    is_place,
    judge,
    suggestion,
)
from addon.rules import rules_file

JSON = "application/json"
LIST = Answer(200, JSON, b'{"experiments": []}')
PAGE = Answer(404, "text/html", b"<html>no</html>")
DETAIL = Answer(404, JSON, b'{"detail": "Not Found"}')
PICKY = Answer(400, JSON, b'{"error_code": "INVALID_PARAMETER_VALUE"}')
DENIED = Answer(401, JSON, b'{"error_code": "UNAUTHENTICATED"}')
ASKS = Answer(401, "text/html", b"You are not authenticated")
APP = Answer(200, "text/html", b"<!doctype html><div id=app>")
LOGIN = Answer(302, location="https://idp.example/login")
DOWN = Answer(502, JSON, b'{"error_code": "TEMPORARILY_UNAVAILABLE"}')
OFF = Answer(503, "text/html", b"the mlflow server running in `--artifacts-only` mode. To")
SECURE = Answer(501, JSON, b'{"error_code": "HTTPS_REQUIRED", "message": "x"}')
NONE = Answer(None, error="no connection: Connection refused")


@pytest.mark.parametrize(
    ("api", "ajax", "dialect", "reason"),
    [
        (LIST, LIST, "standard", "/api is served"),
        (LIST, PAGE, "standard", "/api is served"),
        (PICKY, LIST, "standard", "/api is served"),
        (PAGE, LIST, "ajax", "/ajax-api is served"),
        (DETAIL, LIST, "ajax", "/ajax-api is served"),
        # MLflow that serves only artifacts.
        (OFF, OFF, "standard", "/api is served"),
        (PAGE, OFF, "ajax", "/ajax-api is served"),
        (Answer(405, "text/html", b"<h1>"), LIST, "ajax", "/ajax-api is served"),
        # A web application that answers every path with its page.
        (APP, LIST, "ajax", "/ajax-api is served"),
        (LOGIN, LIST, "ajax", "/ajax-api is served"),
        # An endpoint that is missing needs no credentials.
        (DENIED, PAGE, "standard", "/api is served to those with credentials"),
        (PAGE, ASKS, "ajax", "/ajax-api is served to those with credentials"),
        (PAGE, DENIED, "ajax", "/ajax-api is served to those with credentials"),
        (PAGE, Answer(403), "ajax", "/ajax-api is served to those with credentials"),
        (PAGE, Answer(407), "ajax", "/ajax-api is served to those with credentials"),
        (DENIED, DENIED, None, "it asks for credentials"),
        (ASKS, DENIED, None, "it asks for credentials"),
        (APP, DENIED, None, "it asks for credentials"),
        (LOGIN, LOGIN, None, "it answers with web pages, perhaps to ask for a login"),
        (
            Answer(302, JSON, b"{}"),
            PAGE,
            None,
            "it answers with web pages, perhaps to ask for a login",
        ),
        (APP, PAGE, None, "it answers with web pages, perhaps to ask for a login"),
        (PAGE, PAGE, None, "nothing is served there"),
        (DETAIL, DETAIL, None, "nothing is served there"),
        (NONE, NONE, None, "it does not answer"),
        (DOWN, PAGE, None, "it does not answer"),
        (Answer(429, JSON, b"{}"), PAGE, None, "it does not answer"),
        (Answer(500, JSON, b'{"error_code": "INTERNAL_ERROR"}'), PAGE, None, "it does not answer"),
        (DENIED, DOWN, None, "it asks for credentials"),
        (SECURE, SECURE, None, "it redirects everything to https"),
        # One clear answer is enough, whatever the other one is.
        (DOWN, LIST, "ajax", "/ajax-api is served"),
    ],
)
def test_judge(api: Answer, ajax: Answer, dialect: Dialect | None, reason: str) -> None:
    """Two answers, one per prefix, give one verdict."""
    assert judge({"standard": api, "ajax": ajax}) == (dialect, reason)


class Upstream:
    """Answers by the first matching beginning of a path."""

    def __init__(self, answers: dict[str, Answer], otherwise: Answer = PAGE) -> None:
        self.answers, self.otherwise = answers, otherwise
        self.asked: list[str] = []

    def __call__(self, path: str) -> Answer:
        self.asked.append(path.partition("/2.0/")[0])
        found = (answer for begin, answer in self.answers.items() if path.startswith(begin))
        return next(found, self.otherwise)


ROOT = ["/api", "/ajax-api"]
MLFLOW = ["/mlflow/api", "/mlflow/ajax-api"]


@pytest.mark.parametrize(
    ("upstream", "base_path", "dialect", "place", "asked"),
    [
        (Upstream({"/api/": LIST}), "", "standard", "", ["/api"]),
        (Upstream({"/ajax-api/": LIST}), "", "ajax", "", ROOT),
        (Upstream({}, NONE), "", None, "", ["/api"]),
        (Upstream({}, DENIED), "", None, "", [*ROOT, "/", *MLFLOW]),
        (
            Upstream({"/mlflow/api/": LIST}),
            "", "standard", "/mlflow", [*ROOT, "/", "/mlflow/api"],
        ),
        (
            Upstream(
                {"/ml/ops/ajax-api/": LIST, "/ml/ops/api": PAGE, "/a": PAGE},
                Answer(302, location="http://here/ml/ops/"),
            ),
            "", "ajax", "/ml/ops", [*ROOT, "/", "/ml/ops/api", "/ml/ops/ajax-api"],
        ),
        # A base path from the rules is taken as given.
        (Upstream({"/api/": LIST}), "/x", None, "/x", ["/x/api", "/x/ajax-api"]),
        (Upstream({"/x/ajax-api/": LIST}), "/x", "ajax", "/x", ["/x/api", "/x/ajax-api"]),
        # The usual base path is tried once, even if the root redirects to it.
        (
            Upstream({"/a": PAGE, "/mlflow": PAGE}, Answer(302, location="/mlflow")),
            "", None, "", [*ROOT, "/", *MLFLOW],
        ),
        # The redirect's target is not a valid base path.
        (
            Upstream({"/a": PAGE, "/mlflow": PAGE}, Answer(302, location="/b;c/%2e")),
            "", None, "", [*ROOT, "/", *MLFLOW],
        ),
    ],
)  # fmt: skip
def test_find(
    upstream: Upstream, base_path: str, dialect: Dialect | None, place: str, asked: list[str]
) -> None:
    """The search finds the base path and stops as soon as it is clear."""
    upstream.asked.clear()
    found = find(upstream, base_path)
    assert (found.dialect, found.base_path, upstream.asked) == (dialect, place, asked)
    assert found.reachable is (upstream.otherwise is not NONE)


def place(prefix: str, dialect: str, answer: Answer = LIST) -> dict[str, Answer]:
    return {f"{prefix}/{dialect}/": answer}


@pytest.mark.parametrize(
    ("answers", "prefixes", "dialect", "base_path", "serving"),
    [
        (place("/a", "ajax-api"), ["/a"], "ajax", "/a", ("/a",)),
        (place("/a", "api"), ["/x", "/a"], "standard", "/a", ("/a",)),
        (place("/a", "api"), ["/x"], None, "", ()),
        # If several prefixes serve, each client has to use its own.
        (place("/a", "api") | place("/b/c", "api"), ["/a", "/b/c"], "standard", "", ("/a", "/b/c")),
        (place("/a", "api") | place("/b", "ajax-api"), ["/a", "/b"], "ajax", "", ("/a", "/b")),
        # A dialect found without them takes precedence.
        (place("", "api") | place("/a", "api"), ["/a"], "standard", "", ()),
        (place("/mlflow", "api") | place("/a", "api"), ["/a"], "standard", "/mlflow", ()),
        # A prefix that asks for credentials may serve.
        (
            place("/a", "api", DENIED) | place("/a", "ajax-api", DENIED),
            ["/a", "/b"],
            None,
            "",
            ("/a",),
        ),
    ],
)
def test_prefixes_of_clients(
    answers: dict[str, Answer],
    prefixes: list[str],
    dialect: Dialect | None,
    base_path: str,
    serving: tuple[str, ...],
) -> None:
    """Clients' prefixes are tried if nothing else is found."""
    found = find(Upstream(answers), prefixes=prefixes)
    assert (found.dialect, found.base_path, found.prefixes) == (dialect, base_path, serving)


@pytest.mark.parametrize(
    ("path", "fit"),
    [
        ("/team-a", True),
        ("/a/b/c/d", True),
        ("/a/b/c/d/e", False),
        ("/" + "a" * 64, False),
        ("/a/", False),
        ("a", False),
        ("", False),
        ("/a%20b", False),
        ("/a b", False),
        ("/a;b", False),
        ("/a\n", False),
    ],
)
def test_is_place(path: str, fit: bool) -> None:
    """Only short, plain paths are tried."""
    assert is_place(path) is fit


def test_thorough() -> None:
    """A thorough search, for people, reports all answers."""
    upstream = Upstream({"/api/": LIST, "/ajax-api/": DETAIL})
    found = find(upstream, thorough=True)
    assert found.why == "/api: 200 JSON; /ajax-api: 404 JSON; /api is served"
    assert upstream.asked == ROOT


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (Finding("standard", "", ""), ""),
        (Finding(None, "/x", ""), ""),
        (Finding("ajax", "", ""), "upstream:\n  external_hosts: [r.example:8443]"),
        (Finding("standard", "/x", ""), "upstream:\n  base_path: /x"),
        (
            Finding("ajax", "/x", ""),
            "upstream:\n  external_hosts: [r.example:8443]\n  base_path: /x",
        ),
    ],
)
def test_suggestion(found: Finding, lines: str) -> None:
    """The suggested rules can be pasted, and mean the same as the finding."""
    assert suggestion(found, "r.example:8443") == lines
    rules = rules_file.parse(lines, "pasted").upstream
    assert rules.is_external("r.example", 8443) is (found.dialect == "ajax")
    assert rules.base_path == (found.base_path if found.dialect else "")
