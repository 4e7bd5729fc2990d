"""No spelling of a target gets past the artifact switch, and no other request is refused.

The servers are MLflow's own, under uvicorn and under gunicorn; each answer names the operation
that sent it. `scripts/fuzz.sh` runs the same tests with more targets and other seeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support import hostile
from support.fixtures import StartProxy

SEED = int(os.environ.get("FUZZ_SEED", "1"))
COUNT = int(os.environ.get("FUZZ_COUNT", "1000"))
REPORTING = Path(__file__).parent.parent / "support" / "reporting_server"


def reporting(folder: Path, *options: str) -> lab.Server:
    """An MLflow server that names the route of each answer in X-Reached."""
    return lab.registry(
        folder, ajax_only=False, options=options, env={"PYTHONPATH": str(REPORTING)}
    )


@pytest.fixture(scope="module", params=["uvicorn", "gunicorn"])
def reporting_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A reporting MLflow server, under uvicorn and under gunicorn."""
    options = ["--app-name", "reporting"]
    if request.param == "gunicorn":
        # By default it closes idle connections after 2 seconds, perhaps just as a POST is sent.
        opts = "--threads 4 --keep-alive 60"
        options = ["--app-name", "reporting-flask", "--gunicorn-opts", opts]
    with reporting(tmp_path_factory.mktemp(request.param), *options) as server:
        yield server.wait("/health")


EXTERNAL = ("127.0.0.1",)
OFF = {"enabled": False}


@pytest.fixture
def off_proxy(reporting_server: lab.Server, shared_proxy: StartProxy) -> lab.Server:
    """A proxy with artifacts switched off, in front of the reporting server."""
    return shared_proxy(reporting_server.url, external=EXTERNAL, artifacts=OFF)


def reached(answer: hostile.Answer) -> str:
    """The artifact operation that a request has reached, "" if none."""
    route = answer.headers.get("x-reached", "")
    return route if hostile.ARTIFACT_ROUTE.search(route) else ""


