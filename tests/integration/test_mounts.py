"""Several registries behind one proxy, each below its own path."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import lab
import pytest
from support import below_a_path
from support.client import http2 as http2_client
from support.client import request
from support.fixtures import StartProxy
from support.hostile import Connection, targets
from support.proxies import running_proxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

from addon.protocol import target

STORY = lab.ROOT / "scripts" / "demo" / "client.py"
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.txt"
ENV = {"MLFLOW_TRACKING_TOKEN": "for-the-command-line"}


class Scene:
    """A proxy in front of two MLflow servers, of which one has two mounts, and of nothing."""

    def __init__(self, proxy: lab.Server, metrics: int) -> None:
        self.url = proxy.url
        self._metrics = metrics

    def series(self) -> list[str]:
        """Return the lines of the metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics") as page:
            lines: list[str] = page.read().decode().splitlines()
        return lines


@pytest.fixture(scope="module")
def scene(mlflow_server: lab.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """See `Scene`."""
    folder, metrics = tmp_path_factory.mktemp("mounts"), lab.free_port()
    with ExitStack() as started:
        second = started.enter_context(lab.registry(folder / "second", ajax_only=False))
        second.wait("/health")
        nginx = started.enter_context(below_a_path.start(folder / "nginx", second, "/ml")).wait()
        own = f"{nginx.url}/ml"
        proxy = running_proxy(
            folder / "proxy",
            mlflow_server.url,
            external=(),
            options=("--set", f"mlflow_metrics={metrics}"),
            mounts=[
                "/",
                {"path": "/team-a", "upstream": own},
                {
                    "path": "/read-only",
                    "upstream": own,
                    "dialect": "ajax",
                    "artifacts": {"write": False},
                },
                {"path": "/down", "upstream": f"http://127.0.0.1:{lab.free_port()}/x"},
            ],
        )
        yield Scene(started.enter_context(proxy), metrics)


@pytest.mark.parametrize("mount", ["", "/team-a"])
def test_a_real_client(scene: Scene, mount: str) -> None:
    """An unmodified client works with each registry: runs, artifacts, models."""
    run = subprocess.run(
        [lab.mlflow(3), STORY, scene.url + mount],
        env=os.environ,
        capture_output=True,
        timeout=180,
        check=False,
    )
    steps = [json.loads(line) for line in run.stdout.splitlines() if line.startswith(b"{")]
    assert len(steps) == 8, run.stderr.decode()
    assert [step for step in steps if not step["ok"]] == []


def test_artifacts(scene: Scene) -> None:
    """Each registry has its own files; the switch of one mount is for that mount alone."""
    assert request(scene.url, "/team-a" + FILE, method="PUT", body=b"of a").status == 200
    assert request(scene.url, "/team-a" + FILE).body == b"of a"
    assert request(scene.url, "/read-only" + FILE).body == b"of a"
    missing = request(scene.url, FILE)
    assert (missing.status, json.loads(missing.body)["error_code"]) != (200, None)
    assert request(scene.url, FILE, method="PUT", body=b"of the first").status == 200
    for method in ("PUT", "DELETE"):
        refused = request(scene.url, "/read-only" + FILE, method=method, body=b"x")
        assert refused.status == 503
        assert json.loads(refused.body)["error_code"] == "ARTIFACTS_DISABLED"
    assert request(scene.url, "/team-a" + FILE).body == b"of a"
    assert request(scene.url, FILE).body == b"of the first"
    assert request(scene.url, "/team-a" + FILE, method="DELETE").status == 200
    assert request(scene.url, FILE).body == b"of the first"


def test_one_connection(scene: Scene) -> None:
    """A client's connection serves all mounts; a registry that is down is an error in JSON."""
    client = http.client.HTTPConnection(scene.url.removeprefix("http://"), timeout=30)
    found = []
    for mount in ("", "/team-a", "/down", "/read-only", "", "/down", "/team-a"):
        client.request("GET", mount + SEARCH)
        answer = client.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        body = json.loads(answer.read())
        found.append((mount, answer.status))
        if mount == "/down":
            assert (body["error_code"], body["source"]) == ("TEMPORARILY_UNAVAILABLE", "proxy")
        else:
            assert "experiments" in body
    client.close()
    assert {status for mount, status in found if mount == "/down"} == {502}
    assert {status for mount, status in found if mount != "/down"} == {200}


def test_health_and_metrics(scene: Scene) -> None:
    """Each mount has a verdict of its own, which no other mount changes."""

    def verdict(path: str) -> tuple[int, str]:
        answer = request(scene.url, path)
        return answer.status, json.loads(answer.body)["status"]

    assert verdict("/health/mlflow") == (200, "ok")
    assert verdict("/team-a/health/mlflow") == (200, "ok")
    assert verdict("/down/health/mlflow") == (503, "critical")
    assert verdict("/readyz") == (200, "ready")
    assert verdict("/team-a/readyz") == (200, "ready")
    assert verdict("/down/readyz") == (503, "unavailable")
    assert verdict("/down/livez") == (200, "alive")
    detailed = json.loads(request(scene.url, "/team-a/health/mlflow/detailed").body)["probes"]
    assert {probe["url"].startswith(scene.url + "/team-a/") for probe in detailed} == {True}
    request(scene.url, SEARCH)
    request(scene.url, "/team-a" + SEARCH)
    request(scene.url, "/down" + SEARCH)
    assert request(scene.url, "/read-only" + FILE, method="DELETE").status == 503
    prefix = "mlflow_proxy_"
    series = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in scene.series()}
    assert series[f'{prefix}upstream_ready{{mount=""}}'] == "1.0"
    assert series[f'{prefix}upstream_ready{{mount="/team-a"}}'] == "1.0"
    assert series[f'{prefix}upstream_ready{{mount="/down"}}'] == "0.0"
    kind = "connection_refused"
    assert f'{prefix}upstream_failures_total{{kind="{kind}",mount="/down"}}' in series
    counted = [name for name in series if name.startswith(f"{prefix}requests_total{{")]
    for mount in ("", "/team-a", "/down"):
        assert any(f'family="tracking",method="GET",mount="{mount}"' in name for name in counted)
        waited = f'{prefix}first_byte_seconds_count{{family="tracking",mount="{mount}"}}'
        assert float(series[waited]) >= 1
    reason = "artifacts_disabled"
    assert series[f'{prefix}refused_total{{mount="",reason="{reason}"}}'] == "0.0"
    assert float(series[f'{prefix}refused_total{{mount="/read-only",reason="{reason}"}}']) >= 1


