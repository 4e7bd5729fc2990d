"""Health over HTTP, and the same probes from scripts/probe.sh."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab
import pytest
from support.client import request
from support.fixtures import StartProxy
from support.probe import probe
from support.upstream import OK, Received, Upstream, silent

# Single sign-on: one server asks for a login at every path, the others only for /ajax-api/.
LOGIN = "https://idp.example.org/authorize?client_id=registry"
LOGIN_PAGES = f"""
  server {{
    listen 127.0.0.1:PORT;
    default_type text/html;
    location / {{ return 404; }}
    location /page/ {{ return 200 "<!doctype html><title>Sign in</title>"; }}
    location /page-below/ajax-api/ {{ return 200 "<!doctype html><title>Sign in</title>"; }}
    location /redirect/ {{ return 302 {LOGIN}; }}
    location /redirect-below/ajax-api/ {{ return 302 {LOGIN}; }}
  }}
"""
NAMES = [
    "connectivity",
    "experiments_api",
    "runs_api",
    "models_api",
    "model_versions_api",
    "artifacts_api",
    "logged_models_api",
    "version",
]


def get(url: str, target: str) -> tuple[int, dict[str, object]]:
    answer = request(url, target)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("mount", ["", "/mlflow", "/api/mlflow"])
def test_a_healthy_registry(external_proxy: lab.Server, mount: str) -> None:
    """All health endpoints report success under every mount; /health is MLflow's own."""
    assert get(external_proxy.url, f"{mount}/livez") == (200, {"status": "alive"})
    assert get(external_proxy.url, f"{mount}/readyz")[0] == 200
    status, summary = get(external_proxy.url, f"{mount}/health/mlflow")
    assert (status, summary["status"]) == (200, "ok")
    assert list(summary["probes"]) == NAMES  # type: ignore[call-overload]
    status, detailed = get(external_proxy.url, f"{mount}/health/mlflow/detailed")
    assert status == 200
    assert isinstance(detailed["probes"], list)
    assert [probe["name"] for probe in detailed["probes"]] == NAMES
    for verdict in detailed["probes"]:
        assert set(verdict) == {
            "name", "url", "status_code", "success", "response_time", "message", "state",
        }  # fmt: skip
        assert verdict["success"]
    assert request(external_proxy.url, f"{mount}/health").body == b"OK"


def test_artifacts_off(mlflow_server: lab.Server, start_proxy: StartProxy) -> None:
    """Artifacts that are switched off are reported as disabled, not as a failure."""
    proxy = start_proxy(mlflow_server.url, artifacts={"enabled": False})
    status, summary = get(proxy.url, "/health/mlflow")
    assert (status, summary["status"]) == (200, "ok")
    assert summary["probes"]["artifacts_api"] == "disabled"  # type: ignore[index]


def test_without_rewriting(external_registry: lab.Server, start_proxy: StartProxy) -> None:
    """Without rewriting, the probes find the fault that the proxy fixes."""
    proxy = start_proxy(external_registry.url, external=("elsewhere.example",))
    status, summary = get(proxy.url, "/health/mlflow")
    assert (status, summary["status"]) == (503, "critical")
    assert summary["probes"]["artifacts_api"] == "404 RESOURCE_NOT_FOUND"  # type: ignore[index]
    assert get(proxy.url, "/readyz")[0] == 200


def test_upstream_down(start_proxy: StartProxy) -> None:
    """With the upstream down, the proxy is alive but not ready."""
    proxy = start_proxy(f"http://127.0.0.1:{lab.free_port()}")
    assert get(proxy.url, "/livez")[0] == 200
    status, content = get(proxy.url, "/readyz")
    assert (status, content["status"]) == (503, "unavailable")
    assert get(proxy.url, "/readyz/local") == (200, {"status": "ready", "rules": "current"})
    assert get(proxy.url, "/health/mlflow")[0] == 503


def test_a_slow_check_is_shared(start_proxy: StartProxy) -> None:
    """Many callers share one check of a slow upstream, while other flows go on."""
    release = threading.Event()

    def slow_health(received: Received, connection: object) -> None:
        if received.target == "/health":
            release.wait(10)
        connection.sendall(OK)  # type: ignore[attr-defined]

    with Upstream(slow_health) as upstream:
        # `start_proxy` waits for /livez, which sends nothing upstream.
        proxy = start_proxy(upstream.url, health={"cache": 60})
        with ThreadPoolExecutor(20) as pool:
            checks = [pool.submit(get, proxy.url, "/readyz") for _ in range(20)]
            while not upstream.requests:
                time.sleep(0.01)
            assert request(proxy.url, "/api/2.0/mlflow/x").status == 200
            assert not any(check.done() for check in checks)
            release.set()
            assert {check.result()[0] for check in checks} == {200}
        # A verdict is reused for a while.
        assert get(proxy.url, "/readyz")[0] == 200
        asked = [r.target for r in upstream.requests if r.target == "/health"]
        assert len(asked) == 1


