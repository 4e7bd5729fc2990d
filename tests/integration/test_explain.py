"""The output of `explain`, compared with what a real proxy does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
import pytest
from support.client import request
from support.probe import script
from support.proxies import running_proxy
from support.upstream import OK, Upstream

from addon.explain.question import ask
from addon.explain.words import Question
from addon.routing import settings
from addon.routing.rewrite import Origin

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/a/b.txt"
SEARCH = "/api/2.0/mlflow/experiments/search"
SECTIONS: dict[str, Any] = {
    "mounts": ["/mlflow", "/"],
    "rewrites": [
        {"name": "inside", "match": "^/api/", "replace": "/no/", "upstream": "internal"},
        {"name": "uploads", "match": "^/files/", "replace": "/api/2.0/mlflow-artifacts/artifacts/"},
        {"name": "marked", "match": "^/m/", "replace": "/marked/", "filter": "~hq X-Mark"},
        {"name": "rest", "match": r"^/api/([\d.]+)/", "replace": r"/ajax-api/\1/"},
    ],
    "artifacts": {"write": False, "disabled_status": 501},
    "allowed_hosts": ["127.0.0.1"],
    "origins": {"allowed": ["https://lab.example"]},
}
LAB = {"Origin": "https://lab.example", "Access-Control-Request-Method": "PUT"}
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", SEARCH, {}),
    ("GET", "/mlflow" + SEARCH + "?max_results=1", {}),
    ("GET", "/%6Dlflow/api/2.0/mlflow/%65xperiments/search?a=%62", {}),
    ("GET", "//api/2.0/mlflow//runs/search", {}),
    ("GET", ARTIFACT, {}),
    ("HEAD", ARTIFACT, {}),
    ("PUT", ARTIFACT, {}),
    ("DELETE", ARTIFACT, {}),
    ("PUT", "/files/a", {}),
    ("GET", "/files/a", {}),
    ("GET", ARTIFACT, {"X-HTTP-Method-Override": "PUT"}),
    ("PUT", "/api/2.0/x/..%2Fmlflow-artifacts/artifacts/a", {}),
    ("PUT", "/api/2.0/x/%252e%252e/mlflow-artifacts/artifacts/a", {}),
    ("PUT", "/API/2.0/mlflow-artifacts/artifacts/a", {}),
    ("GET", "/m/x", {}),
    ("GET", "/m/x", {"X-Mark": "1"}),
    ("GET", "/", {}),
    ("GET", "/static-files/app.js?v=1#part", {}),
    ("GET", "/a%0Ab", {}),
    ("GET", "/livez", {}),
    ("GET", "/mlflow/livez", {}),
    ("GET", "/mlflow?a=b", {"Accept": "text/html,*/*"}),
    ("GET", "/mlflow?a=b", {}),
    ("GET", SEARCH, {"Host": "evil.example"}),
    ("POST", SEARCH, {"Origin": "http://evil.example"}),
    ("GET", SEARCH, {"Origin": "http://evil.example"}),
    ("OPTIONS", "/a%0Ab", LAB),
    ("OPTIONS", SEARCH, LAB),
    ("GET", "/graphql", {}),
    ("GET", "/api/2.0/mlflow/caf\u00e9", {}),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """An upstream for this module only, which records its requests."""
    with Upstream(OK) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[lab.Server, settings.Settings]]:
    """A proxy, and the settings from its rules."""
    folder = tmp_path_factory.mktemp("explained")
    with running_proxy(folder, upstream.url, **SECTIONS) as server:
        yield server, settings.read(folder / "rules.yaml", None, "")


@pytest.mark.parametrize(("method", "target", "headers"), REQUESTS)
def test_the_proxy_does_as_explained(
    upstream: Upstream,
    proxy: tuple[lab.Server, settings.Settings],
    method: str,
    target: str,
    headers: dict[str, str],
) -> None:
    """The proxy produces the status, error_code and upstream target that `explain` predicts."""
    server, read = proxy
    host = headers.get("Host") or server.url.partition("//")[2]
    question = Question(
        method,
        f"http://{host}{target}",
        Origin("http", "127.0.0.1", upstream.port),
        headers=[(name, value) for name, value in headers.items() if name != "Host"],
    )
    explained = ask(read, question)
    before = len(upstream.requests)
    got = request(server.url, target, method=method, headers=headers, skip_host="Host" in headers)
    arrived = [received.target for received in upstream.requests[before:]]
    assert arrived == ([] if explained.sent is None else [explained.sent])
    assert got.status == (explained.status or 200)
    if explained.error_code and method != "HEAD":
        assert json.loads(got.body)["error_code"] == explained.error_code


def test_check(tmp_path: Path) -> None:
    """`check` prints one line for valid rules, and every mistake for others."""
    run = script("rules.sh", "check")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(f"{lab.ROOT}/rules.yaml: ok (1 rewrite, 12 artifact endpoints")
    rules = tmp_path / "rules.yaml"
    rules.write_text("mounts: 5\nrewrites: [{name: a, match: (, replace: /}]\nnope: 1\n")
    run = script("rules.sh", "check", rules)
    assert (run.returncode, run.stdout) == (1, "")
    assert [line.split(" ")[0] for line in run.stderr.splitlines()] == [
        f"{rules}:{number}:" for number in (1, 2, 3)
    ]
    assert script("rules.sh", "check", MLFLOW_SERVE_ARTIFACTS="maybe").returncode == 1


def test_explain() -> None:
    """`explain` assumes the first external host; --dialect names the API of an unlisted one."""
    run = script("rules.sh", "explain", "PUT", ARTIFACT, MLFLOW_SERVE_ARTIFACTS="false")
    assert run.returncode == 0, run.stderr
    assert "upstream  registry.hokus.ai:443: external, serves only /ajax-api/\n" in run.stdout
    assert "artifacts write: switched off by MLFLOW_SERVE_ARTIFACTS\n" in run.stdout

    asked = ("explain", "GET", SEARCH, "--upstream", "http://localhost:5000")
    run = script("rules.sh", *asked)
    assert "not listed: a running proxy asks it" in run.stdout
    assert f"sent upstream: GET {SEARCH}" in run.stdout
    run = script("rules.sh", *asked, "--dialect", "ajax", "--json")
    document = json.loads(run.stdout)
    assert (document["rule"], document["sent"]) == ("rest-to-ajax", "/ajax-api" + SEARCH[4:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "GET"), "the following arguments are required: URL"),
        (("explain", "GET", "nonsense"), "expected a URL such as"),
        (("explain", "GET", "/", "--upstream", "a:b"), "expected HOST, HOST:PORT or a URL"),
        (("explain", "GET", "/", "-H", "no-colon"), "expected 'NAME: VALUE'"),
        (("explain", "GET", "/", "-H", " : secret"), "expected 'NAME: VALUE', got ' '"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], message: str) -> None:
    """Bad arguments are named in the error message, and the exit code is 2."""
    run = script("rules.sh", *arguments)
    assert (run.returncode, message in run.stderr) == (2, True), run.stderr