OFF = {"enabled": False}
ARTIFACTS = re.compile(
    r"/(ajax-)?api/[^/]+/(mlflow-artifacts|mlflow/(artifacts|get-trace-artifact|upload-artifact"
    r"|runs/create-promptlab-run|logged-models/[^/]+/artifacts))(/|$)|/get-artifact$"
)
"""Matches the paths of artifacts, after all that servers may decode."""


@pytest.fixture
def own() -> Iterator[Upstream]:
    """The scripted registry of a mount."""
    with Upstream() as server:
        yield server


def mounted(own: Upstream, **more: Any) -> list[Any]:
    return ["/", {"path": "/team-a", "upstream": f"{own.url}/ml", "dialect": "standard", **more}]


@pytest.mark.parametrize("seed", range(2))
def test_no_spelling_leads_around(
    scripted: Upstream, own: Upstream, start_proxy: StartProxy, seed: int
) -> None:
    """In no spelling does a mount's registry get an artifact request that is switched off.

    It gets nothing outside of its base path either, and nothing that is not below its mount.
    """
    scripted.answer = OK
    proxy = start_proxy(scripted.url, mounts=mounted(own, artifacts=OFF))
    connection = Connection(proxy.url)
    sent = [
        *targets(seed, 400, "/team-a"),
        *((method, "/team-a" + path) for method, path in targets(seed + 10, 400)),
        *targets(seed + 20, 100),
    ]
    for method, path in sent:
        connection.send(method, path, "X-Forwarded-Prefix: /team-a\r\n")
    assert len(own.requests) > 20
    for got in own.requests:
        path = target.fold(got.target.partition("?")[0]).path
        assert path.startswith("/ml"), got.target
        assert got.header("host") == [own.url.removeprefix("http://")]
        assert not ARTIFACTS.search(path), got.target


