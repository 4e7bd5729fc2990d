"""API detection from clients' requests, for a registry whose credentials the proxy lacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lab
import pytest
from support.client import Response, http2, request
from support.fixtures import StartProxy
from support.upstream import Received, Upstream, response
from support.waiting import eventually

TOKEN = "t0ken-of-a-client"
AUTO: dict[str, Any] = {"external": (), "upstream": {"dialect": "auto"}}
SEARCH = "/api/2.0/mlflow/experiments/search"
GET = "/api/2.0/mlflow/experiments/get?experiment_id=0"
ONE = b'{"max_results": 1}'
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.json"

# Without the token, every path gets 401.
GUARDED = f"""
  upstream mlflow {{ server UPSTREAM; keepalive 16; }}
  map $http_authorization $known {{ default 0; "Bearer {TOKEN}" 1; }}
  server {{
    listen 127.0.0.1:PORT;{lab.STREAMING}
    if ($known = 0) {{ return 401; }}
    location / {{ proxy_pass http://mlflow; }}
    location SHUT/ {{ return 404; }}
  }}
"""
CLIENT = """
import json, mlflow
client = mlflow.MlflowClient()
names = [experiment.name for experiment in client.search_experiments()]
run = client.create_run(client.create_experiment(CALLED))
client.log_metric(run.info.run_id, "m", 1.0)
client.log_text(run.info.run_id, "text", "a.txt")
print(json.dumps([names, mlflow.artifacts.load_text(run.info.artifact_uri + "/a.txt")]))
"""


def guarded(
    folder: Path, mlflow: lab.Server, shut: str = "/api", *, port: int | None = None
) -> lab.Server:
    """nginx that demands a token in front of MLflow, and answers 404 below one prefix."""
    config = GUARDED.replace("UPSTREAM", mlflow.url.removeprefix("http://"))
    return lab.nginx(folder, config.replace("SHUT", shut), port=port)


def ask(proxy: lab.Server, target: str, method: str = "GET", **how: Any) -> Response:
    """Send a request with the right token."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    headers |= how.pop("headers", {})
    return request(proxy.url, target, method=method, headers=headers, **how)


@pytest.fixture(scope="module")
def registry(
    mlflow_server: lab.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A registry that serves only /ajax-api/, and nothing without the token."""
    with guarded(tmp_path_factory.mktemp("guarded"), mlflow_server) as server:
        yield server.wait()


@pytest.mark.parametrize("version", [3, 2])
def test_a_real_client(registry: lab.Server, start_proxy: StartProxy, version: int) -> None:
    """The first call of a real client works, and so do all later ones."""
    proxy = start_proxy(registry.url, **AUTO)
    script = CLIENT.replace("CALLED", repr(f"by-clients-{version}-{proxy.url}"))
    run = subprocess.run(
        [lab.mlflow(version), "-W", "ignore", "-c", script],
        env=os.environ | {"MLFLOW_TRACKING_URI": proxy.url, "MLFLOW_TRACKING_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    names, text = json.loads(run.stdout)
    assert "Default" in names
    assert text == "text"
    said = "used through /ajax-api (/api: 404 HTML; /ajax-api: 200 JSON; a client's own request "
    assert said in proxy.text()
    assert proxy.text().count("it is used through") == 1
    assert TOKEN not in proxy.text()


def test_requests_that_settle_the_dialect(registry: lab.Server, start_proxy: StartProxy) -> None:
    """Only a read with the token settles the API; after that, all requests are rewritten."""
    proxy = start_proxy(registry.url, **AUTO)
    for target in (SEARCH, "/ajax-api" + SEARCH[4:], "/api/2.0/mlflow/nope"):
        assert request(proxy.url, target).status == 401
    create = "/api/2.0/mlflow/experiments/create"
    body = json.dumps({"name": f"taught-{proxy.url}"}).encode()
    refused = ask(proxy, create, "POST", body=body)
    assert refused.status == 404
    message = json.loads(refused.body)["message"]
    assert message.startswith(f"The requested resource was not found: {create}. This proxy does ")
    assert "upstream.external_hosts" in message
    assert "MLFLOW_TRACKING_TOKEN" in message
    # A route that neither prefix has, and one that is the same under both.
    assert "This proxy does not" in str(ask(proxy, "/api/2.0/mlflow/nope").body)
    assert ask(proxy, "/nope").status == 404
    assert "it is used through" not in proxy.text()
    assert proxy.text().count("its dialect is not clear") == 1

    assert ask(proxy, GET).status == 200
    assert "it is used through /ajax-api" in proxy.text()
    assert ask(proxy, create, "POST", body=body).status == 200
    missing = ask(proxy, "/api/2.0/mlflow/nope")
    assert (missing.status, "This proxy" in str(missing.body)) == (404, False)
    # MLflow itself reports a missing experiment.
    assert b"RESOURCE_DOES_NOT_EXIST" in ask(proxy, GET[:-1] + "123456").body


def test_a_registry_that_changes(
    mlflow_server: lab.Server, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """The detected API is used until a client's request shows that it has changed."""
    port = lab.free_port()
    with guarded(tmp_path / "before", mlflow_server, port=port) as registry:
        proxy = start_proxy(registry.wait().url, **AUTO)
        assert ask(proxy, SEARCH, "POST", body=ONE).status == 200
    with guarded(tmp_path / "after", mlflow_server, "/ajax-api", port=port) as registry:
        registry.wait()
        assert ask(proxy, SEARCH, "POST", body=ONE).status == 200
    assert "it is used through /api (/ajax-api: 404 HTML; /api: 200 JSON; " in proxy.text()


def test_rules_take_precedence(registry: lab.Server, start_proxy: StartProxy) -> None:
    """With a dialect in the rules, no other path is tried and nothing is detected."""
    proxy = start_proxy(registry.url, external=(), upstream={"dialect": "standard"})
    for _ in range(2):
        refused = ask(proxy, GET)
        assert (refused.status, "This proxy" in str(refused.body)) == (404, False)


def test_the_second_request_is_judged(registry: lab.Server, start_proxy: StartProxy) -> None:
    """A request is not tried on the other path if the rules refuse it there."""
    endpoint = {"path": "/ajax-api/[^/]+/mlflow/experiments/get", "operation": "read"}
    proxy = start_proxy(registry.url, **AUTO, artifacts={"enabled": False, "endpoints": [endpoint]})
    assert ask(proxy, GET).status == 404
    foreign = {"Origin": "http://evil.example"}
    assert ask(proxy, SEARCH, "POST", body=ONE, headers=foreign).status == 404
    assert "it is used through" not in proxy.text()
    assert ask(proxy, SEARCH, "POST", body=ONE).status == 200
    assert ask(proxy, GET).status == 503


HTML = ("Content-Type", "text/html")
PAGE = response("404 Not Found", b"<html>", HTML)
JSON = ("Content-Type", "application/json")
DENIED = response("401 Unauthorized", b"{}", JSON)
LONG = b'{"runs": ["' + b"x" * 2_000_000 + b'"]}'


@pytest.fixture(scope="module")
def login_upstream() -> Iterator[Upstream]:
    """An upstream that demands credentials, which the proxy itself lacks."""
    with Upstream() as server:
        yield server


def by_prefix(answers: dict[str, bytes]) -> Callable[[Received, socket.socket], bool]:
    """Choose the answer by the start of the target; without a token it is 401."""

    def send(received: Received, connection: socket.socket) -> bool:
        allowed = received.header("Authorization")
        found = (answers[begin] for begin in answers if received.target.startswith(begin))
        answer = next(found, PAGE) if allowed else DENIED
        connection.sendall(answer)
        return bool(answer) and b"Connection: close" not in answer

    return send


@pytest.mark.parametrize(
    ("target", "second", "status"),
    [
        # Answers of an application that is not MLflow.
        (GET, response("200 OK", b"<html>", HTML), 404),
        (GET, response("404 Not Found", b'{"detail": "no"}', JSON), 404),
        (GET, response("302 Found", b"", ("Location", "/login")), 404),
        (GET, response("401 Unauthorized", b"<html>"), 404),
        (GET, response("503 Unavailable", b"<html>"), 503),
        (GET, b"", 502),
        # MLflow's own error is the better answer, but any user without permission may get it.
        (GET, response("403 Forbidden", b'{"error_code": "PERMISSION_DENIED"}', JSON), 403),
        # An artifact may contain any JSON.
        (FILE, response("200 OK", b'{"a": 1}', JSON), 200),
    ],
)
def test_inconclusive_answers(
    login_upstream: Upstream, shared_proxy: StartProxy, target: str, second: bytes, status: int
) -> None:
    """Inconclusive answers settle nothing, and the client gets the better of the two."""
    login_upstream.answer = by_prefix({"/ajax-api/": second})
    proxy = shared_proxy(login_upstream.url, **AUTO)
    eventually(lambda: "its dialect is not clear" in proxy.text())
    assert ask(proxy, target).status == status
    assert "it is used through" not in proxy.text()


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        # A web application answers every path with a page.
        (response("200 OK", b"<html>", HTML), response("200 OK", b"{}", JSON), 200),
        # Large answers pass without being held.
        (PAGE, response("200 OK", LONG, JSON, framing="chunked"), 200),
        # MLflow's own error, after a page that ends when the connection closes.
        (
            response("404 Not Found", b"<html>", framing="close"),
            response("404 Not Found", b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', JSON),
            404,
        ),
    ],
)
def test_conclusive_answers(
    login_upstream: Upstream, start_proxy: StartProxy, first: bytes, second: bytes, status: int
) -> None:
    """Any answer of MLflow's API on the second path settles the detection."""
    login_upstream.answer = by_prefix({"/ajax-api/": second, "/api/": first})
    proxy = start_proxy(login_upstream.url, **AUTO)
    eventually(lambda: "its dialect is not clear" in proxy.text())
    assert ask(proxy, GET).status == status
    assert "it is used through /ajax-api" in proxy.text()


def test_the_second_request_is_the_same(login_upstream: Upstream, start_proxy: StartProxy) -> None:
    """The second request differs from the first only in its path."""
    login_upstream.answer = by_prefix({"/ajax-api/": response("200 OK", b'{"a": 1}', JSON)})
    proxy = start_proxy(login_upstream.url, **AUTO, forwarded={"send": True})
    eventually(lambda: "its dialect is not clear" in proxy.text())
    login_upstream.requests.clear()
    assert ask(proxy, "/mlflow" + SEARCH + "?a=%62", "POST", body=ONE).status == 200
    first, second = login_upstream.requests
    assert first.target == f"{SEARCH}?a=%62"
    assert second.target == f"/ajax-api{SEARCH[4:]}?a=%62"
    assert second.head.replace(b"/ajax-api/", b"/api/") == first.head
    assert second.body == first.body == ONE


def test_http2(login_upstream: Upstream, start_proxy: StartProxy, tmp_path: Path) -> None:
    """An HTTP/2 request is tried on both paths, and later ones use the detected API."""
    login_upstream.answer = by_prefix({"/ajax-api/": response("200 OK", b'{"a": 1}', JSON)})
    proxy = start_proxy(login_upstream.url, **AUTO, options=("--set", f"confdir={tmp_path}"))
    eventually(lambda: "its dialect is not clear" in proxy.text())
    url = proxy.url.replace("http://127.0.0.1", "https://localhost")
    login_upstream.requests.clear()
    with http2(tmp_path / "mitmproxy-ca-cert.pem") as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        got = session.post(url + SEARCH, content=ONE)
        assert (got.http_version, got.status_code, got.json()) == ("HTTP/2", 200, {"a": 1})
        assert session.get(url + GET).status_code == 200
    # The proxy may ask for the dialect once more meanwhile.
    of_client = [each for each in login_upstream.requests if each.header("Authorization")]
    first, second, third = of_client
    assert (first.body, second.body) == (ONE, ONE)
    assert [each.target.split("/")[1] for each in (first, second, third)] == [
        *("api", "ajax-api", "ajax-api")
    ]
