"""Registries that serve nothing at the root: the prefix is detected from clients' requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lab
from support.client import request
from support.fixtures import StartProxy
from support.probe import probe
from support.upstream import Upstream, response
from support.waiting import eventually

AUTO: dict[str, Any] = {"external": (), "upstream": {"dialect": "auto"}}
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
CREATE = "/api/2.0/mlflow/experiments/create"
FILE = "/api/2.0/mlflow-artifacts/artifacts/prefixed.txt"
JSON = {"Content-Type": "application/json"}

BELOW = f"""
  upstream mlflow {{ server UPSTREAM; keepalive 16; }}
  server {{
    listen 127.0.0.1:PORT;{lab.STREAMING}
    location / {{ return 404; }}
    location /team-a/ajax-api/ {{ proxy_pass http://mlflow/ajax-api/; }}
    location = /team-a/moved {{ return 302 /team-a/elsewhere; }}
    location TEAM-B/ajax-api/ {{ proxy_pass http://mlflow/ajax-api/; }}
  }}
"""


def nginx(folder: Path, mlflow: lab.Server, team_b: str = "/absent") -> lab.Server:
    """nginx that serves /team-a/ajax-api/, and the same for another team."""
    config = BELOW.replace("UPSTREAM", mlflow.url.removeprefix("http://"))
    return lab.nginx(folder, config.replace("TEAM-B", team_b))


def statuses(proxy: lab.Server, *prefixes: str) -> list[int]:
    """The statuses of a search for experiments below each prefix."""
    return [request(proxy.url, prefix + SEARCH).status for prefix in prefixes]


def test_a_prefix(mlflow_server: lab.Server, start_proxy: StartProxy, tmp_path: Path) -> None:
    """A prefix is detected when a client uses it; then requests without it are sent there, too."""
    with nginx(tmp_path / "nginx", mlflow_server) as registry:
        proxy = start_proxy(registry.wait().url, **AUTO)
        assert statuses(proxy, "") == [404]
        body = json.dumps({"name": f"prefixed-{proxy.url}"}).encode()
        # A POST must not be sent a second time, so it fails.
        refused = request(proxy.url, "/team-a" + CREATE, method="POST", body=body, headers=JSON)
        assert refused.status == 404
        eventually(lambda: "it is used through /team-a/ajax-api (" in proxy.text(), 30)
        for prefix in ("/team-a", "", "/mlflow"):
            assert statuses(proxy, prefix) == [200]
            assert request(proxy.url, prefix + FILE, method="PUT", body=b"x").status == 200
            assert request(proxy.url, prefix + FILE).body == b"x"
            moved = request(proxy.url, f"{prefix}/moved")
            assert moved.headers["Location"] == f"{proxy.url}{prefix}/elsewhere"
        # A prefix that serves nothing changes nothing.
        assert statuses(proxy, "/team-b", "/team-a", "") == [404, 200, 200]

        run = probe("--diagnose", f"{registry.url}/team-a")
        assert run.returncode == 0, run.stderr
        host = registry.url.removeprefix("http://")
        rule = f"upstream:\n  external_hosts: [{host}]\n  base_path: /team-a\n"
        assert run.stdout.endswith(rule)


def test_several_prefixes(
    mlflow_server: lab.Server, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """With two prefixes, each request goes to its own, and one without a prefix gets 404."""
    with nginx(tmp_path / "nginx", mlflow_server, "/team-b") as registry:
        proxy = start_proxy(registry.wait().url, **AUTO)
        # The first request shows what is served there.
        assert statuses(proxy, "/team-a") == [200]
        eventually(lambda: "it is used through /team-a/ajax-api (" in proxy.text(), 30)
        statuses(proxy, "/team-b")
        eventually(lambda: "it is served below /team-a and /team-b" in proxy.text(), 30)
        assert statuses(proxy, "/team-a", "/team-b", "") == [200, 200, 404]


def test_static_prefix_of_mlflow(start_proxy: StartProxy, tmp_path: Path) -> None:
    """MLflow's --static-prefix is detected, although the root has neither MLflow nor a redirect."""
    options = ("--static-prefix", "/team-a")
    with lab.registry(tmp_path / "mlflow", ajax_only=False, options=options) as registry:
        registry.wait("/team-a/health")
        proxy = start_proxy(registry.url, **AUTO)
        assert statuses(proxy, "/team-a") == [200]
        eventually(lambda: "it is used through /team-a/api (" in proxy.text(), 30)
        assert statuses(proxy, "/team-a", "") == [200, 200]


def test_a_prefix_that_cannot_be_detected(start_proxy: StartProxy) -> None:
    """If a login prevents detection, the log names the base_path that the rules may need."""
    denied = response("401 Unauthorized", b"<html>", ("Content-Type", "text/html"))
    with Upstream(denied) as upstream:
        proxy = start_proxy(upstream.url, **AUTO)
        eventually(lambda: "its dialect is not clear" in proxy.text())
        for _ in range(3):
            assert statuses(proxy, "/team-a") == [401]
        text = "clients ask below /team-a: where MLflow is there, set upstream.base_path to it"
        eventually(lambda: text in proxy.text(), 30)
        assert proxy.text().count(text) == 1
