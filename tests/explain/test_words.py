"""Explanations, which use the same decisions as the hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from addon.explain.question import ask, server
from addon.explain.words import Explanation, Question, counts, summary
from addon.routing import settings
from addon.routing.rewrite import Origin
from addon.rules.rules_file import DEFAULT_PATH

UPSTREAM = Origin("https", "registry.example.org", 443)
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/a"
RULES = """
upstream: {external_hosts: [registry.example.org], dialect: standard, base_path: /deep}
mounts: [/mlflow]
allowed_hosts: [proxy]
rewrites:
  - {name: inside, match: ^/api/, replace: /other/, upstream: internal}
  - {name: uploads, match: ^/api/, replace: /upload/, filter: "~m PUT"}
  - {name: files, match: ^/files/, replace: /f/}
  - {name: rest, match: ^/api/, replace: /ajax-api/}
  - {name: late, match: ^/api/, replace: /late/}
artifacts: {write: false, endpoints: [{path: "/(ajax-)?api/.*artifacts.*"}]}
"""


@pytest.fixture
def read(tmp_path: Path) -> settings.Settings:
    """Return settings from the rules above."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    return settings.read(rules, None, "")


def lines(
    read: settings.Settings, method: str, url: str, *headers: tuple[str, str]
) -> tuple[Explanation, list[str]]:
    found = ask(read, Question(method, url, UPSTREAM, headers=headers))
    return found, found.lines()


def test_all_steps(read: settings.Settings) -> None:
    """All steps of a request are shown, and why each rule before the match does not apply."""
    found, said = lines(read, "GET", "http://proxy/mlflow/api/2.0/%61rtifacts/x?token=secret")
    assert said == [
        "upstream  registry.example.org:443: external, serves only /ajax-api/",
        "mount     /mlflow",
        "path      /api/2.0/artifacts/x (artifacts)",
        "rule      inside: no, it is for internal upstreams",
        "rule      uploads: no, its filter ~m PUT does not hold",
        "rule      files: no, the path does not begin like ^/files/",
        "rule      rest: rewrites ^/api/ to /ajax-api/",
        "artifacts read: allowed",
        "result    sent upstream: GET /deep/ajax-api/2.0/%61rtifacts/x",
    ]
    assert (found.rule, found.sent) == (
        "rest",
        "/deep/ajax-api/2.0/%61rtifacts/x?token=secret",
    )
    assert found.status is None


def test_a_refusal(read: settings.Settings) -> None:
    """A refusal names the switch and the answer."""
    found, said = lines(read, "DELETE", "/mlflow/api/artifacts/x")
    assert "artifacts delete: switched off by artifacts.write" in said
    assert said[-1] == (
        "result    answered 503 ARTIFACTS_DISABLED: artifacts disabled: delete is switched off"
    )
    assert (found.status, found.error_code, found.sent) == (503, "ARTIFACTS_DISABLED", None)


def test_answers_of_the_proxy_itself(read: settings.Settings) -> None:
    """A health check skips rules, switches and the check of its host."""
    found, said = lines(read, "GET", "HTTP://elsewhere/mlflow/livez")
    assert said == [
        "upstream  registry.example.org:443: external, serves only /ajax-api/",
        "mount     /mlflow",
        "path      /livez (a path of the proxy's own)",
        "result    answered by the proxy itself",
    ]
    assert (found.status, found.sent) == (None, None)


@pytest.mark.parametrize(
    ("method", "url", "headers", "status", "step"),
    [
        ("GET", "/elsewhere", (), 404, "mount     none of /mlflow covers the path"),
        ("GET", "/mlflow/a%00", (), 400, "path      ambiguous: it contains control characters"),
        ("GET", "http://evil/mlflow/x", (), 403, "path      /x (no API: answers pass as they are)"),
        ("GET", "/mlflow/x", (), None, "host      must be one of proxy"),
        # No query is shown, in any spelling, and nothing that a terminal would obey.
        (
            "GET",
            "/mlflow/x%3Ftoken=%00",
            (),
            400,
            "path      /x (no API: answers pass as they are)",
        ),
        ("GET", "/mlflow/x?a=%00", (), None, "path      /x (no API: answers pass as they are)"),
        ("GET", "/mlflow/\x1b", (), 400, "path      /? (no API: answers pass as they are)"),
        (
            "GET",
            "http://proxy/mlflow/\udcff",
            (),
            None,
            "result    sent upstream: GET /deep/\ufffd",
        ),
        (
            "POST",
            "http://proxy/mlflow/api/x",
            (("Origin", "http://evil"),),
            403,
            "rule      rest: rewrites ^/api/ to /ajax-api/",
        ),
        (
            "GET",
            "/mlflow/api/artifacts",
            (("X-HTTP-Method-Override", "PUT"),),
            503,
            "artifacts write: switched off by artifacts.write",
        ),
    ],
)
def test_other_reasons(
    read: settings.Settings,
    method: str,
    url: str,
    headers: tuple[tuple[str, str], ...],
    status: int | None,
    step: str,
) -> None:
    """Each refusal of the hooks has its step and its status."""
    found, said = lines(read, method, url, *headers)
    assert (found.status, step in said) == (status, True), said