def test_names_and_credentials(
    scripted: Upstream, own: Upstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """Each registry sees its own name in Host, and its own credentials."""
    scripted.answer = OK
    scripted.requests.clear()
    secret = tmp_path / "secret"
    secret.write_text("for-team-a")
    credentials = [{"host": own.url.removeprefix("http://"), "file": str(secret)}]
    upstream = {"credentials": credentials}
    proxy = start_proxy(scripted.url, mounts=mounted(own), upstream=upstream, env=ENV)
    for path in (SEARCH, "/team-a" + SEARCH, "/health/mlflow", "/team-a/health/mlflow"):
        assert request(proxy.url, path).status in (200, 503)
    headers = {"Authorization": "Bearer of-a-client"}
    request(proxy.url, "/team-a" + SEARCH, headers=headers)
    assert {*own.requests[-1].header("authorization")} == {"Bearer of-a-client"}
    assert {got.header("host")[0] for got in own.requests} == {own.url.removeprefix("http://")}
    assert {value for got in own.requests[:-1] for value in got.header("authorization")} == {
        "Bearer for-team-a"
    }
    assert {value for got in scripted.requests for value in got.header("authorization")} == {
        "Bearer for-the-command-line"
    }
    assert not any("x-mlflow-proxy-probe" in got.head.decode().lower() for got in own.requests)


@pytest.mark.parametrize("option", ["false", "true"])
def test_a_kept_host(
    scripted: Upstream, own: Upstream, start_proxy: StartProxy, option: str
) -> None:
    """With keep_host_header all registries see the client's Host."""
    options = ("--set", f"keep_host_header={option}")
    proxy = start_proxy(scripted.url, mounts=mounted(own), options=options)
    for host in ("mlflow.example", scripted.url.removeprefix("http://")):
        request(proxy.url, "/team-a" + SEARCH, headers={"Host": host}, skip_host=True)
        expected = host if option == "true" else own.url.removeprefix("http://")
        assert own.requests[-1].header("host") == [expected]


class Secure(Upstream):
    """A scripted registry that speaks TLS."""

    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self.names: list[str | None] = []
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate)
        self._tls.sni_callback = lambda _, name, __: self.names.append(name)

    def _serve(self, connection: socket.socket) -> None:
        try:
            super()._serve(self._tls.wrap_socket(connection, server_side=True))
        except OSError:
            return  # The proxy did not trust the certificate.


@pytest.mark.parametrize("http2", [False, True])
def test_tls(
    scripted: Upstream, certificate: Path, tmp_path: Path, start_proxy: StartProxy, http2: bool
) -> None:
    """A mount's registry may need TLS where the others do not; it is asked by its own name."""
    scripted.answer = OK
    with Secure(certificate) as own:
        url = f"https://localhost:{own.port}/ml"
        mounts = ["/", {"path": "/team-a", "upstream": url, "dialect": "ajax"}]
        options = ("--set", f"confdir={tmp_path / 'conf'}", "--set", "ssl_insecure=true")
        proxy = start_proxy(scripted.url, mounts=mounts, options=options, external=())
        if http2:
            base = proxy.url.replace("http://127.0.0.1", "https://localhost")
            client = http2_client(tmp_path / "conf" / "mitmproxy-ca-cert.pem")
        else:
            base, client = proxy.url, httpx.Client(timeout=10)
        with client:
            for mount in ("/team-a", "", "/team-a"):
                answer = client.get(base + mount + SEARCH)
                version = "HTTP/2" if http2 else "HTTP/1.1"
                assert (answer.status_code, answer.http_version) == (200, version)
        assert [got.target for got in own.requests] == ["/ml/ajax-" + SEARCH[1:]] * 2
        assert {got.header("host")[0] for got in own.requests} == {f"localhost:{own.port}"}
        assert {*own.names} == {"localhost"}
        assert scripted.requests[-1].target == SEARCH
        assert scripted.requests[-1].header("host") == [scripted.url.removeprefix("http://")]