@pytest.mark.parametrize("external", [EXTERNAL, ("registry.hokus.ai",)])
def test_no_spelling_gets_through(
    reporting_server: lab.Server, shared_proxy: StartProxy, external: tuple[str, ...]
) -> None:
    """With artifacts off, no target reaches an artifact operation, and each gets an answer."""
    proxy = shared_proxy(reporting_server.url, external=external, artifacts=OFF)
    through, direct = hostile.Connection(proxy.url), hostile.Connection(reporting_server.url)
    for method, target in hostile.ENDPOINTS:
        assert reached(direct.send(method, target)), "the answer names no route"
        assert through.send(method, target).status == 503
    for method, target in hostile.targets(SEED, COUNT // 2):
        answer = through.send(method, target)
        assert not reached(answer), (method, target)
        assert answer.status, (method, target)
        if location := answer.headers.get("location"):
            followed = through.send(method, location.removeprefix(proxy.url))
            assert not reached(followed), (method, target, location)


def test_no_spelling_gets_through_below_a_prefix(start_proxy: StartProxy, tmp_path: Path) -> None:
    """The switch also holds below a prefix that the rules do not name; API and UI work there."""
    with reporting(tmp_path, "--app-name", "reporting", "--static-prefix", "/team-a") as server:
        server.wait("/team-a/health")
        proxy = start_proxy(server.url, external=EXTERNAL, artifacts=OFF)
        through, direct = hostile.Connection(proxy.url), hostile.Connection(server.url)
        for method, target in hostile.ENDPOINTS:
            assert reached(direct.send(method, f"/team-a{target}")), "the answer names no route"
            assert through.send(method, f"/team-a{target}").status == 503
        hits = 0
        for method, target in hostile.targets(SEED + 3, COUNT // 10, "/team-a"):
            assert not reached(through.send(method, target)), (method, target)
            hits += bool(reached(direct.send(method, target)))
        assert hits > COUNT // 100
        for method, target in HARMLESS:
            got = through.send(method, f"/team-a{target}")
            assert "proxy-status" not in got.headers, target
            assert got.status == direct.send(method, f"/team-a{target}").status, target
        missing = through.send("GET", "/team-a/api/2.0/mlflow/nope")
        assert json.loads(missing.body)["error_code"] == "RESOURCE_NOT_FOUND"


STRIPS = """server { listen 127.0.0.1:PORT;
  location / { return 404; }
  location /mlops/mlflow/ { proxy_pass URL/; }
}"""


def test_no_spelling_gets_through_above_a_base_path(
    reporting_server: lab.Server, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """Dot segments that leave a base path and enter it again do not bypass the switch."""
    config = STRIPS.replace("URL", reporting_server.url)
    with lab.nginx(tmp_path / "nginx", config) as middle:
        middle.wait("/mlops/mlflow/health")
        upstream = {"base_path": "/mlops/mlflow"}
        proxy = start_proxy(middle.url, external=(), artifacts=OFF, upstream=upstream)
        through, direct = hostile.Connection(proxy.url), hostile.Connection(middle.url)
        hits = 0
        for method, target in hostile.climbing(SEED + 4, COUNT // 20, "mlflow"):
            assert not reached(through.send(method, target)), (method, target)
            hits += bool(reached(direct.send(method, f"/mlops/mlflow{target}")))
        assert hits > COUNT // 200
        for method, target in HARMLESS:
            got, expected = through.send(method, target), reporting_server.url
            assert "proxy-status" not in got.headers, target
            assert got.status == hostile.Connection(expected).send(method, target).status, target
        for target in ("/../mlflow/get-artifact", "/x/../../mlflow/version", "/..%2Fmlflow/x"):
            assert through.send("GET", target).status == 400, target


def test_no_upgrade_gets_through(reporting_server: lab.Server, off_proxy: lab.Server) -> None:
    """An Upgrade header does not bypass the switch; other requests with one are answered."""
    through = hostile.Connection(off_proxy.url)
    for i, (line, fields) in enumerate([*hostile.upgrades()][::11]):
        method, target = hostile.ENDPOINTS[i % len(hostile.ENDPOINTS)]
        if line == "GET HTTP/1.1":
            extra = "".join(f"{field}\r\n" for field in fields)
            assert through.send(method, target, extra).status == 503, (target, fields)
            assert through.send("GET", "/version", extra).status == 200, fields


# nginx with a path in proxy_pass sends the decoded path; HAProxy normalizes it.
NGINX = "server { listen 127.0.0.1:PORT; location / { proxy_pass URL/; } }"
HAPROXY = """
frontend clients
  bind 127.0.0.1:PORT
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri path-strip-dot
  http-request normalize-uri path-strip-dotdot full
  http-request normalize-uri path-merge-slashes
  default_backend registry
backend registry
  server registry ADDRESS
"""


@pytest.mark.parametrize("between", ["nginx", "haproxy"])
def test_no_spelling_gets_through_a_server_that_rewrites(
    reporting_server: lab.Server, start_proxy: StartProxy, tmp_path: Path, between: str
) -> None:
    """The switch holds although a server between the proxy and MLflow rewrites paths."""
    address = reporting_server.url.removeprefix("http://")
    if between == "nginx":
        middle = lab.nginx(tmp_path / "middle", NGINX.replace("URL", reporting_server.url))
    else:
        middle = lab.haproxy(tmp_path / "middle", HAPROXY.replace("ADDRESS", address))
    with middle:
        middle.wait("/health")
        proxy = start_proxy(middle.url, artifacts=OFF)
        through, direct = hostile.Connection(proxy.url), hostile.Connection(middle.url)
        hits = 0
        for method, target in hostile.targets(SEED + 2, COUNT // 20):
            assert not reached(through.send(method, target)), (method, target)
            hits += bool(reached(direct.send(method, target)))
    assert hits > COUNT // 400


READS = ("presigned-download-url", "graphql")


def test_no_write_gets_through(reporting_server: lab.Server, start_proxy: StartProxy) -> None:
    """With writes off, no target and no method changes artifacts; reads still work."""
    proxy = start_proxy(reporting_server.url, artifacts={"write": False})
    through = hostile.Connection(proxy.url)
    assert reached(through.send("GET", "/api/2.0/mlflow-artifacts/artifacts"))
    methods = ("PUT", "POST", "DELETE", "PATCH", "put", "delete", "get", "GET")
    for i, (method, target) in enumerate(hostile.targets(SEED + 1, COUNT // 10)):
        used = method if method != "GET" else methods[i % len(methods)]
        route = reached(through.send(used, target))
        reads = used.upper() == "GET" or any(name in route for name in READS)
        assert not route or reads, (used, target)
    override = "X-HTTP-Method-Override: DELETE\r\n"
    answer = through.send("GET", "/api/2.0/mlflow-artifacts/artifacts/a", override)
    assert answer.status == 503


HARMLESS = [
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/static-files/get-artifact.js"),
    ("GET", "/static-files/mlflow-artifacts/artifacts/x.js"),
    ("POST", "/api/2.0/mlflow/experiments/create"),
    ("POST", "/api/2.0/mlflow/runs/create"),
    ("POST", "/api/2.0/mlflow/runs/log-artifact"),
    ("GET", "/api/2.0/mlflow/runs/get?run_id=mlflow-artifacts"),
    ("GET", "/api/2.0/mlflow/runs/get?run_id=/api/2.0/mlflow-artifacts/artifacts/x"),
    ("GET", "/api/2.0/mlflow/runs/get?run_id=%2Fget-artifact&x=..%2F.."),
    ("GET", "/api/2.0/mlflow/registered-models/get?name=a%2Fmlflow-artifacts%2Fartifacts"),
    ("GET", "/api/2.0/mlflow/registered-models/get?name=100%25%20%C3%A4;x"),
    ("GET", "/api/2.0/mlflow/model-versions/get-download-uri?name=a&version=1"),
    ("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=get-artifact"),
    ("DELETE", "/api/2.0/mlflow/logged-models/m-1/tags/mlflow-artifacts"),
    ("DELETE", "/api/2.0/mlflow/logged-models/m-1/tags/artifacts"),
    ("DELETE", "/api/2.0/mlflow/logged-models/m-1/tags/a%20b%25c;d"),
    ("GET", "/api/3.0/mlflow/traces/mlflow-artifacts"),
    ("DELETE", "/api/2.0/mlflow/traces/get-artifact/tags?key=artifacts"),
    ("GET", "/ajax-api/2.0/mlflow/metrics/get-history?metric_key=graphql&run_id=x"),
    ("POST", "/v1/traces"),
]
"""Requests with names that look like artifact endpoints but are not."""


@pytest.mark.parametrize("mount", ["", "/mlflow", "/api/mlflow", "/%61pi/mlflow", "//mlflow"])
def test_harmless_requests_pass(
    reporting_server: lab.Server, off_proxy: lab.Server, mount: str
) -> None:
    """With artifacts off, requests for runs or tags that are called mlflow-artifacts pass."""
    through, direct = hostile.Connection(off_proxy.url), hostile.Connection(reporting_server.url)
    for method, target in HARMLESS:
        got, expected = through.send(method, mount + target), direct.send(method, target)
        assert "proxy-status" not in got.headers, target
        assert got.status == expected.status, target


NAMES = [
    *("a%2Fb", "a%20b", "100%25", "a%2541", "a;b", "a+b", "%C3%A4", "a%5Cb", "mlflow-artifacts"),
    *("get-artifact", "%23a", "%3Fa", "a..b", "..a", "a%3B", "%25%32%35"),
]


def test_names_of_artifacts_are_left_alone(
    reporting_server: lab.Server, start_proxy: StartProxy
) -> None:
    """With artifacts on, odd names reach the same operation as without the proxy."""
    proxy = start_proxy(reporting_server.url, external=("registry.hokus.ai",))
    through, direct = hostile.Connection(proxy.url), hostile.Connection(reporting_server.url)
    for name in NAMES:
        target = f"/api/2.0/mlflow-artifacts/artifacts/1/{name}"
        for method in ("PUT", "GET", "DELETE"):
            got, expected = through.send(method, target), direct.send(method, target)
            assert got.status == expected.status, target
            assert reached(got) == reached(expected) != "", target


def test_ambiguous_targets(off_proxy: lab.Server) -> None:
    """A target that servers read in different ways gets a 400 in JSON."""
    connection = hostile.Connection(off_proxy.url)
    for target in (
        "/get-artifact#x",
        "/api/2.0/mlflow/runs/get?a#b",
        "/api/2.0/mlflow/runs%0a/get",
        "/static-files/..%2Fget-artifact",
        "/API/2.0/mlflow-artifacts/artifacts",
        "/api/2.0/mlflow%252Dartifacts/artifacts/x",
        "/api/2.0/mlflow-artifacts;x/artifacts/x",
        "/api%5C2.0%5Cmlflow-artifacts%5Cartifacts",
    ):
        answer = connection.send("GET", target)
        assert answer.status == 400, target
        assert json.loads(answer.body)["error_code"] == "BAD_REQUEST"
        assert json.loads(answer.body)["source"] == "proxy"


def test_the_targets_are_hostile(reporting_server: lab.Server) -> None:
    """Without the proxy, more than 100 of 1000 targets reach an artifact operation."""
    direct = hostile.Connection(reporting_server.url)
    hits = [reached(direct.send(*target)) for target in hostile.targets(SEED, 1000)]
    assert len(list(filter(None, hits))) > 100