@pytest.mark.parametrize(
    ("environment", "option", "source"),
    [
        ("false", "", "MLFLOW_SERVE_ARTIFACTS"),
        (None, "off", "mlflow_serve_artifacts"),
    ],
)
def test_the_deciding_switch_is_named(environment: str | None, option: str, source: str) -> None:
    """The explanation names the switch that decides."""
    read = settings.read(DEFAULT_PATH, environment, option)
    _, said = lines(read, "PUT", ARTIFACT)
    assert f"artifacts write: switched off by {source}" in said


@pytest.mark.parametrize(
    ("method", "says", "result"),
    [
        (
            "DELETE",
            "refused   no-deletions: yes, it refuses delete",
            "result    answered 403 BAD_REQUEST: operation refused: no-deletions",
        ),
        (
            "GET",
            "refused   no-deletions: no, it refuses delete",
            "result    sent upstream: GET /api/2.0/mlflow/runs",
        ),
    ],
)
def test_refused_operations(tmp_path: Path, method: str, says: str, result: str) -> None:
    """The explanation names each entry of `refused` that concerns the path."""
    file = tmp_path / "rules.yaml"
    file.write_text("refused: [{name: no-deletions, family: tracking, operations: [delete]}]")
    _, said = lines(settings.read(file, None, ""), method, "/api/2.0/mlflow/runs")
    assert says in said
    assert said[-1] == result


def test_graphql_depends_on_the_body() -> None:
    """A POST depends on its body; a request without a body is refused."""
    read = settings.read(DEFAULT_PATH, "false", "")
    found, said = lines(read, "POST", "/graphql")
    assert "artifacts only if its body names mlflowListArtifacts, or cannot be read" in said
    assert found.sent == "/graphql"
    assert lines(read, "GET", "/graphql")[0].status == 503


