"""Options of mitmproxy that demand credentials from clients and add others for the registry."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support.client import request
from support.proxies import running_proxy
from support.waiting import eventually

CLIENT = "scientist:front-door"
REGISTRY = "robot:back-door"


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


ADDED = {
    "upstream_auth": f"upstream_auth={REGISTRY}",
    "modify_headers": f"modify_headers=|~q|Authorization|{basic(REGISTRY)['Authorization']}",
}


@pytest.fixture(scope="module")
def guarded(
    mlflow_server: lab.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """nginx that demands credentials and serves MLflow only below /ajax-api/."""
    folder = tmp_path_factory.mktemp("guarded")
    user, password = REGISTRY.split(":")
    (folder / "users").write_text(f"{user}:{{PLAIN}}{password}\n")
    guard = f"auth_basic registry; auth_basic_user_file {folder}/users;\n    location /api/"
    config = lab.EXTERNAL.replace("UPSTREAM", mlflow_server.url.removeprefix("http://"))
    with lab.nginx(folder, config.replace("location /api/", guard)) as server:
        yield server.wait()


@pytest.fixture(scope="module", params=ADDED)
def proxy(
    guarded: lab.Server, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[lab.Server]:
    """A proxy that demands credentials, adds others and detects the registry's API."""
    folder = tmp_path_factory.mktemp("credentials")
    options = ("--set", f"proxyauth={CLIENT}", "--set", ADDED[request.param])
    with running_proxy(
        folder, guarded.url, external=(), upstream={"dialect": "auto"}, options=options
    ) as proxy:
        yield proxy
        text = proxy.text()
        for secret in (*CLIENT.split(":"), *REGISTRY.split(":"), *basic(REGISTRY).values()):
            assert secret not in text


def test_probes_and_dialect(proxy: lab.Server) -> None:
    """Probes and API detection send the added credentials and need no client credentials."""
    eventually(lambda: "it is used through /ajax-api" in proxy.text())
    ready = request(proxy.url, "/readyz", headers=basic(CLIENT))
    assert (ready.status, json.loads(ready.body)["status"]) == (200, "ready")
    report = json.loads(request(proxy.url, "/health/mlflow/detailed", headers=basic(CLIENT)).body)
    assert report["status"] == "ok", report


@pytest.mark.parametrize("path", ["/livez", "/health/mlflow", "/api/2.0/mlflow/runs/get"])
@pytest.mark.parametrize("headers", [{}, basic("scientist:wrong"), {"X-MLflow-Proxy-Probe": "x"}])
def test_requests_without_credentials(
    proxy: lab.Server, path: str, headers: dict[str, str]
) -> None:
    """A request without valid credentials gets 401 on every path, even with a probe header."""
    assert request(proxy.url, path, headers=headers).status == 401


def test_a_real_client(proxy: lab.Server, tmp_path: Path) -> None:
    """A real client logs in to the proxy; its streamed requests get the added credentials, too."""
    script = (
        "import mlflow, os, pathlib\n"
        "pathlib.Path('big.bin').write_bytes(os.urandom(3_000_000))\n"
        "with mlflow.start_run() as run: mlflow.log_artifact('big.bin')\n"
        "back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, "
        "artifact_path='big.bin', dst_path='back')\n"
        "assert pathlib.Path(back).read_bytes() == pathlib.Path('big.bin').read_bytes()\n"
    )
    user, password = CLIENT.split(":")
    environment = {
        "MLFLOW_TRACKING_URI": proxy.url,
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    run = subprocess.run(
        [lab.mlflow(3), "-c", script],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
