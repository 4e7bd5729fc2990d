"""Cross-site requests, over the wire and with real upstreams."""

from __future__ import annotations

import json
from collections.abc import Iterator

import lab
import pytest
from support.client import Response, request
from support.fixtures import StartProxy
from support.upstream import OK, Upstream

SEARCH = "/mlflow/api/2.0/mlflow/experiments/search"
CREATE = "/mlflow/api/2.0/mlflow/experiments/create"


@pytest.mark.parametrize(
    ("target", "origin", "allowed", "status"),
    [
        (CREATE, "https://evil.example", [], 403),
        (CREATE, "null", [], 403),
        (CREATE, "SELF", [], 200),
        (CREATE, "https://lab.example", ["https://lab.example"], 200),
        # Requests that are not rewritten are left to the upstream's own check.
        ("/ajax-api/2.0/mlflow/experiments/create", "https://evil.example", [], 200),
    ],
)
def test_rewritten_requests(
    scripted: Upstream,
    shared_proxy: StartProxy,
    target: str,
    origin: str,
    allowed: list[str],
    status: int,
) -> None:
    """A rewritten POST from a foreign page is refused; one from an allowed page passes."""
    scripted.answer = OK
    scripted.requests.clear()
    proxy = shared_proxy(scripted.url, origins={"allowed": allowed})
    headers = {"Origin": origin.replace("SELF", proxy.url)}
    got = request(proxy.url, target, method="POST", headers=headers, body=b"{}")
    assert got.status == status
    assert len(scripted.requests) == (status == 200)
    if status == 403:
        assert json.loads(got.body)["error_code"] == "PERMISSION_DENIED"
        assert json.loads(got.body)["source"] == "proxy"


def test_internal_upstreams_check_origins_themselves(
    mlflow_server: lab.Server, start_proxy: StartProxy
) -> None:
    """Without a rewrite, MLflow's own check refuses a foreign page."""
    proxy = start_proxy(mlflow_server.url, external=("registry.hokus.ai",))
    headers = {"Origin": "https://evil.example", "Content-Type": "application/json"}
    got = request(proxy.url, CREATE, method="POST", headers=headers, body=b'{"name": "x"}')
    assert got.status == 403
    assert "source" not in json.loads(got.body)


PUBLIC = "mlflow.example.org"


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """An MLflow server that accepts changes from web pages of only one other site."""
    options = ("--cors-allowed-origins", "https://lab.example")
    folder = tmp_path_factory.mktemp("strict")
    with lab.registry(folder, ajax_only=False, options=options) as server:
        yield server.wait("/health")


@pytest.mark.parametrize(
    ("target", "origin", "status"),
    [
        (target, origin, status)
        for target in (SEARCH, SEARCH.replace("/api/", "/ajax-api/"))
        for origin, status in {
            f"http://{PUBLIC}": 200,
            f"https://{PUBLIC}": 200,  # TLS ends in front of the proxy.
            "https://lab.example": 200,
            "https://evil.example": 403,
            "null": 403,
        }.items()
    ],
)
def test_pages_of_the_proxy(
    strict_server: lab.Server,
    shared_proxy: StartProxy,
    target: str,
    origin: str,
    status: int,
) -> None:
    """MLflow's UI works under the proxy's name, and MLflow still refuses foreign pages."""
    how = {"external": ("registry.hokus.ai",), "allowed_hosts": [PUBLIC]}
    proxy = shared_proxy(strict_server.url, **how)
    assert search(proxy, target, origin) == status


def test_unchecked_names(strict_server: lab.Server, shared_proxy: StartProxy) -> None:
    """Without allowed_hosts, the name may be an attacker's, so MLflow's own check decides."""
    proxy = shared_proxy(strict_server.url, external=("registry.hokus.ai",))
    assert search(proxy, SEARCH, f"http://{PUBLIC}") == 403
    assert search(proxy, SEARCH, f"https://{PUBLIC}") == 200
    assert search(proxy, SEARCH, "http://10.0.0.7", host="10.0.0.7") == 200


def search(proxy: lab.Server, target: str, origin: str, host: str = PUBLIC) -> int:
    """Return the status of a search, sent as a web page sends it."""
    headers = {"Host": host, "Origin": origin, "Content-Type": "application/json"}
    body = b'{"max_results": 1}'
    got = request(proxy.url, target, method="POST", headers=headers, body=body, skip_host=True)
    return got.status


def test_origin_that_the_registry_sees(scripted: Upstream, start_proxy: StartProxy) -> None:
    """Only the proxy's own Origin is removed for the registry; with keep_host_header, none is."""
    scripted.answer = OK
    seen = []
    for options in ((), ("--set", "keep_host_header=true")):
        proxy = start_proxy(scripted.url, allowed_hosts=[PUBLIC], options=options)
        for origin in (f"http://{PUBLIC}", "https://other.example"):
            search(proxy, "/x", origin)
            seen += scripted.requests[-1].header("Origin") or [""]
    others = "https://other.example"
    assert seen == ["", others, f"http://{PUBLIC}", others]


LAB = "https://lab.example"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/a"
ASKS = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}


def from_page(proxy: lab.Server, method: str, target: str, origin: str = LAB) -> Response:
    """Return what a web page gets; OPTIONS is sent as a preflight."""
    asks = ASKS if method == "OPTIONS" else {}
    return request(proxy.url, target, method=method, headers={"Origin": origin, **asks})


def test_pages_read_refusals(scripted: Upstream, shared_proxy: StartProxy) -> None:
    """A preflight succeeds, so that the page can read why its request is refused."""
    scripted.requests.clear()
    closed = {"enabled": False}
    proxy = shared_proxy(scripted.url, origins={"allowed": [LAB]}, artifacts=closed)
    asked = from_page(proxy, "OPTIONS", ARTIFACT)
    assert (asked.status, asked.body) == (200, b"")
    assert asked.headers["Access-Control-Allow-Origin"] == LAB
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Headers"] == "x-a"
    for method in ("PUT", "GET", "DELETE"):
        got = from_page(proxy, method, ARTIFACT)
        assert (got.status, json.loads(got.body)["error_code"]) == (503, "ARTIFACTS_DISABLED")
        assert got.headers["Access-Control-Allow-Origin"] == LAB
        assert got.headers["Vary"] == "Origin"
    for method, status in {"OPTIONS": 503, "PUT": 403}.items():
        got = from_page(proxy, method, ARTIFACT, "https://evil.example")
        assert got.status == status
        assert got.headers["Access-Control-Allow-Origin"] is None
    assert scripted.requests == []
    # The registry answers preflights for its own paths.
    scripted.answer = OK
    assert from_page(proxy, "OPTIONS", "/x").headers["Access-Control-Allow-Origin"] is None
    assert [received.head.split()[0] for received in scripted.requests] == [b"OPTIONS"]


def test_pages_read_failures(shared_proxy: StartProxy) -> None:
    """A page can read errors if the registry is down, or the path is unknown or malformed."""
    origins = {"allowed": ["*"]}
    proxy = shared_proxy(f"http://127.0.0.1:{lab.free_port()}", origins=origins, mounts=["/m"])
    for target, status in (("/m/x", 502), ("/x", 404), ("/m/a%00b", 400)):
        assert from_page(proxy, "OPTIONS", target).status == 200
        got = from_page(proxy, "PUT", target)
        assert got.status == status
        assert got.headers["Access-Control-Allow-Origin"] == "*"
        assert got.headers["Access-Control-Allow-Credentials"] is None
        assert json.loads(got.body)["request_id"] == got.headers["X-Request-Id"]