def test_an_unknown_certificate(
    scripted: Upstream, certificate: Path, start_proxy: StartProxy
) -> None:
    """A mount's registry is not used if its certificate cannot be verified."""
    with Secure(certificate) as own:
        mounts = ["/", {"path": "/team-a", "upstream": f"https://127.0.0.1:{own.port}"}]
        proxy = start_proxy(scripted.url, mounts=mounts)
        answer = request(proxy.url, "/team-a" + SEARCH)
        assert (answer.status, json.loads(answer.body)["source"]) == (502, "proxy")
        assert own.requests == []


def test_a_retry(scripted: Upstream, own: Upstream, start_proxy: StartProxy) -> None:
    """A kept connection that a mount's registry has closed is replaced by a new one to it."""
    seen: list[socket.socket] = []

    def stale(_: Received, connection: socket.socket) -> bool:
        # The second request on the first connection gets no answer.
        seen.append(connection)
        if len(seen) == 2:
            return False
        connection.sendall(OK)
        return True

    own.answer = stale
    proxy = start_proxy(scripted.url, mounts=mounted(own))
    client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
    for _ in range(2):
        client.request("GET", "/team-a" + SEARCH)
        assert client.getresponse().read() == b"{}"
    client.close()
    assert [got.target for got in own.requests] == ["/ml" + SEARCH] * 3
    assert seen[1] is seen[0]
    assert seen[2] is not seen[0]


def test_a_dialect_learned_from_clients(
    scripted: Upstream, own: Upstream, start_proxy: StartProxy
) -> None:
    """A mount's registry behind a token is learned about like that of the command line."""

    def guarded(got: Received, connection: socket.socket) -> bool:
        if not got.header("authorization"):
            connection.sendall(response("401 Unauthorized", b"", ("WWW-Authenticate", "Bearer")))
        elif "/ajax-api/" in got.target:
            connection.sendall(OK)
        else:
            html = ("Content-Type", "text/html")
            connection.sendall(response("404 Not Found", b"<p>no</p>", html))
        return True

    own.answer = guarded
    proxy = start_proxy(scripted.url, mounts=mounted(own, dialect="auto"), external=())
    headers = {"Authorization": "Bearer of-a-client"}
    for _ in range(2):
        assert request(proxy.url, "/team-a" + SEARCH, headers=headers).status == 200
    by_client = [got.target for got in own.requests if got.header("authorization")]
    ajax = "/ml/ajax-" + SEARCH[1:]
    assert by_client == ["/ml" + SEARCH, ajax, ajax]
    address = f"127.0.0.1:{own.port} of mount /team-a"
    assert f"upstream {address}: it is used through /ml/ajax-api" in proxy.text()


def test_new_rules(
    scripted: Upstream, own: Upstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """A mount's registry and its switch may change while the proxy runs."""
    scripted.answer = own.answer = OK
    proxy = start_proxy(scripted.url, mounts=mounted(own), external=())
    rules = tmp_path / "proxy0" / "rules.yaml"
    assert request(proxy.url, "/team-a" + FILE).status == 200
    lab.write_rules(rules, external=(), mounts=mounted(own, artifacts=OFF))
    eventually(lambda: request(proxy.url, "/team-a" + FILE).status == 503)
    lab.write_rules(rules, external=(), mounts=["/"])
    eventually(lambda: request(proxy.url, "/team-a" + FILE).status == 200)
    assert scripted.requests[-1].target == "/team-a" + FILE
    lab.write_rules(rules, external=(), mounts=[*mounted(own), {"path": "/b", "upstream": own.url}])
    own.requests.clear()

    def reaches_it() -> bool:
        request(proxy.url, "/b/api/x")
        return any(got.target == "/api/x" for got in own.requests)

    eventually(reaches_it)
