"""The proxy's purpose: a real, unmodified MLflow client uploads, registers and downloads."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import lab
import pytest
from support.fixtures import StartProxy

STORY = lab.ROOT / "scripts" / "demo" / "client.py"
STEPS = 8


def run_demo(version: int, url: str, **env: str) -> list[dict[str, str | bool]]:
    """Run the demo with an MLflow client of a major version; return its steps."""
    run = subprocess.run(
        [lab.mlflow(version), STORY, url],
        env=os.environ | env,
        capture_output=True,
        timeout=180,
        check=False,
    )
    steps = [json.loads(line) for line in run.stdout.splitlines() if line.startswith(b"{")]
    assert len(steps) == STEPS, run.stderr.decode()
    return steps


@pytest.mark.parametrize(
    ("version", "mount"), [(3, ""), (3, "/mlflow"), (3, "/api/mlflow"), (2, ""), (2, "/mlflow")]
)
def test_external_registry(external_proxy: lab.Server, version: int, mount: str) -> None:
    """Every step of the demo works through the proxy, under every public mount."""
    steps = run_demo(version, external_proxy.url + mount)
    assert [step for step in steps if not step["ok"]] == []


def test_without_the_proxy(external_registry: lab.Server) -> None:
    """Without the proxy, every step fails with an HTML page: this is why the proxy exists."""
    for step in run_demo(3, external_registry.url):
        assert not step["ok"]
        assert "404 Not Found" in str(step["detail"])


def test_internal_upstream(mlflow_server: lab.Server, start_proxy: StartProxy) -> None:
    """An upstream that serves /api/ works through the proxy, without rewrites."""
    proxy = start_proxy(mlflow_server.url, external=("registry.hokus.ai",))
    assert [step for step in run_demo(3, proxy.url) if not step["ok"]] == []


def test_https(external_registry: lab.Server, start_proxy: StartProxy, tmp_path: Path) -> None:
    """Every step works over TLS, with mitmproxy's own certificate authority."""
    proxy = start_proxy(external_registry.url, options=("--set", f"confdir={tmp_path / 'conf'}"))
    url = proxy.url.replace("http://127.0.0.1", "https://localhost")
    ca = str(tmp_path / "conf" / "mitmproxy-ca-cert.pem")
    steps = run_demo(3, url, MLFLOW_TRACKING_SERVER_CERT_PATH=ca, REQUESTS_CA_BUNDLE=ca)
    assert [step for step in steps if not step["ok"]] == []


def test_base_path(mlflow_server: lab.Server, start_proxy: StartProxy, tmp_path: Path) -> None:
    """A registry that serves below a base path works under the proxy's mounts."""
    servers = f"""
      server {{
        listen 127.0.0.1:PORT;
        proxy_set_header Host $http_host;
        location /mlops/registry/api/ {{ return 404; }}
        location /mlops/registry/ {{ proxy_pass {mlflow_server.url}/; }}
      }}
    """
    with lab.nginx(tmp_path / "nginx", servers) as registry:
        registry.wait()
        proxy = start_proxy(registry.url, upstream={"base_path": "/mlops/registry"})
        steps = run_demo(3, proxy.url + "/mlflow")
    assert [step for step in steps if not step["ok"]] == []