def test_filters_see_the_request_as_it_came(tmp_path: Path) -> None:
    """A filter sees the request as received, and not as sent upstream."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rewrites:\n"
        '  - {name: marked, match: ^/x, replace: /y, filter: "~u /api & ~hq traceparent"}\n'
        '  - {name: both, match: ^/x, replace: /y, filter: "~hq A:.1 & ~hq A:.2"}\n'
        '  - {name: rest, match: ^/api/, replace: /ajax-api/, filter: "~u /api/"}\n'
    )
    _, said = lines(settings.read(rules, None, ""), "GET", "/api/x", ("A", "1"), ("A", "2"))
    assert said[3] == "rule      marked: no, its filter ~u /api & ~hq traceparent does not hold"
    assert said[4] == "rule      both: no, the path does not begin like ^/x"
    assert said[5] == "rule      rest: rewrites ^/api/ to /ajax-api/"


def test_a_forward_proxy(read: settings.Settings) -> None:
    """A forward proxy leaves unlisted hosts alone, and health paths belong to the upstream."""
    url = "http://registry.example.org/mlflow/livez"
    question = Question("GET", url, server(url), reverse=False)
    assert ask(read, question).sent == "/deep/livez"
    url = "http://example.org/mlflow/api/x"
    question = Question("GET", url, server(url), reverse=False)
    found = ask(read, question)
    assert (found.sent, found.rule) == ("/mlflow/api/x", None)
    assert found.lines()[-1] == (
        "result    passed on as it is: a forward proxy touches only external hosts"
    )


@pytest.mark.parametrize(
    ("upstream", "shown"),
    [
        (Origin("https", "r.example", 443), "r.example:443"),
        (Origin("http", "::1", 5000), "[::1]:5000"),
    ],
)
def test_upstreams(read: settings.Settings, upstream: Origin, shown: str) -> None:
    """An upstream that is not listed is internal, and is shown with its port."""
    found = ask(read, Question("GET", "/mlflow/x", upstream))
    assert found.sent == "/deep/x"
    assert found.lines()[0] == f"upstream  {shown}: internal, serves /api/"


def test_a_host_that_is_listed_with_its_port(tmp_path: Path) -> None:
    """A host listed with its port is external only at that port."""
    (tmp_path / "rules.yaml").write_text('upstream: {external_hosts: ["r.example:5000"]}\n')
    read = settings.read(tmp_path / "rules.yaml", None, "")
    for port, serves in (
        (5000, "external, serves only /ajax-api/"),
        (443, "internal, serves /api/"),
    ):
        upstream = Origin("https", "r.example", port)
        found = ask(read, Question("GET", "http://proxy", upstream))
        assert found.sent == "/"
        assert found.lines()[:2] == [f"upstream  r.example:{port}: {serves}", "mount     /"]


def test_headers_of_a_balancer(tmp_path: Path) -> None:
    """Headers of a balancer count as in the proxy, if this machine is trusted."""
    (tmp_path / "rules.yaml").write_text(
        "allowed_hosts: [public]\nforwarded: {trusted: [127.0.0.1/32]}\n"
    )
    read = settings.read(tmp_path / "rules.yaml", None, "")
    for header, status in (("X-Forwarded-Host", None), ("X-Other", 403)):
        assert lines(read, "GET", "http://proxy/x", (header, "public"))[0].status == status


def test_summary(read: settings.Settings, tmp_path: Path) -> None:
    """The summary lists the settings, and defaults for those that are not set."""
    assert summary(read, source="here") == [
        "rules     here",
        "mounts    /mlflow",
        "hosts     proxy",
        "external  registry.example.org",
        "others    standard",
        "base path /deep",
        "rewrite   inside (internal upstreams): ^/api/ -> /other/",
        "rewrite   uploads (any upstreams if ~m PUT): ^/api/ -> /upload/",
        "rewrite   files (any upstreams): ^/files/ -> /f/",
        "rewrite   rest (any upstreams): ^/api/ -> /ajax-api/",
        "rewrite   late (any upstreams): ^/api/ -> /late/",
        "artifacts read: allowed",
        "artifacts write: switched off by artifacts.write",
        "artifacts delete: switched off by artifacts.write",
    ]
    (tmp_path / "bare.yaml").write_text(
        "rewrites: [{name: never, match: ^/a, replace: /b, upstream: []}]\n"
        "artifacts: {read: false, write: false, endpoints: [{path: /x}]}\n"
    )
    bare = settings.read(tmp_path / "bare.yaml", None, "")
    assert summary(bare, source="there", found=["a:80: b", "c:80: d"]) == [
        "rules     there",
        "mounts    /",
        "hosts     all",
        "external  none listed",
        "others    auto",
        "base path none",
        "found     a:80: b",
        "found     c:80: d",
        "rewrite   never (no host): ^/a -> /b",
        "artifacts read: switched off by artifacts.read",
        "artifacts write: switched off by artifacts.write",
        "artifacts delete: switched off by artifacts.write",
    ]
    assert counts(bare.rules) == (
        "1 rewrite, 1 artifact endpoint, 0 refused operations, 0 error overrides, 0 probes"
    )


def test_the_summary_of_mounts(tmp_path: Path) -> None:
    """A mount with its own registry has its URL, and what only that mount refuses."""
    (tmp_path / "rules.yaml").write_text(
        "mounts: [/, {path: /a, upstream: https://a.example/ml, artifacts: {write: false}}]\n"
        "artifacts: {delete: false, endpoints: [{path: /x}]}\n"
    )
    said = summary(settings.read(tmp_path / "rules.yaml", None, ""), source="here")
    assert said[1] == "mounts    /, /a (https://a.example/ml)"
    assert [line for line in said if line.startswith("artifacts ")] == [
        "artifacts read: allowed",
        "artifacts write: allowed",
        "artifacts delete: switched off by artifacts.delete",
        "artifacts write below /a: switched off by mounts[1].artifacts.write",
    ]