@pytest.mark.parametrize("mount", ["", "/mlflow/"])
def test_probe_script(external_proxy: lab.Server, mount: str) -> None:
    """The script's JSON has every probe with its verdict, and the exit code is 0."""
    run = probe(external_proxy.url + mount, "--json", "--write")
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert document["status"] == "ok"
    assert [p["name"] for p in document["probes"]] == [*NAMES, "artifacts_write"]
    assert all(p["success"] for p in document["probes"])
    run = probe(external_proxy.url + mount)
    assert run.returncode == 0
    assert run.stdout.startswith("ok ")
    assert "artifacts_api" in run.stdout


def test_probe_script_without_the_proxy(external_registry: lab.Server) -> None:
    """Without the proxy, the registry's HTML makes the probes fail: exit code 2."""
    run = probe(external_registry.url)
    assert run.returncode == 2
    assert "404 with an HTML page" in run.stdout


@pytest.mark.parametrize(
    ("option", "reader", "first"),
    [
        ("", "head -n 1", "critical "),
        ("--json", "head -n 1", "{"),
        ("", "true", ""),
        ("--json", "true", ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_probe_script_in_a_pipe(option: str, reader: str, first: str, unbuffered: str) -> None:
    """A reader that stops early does not change the exit code."""
    probe = f"{lab.ROOT}/scripts/probe.sh {option} http://127.0.0.1:9"
    script = f"set -o pipefail; {probe} | {reader}"
    run = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (2, "")
    assert run.stdout.startswith(first)


def test_probe_script_warns(external_proxy: lab.Server, tmp_path: Path) -> None:
    """A failed optional probe is a warning: exit code 1."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("health: {probes: [{name: x, path: /api/2.0/mlflow/nope, optional: true}]}")
    run = probe(external_proxy.url, "--rules", str(rules))
    assert run.returncode == 1
    assert run.stdout.startswith("warning ")


@pytest.mark.parametrize("kind", ["page", "redirect"])
def test_login_pages(start_proxy: StartProxy, tmp_path: Path, kind: str) -> None:
    """A login page for /ajax-api/ alone is judged like one for all paths, and never as an API."""
    with lab.nginx(tmp_path / "nginx", LOGIN_PAGES) as sso:
        sso.wait_for_port()
        everywhere, below = f"{sso.url}/{kind}", f"{sso.url}/{kind}-below"
        mounts = [
            "/",
            {"path": "/everywhere", "upstream": everywhere, "dialect": "ajax"},
            {"path": "/below", "upstream": below, "dialect": "ajax"},
            {"path": "/below-auto", "upstream": below},
        ]
        proxy = start_proxy(sso.url, external=(), mounts=mounts)
        said = {}
        for mount in ("/everywhere", "/below", "/below-auto"):
            status, summary = get(proxy.url, f"{mount}/health/mlflow")
            said[mount] = status, summary["status"], summary["probes"]["experiments_api"]  # type: ignore[index]
            # The token of a client is refused.
            run = probe(proxy.url + mount, MLFLOW_TRACKING_TOKEN="old")
            assert run.returncode == 2, run.stdout
        asks = 200, "warning", "401: there, but it asks for credentials"
        not_known = "404: the proxy does not know yet which API the registry serves"
        assert said == {
            "/everywhere": asks,
            "/below": asks,
            "/below-auto": (503, "critical", not_known),
        }
        for url in (everywhere, below):
            run = probe("--diagnose", url)
            assert run.returncode == 3
            assert "finding: it answers with web pages, perhaps to ask for a login" in run.stdout
            assert probe(url).returncode == 2


@pytest.mark.parametrize(
    "arguments", [("no-url",), ("--nope",), ("--timeout", "0"), ("--rules", "/none.yaml")]
)
def test_probe_script_unknown(arguments: tuple[str, ...]) -> None:
    """If the probes cannot run, the exit code is 3 and one line says why."""
    run = probe(*arguments)
    assert run.returncode == 3
    assert run.stderr.strip()
    assert "Traceback" not in run.stderr


def test_probe_script_does_not_print_credentials(start_proxy: StartProxy) -> None:
    """Token, user and password reach the registry but appear in no output."""
    unauthorized = (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n"
        b'Content-Length: 35\r\n\r\n{"error_code": "UNAUTHENTICATED"}   '
    )
    with Upstream(unauthorized) as upstream:
        proxy = start_proxy(upstream.url)
        run = probe(proxy.url, "--json", MLFLOW_TRACKING_TOKEN="canary")
        assert run.returncode == 2
        assert "the credentials were refused" in run.stdout
        assert {r.header("authorization")[0] for r in upstream.requests} == {"Bearer canary"}
        with_password = proxy.url.replace("http://", "http://canary-user:canary-word@")
        second = probe(with_password, "--json")
        assert upstream.requests[-1].header("authorization")[0].startswith("Basic ")
    for text in (run.stdout, run.stderr, second.stdout, second.stderr, proxy.text()):
        assert "canary" not in text


def test_probe_script_times_out() -> None:
    """A silent registry costs one timeout for all probes together."""
    with Upstream(silent) as upstream:
        run = probe(upstream.url, "--timeout", "0.5", "--json")
    assert run.returncode == 2
    document = json.loads(run.stdout)
    assert {p["message"] for p in document["probes"]} == {"no answer within 0.5 s"}
