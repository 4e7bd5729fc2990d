"""DNS rebinding: the proxy checks the Host header in place of MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import lab
import pytest
from support.client import http2, request
from support.fixtures import StartProxy
from support.upstream import Upstream

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
WARNING = "without allowed_hosts in the rules: every Host is served"


def ask(url: str, host: str, target: str = SEARCH) -> tuple[int, bytes]:
    """Send a request with this Host header."""
    got = request(url, target, headers={"Host": host}, skip_host=True)
    return got.status, got.body


def test_the_guard_of_a_real_server(mlflow_server: lab.Server, start_proxy: StartProxy) -> None:
    """MLflow refuses a foreign Host; reverse mode hides it; allowed_hosts refuses it again."""
    assert ask(mlflow_server.url, "evil.example")[0] == 403
    unguarded = start_proxy(mlflow_server.url, external=("registry.hokus.ai",))
    assert ask(unguarded.url, "evil.example")[0] == 200
    guarded = start_proxy(
        mlflow_server.url,
        external=("registry.hokus.ai",),
        allowed_hosts=["proxy.example", "10.0.0.0/16"],
    )
    status, body = ask(guarded.url, "evil.example")
    assert status == 403
    assert json.loads(body)["error_code"] == "PERMISSION_DENIED"
    assert json.loads(body)["source"] == "proxy"
    assert ask(guarded.url, "10.0.attacker.example")[0] == 403
    assert ask(guarded.url, "10.0.0.7:8080")[0] == 200
    assert ask(guarded.url, "proxy.example")[0] == 200
    assert ask(guarded.url, "Proxy.Example:8080")[0] == 200


def test_exemptions(start_proxy: StartProxy, tmp_path: Path) -> None:
    """Health checks pass with any Host; pages, artifacts and HTTP/2 do not bypass the guard."""
    with Upstream() as upstream:
        proxy = start_proxy(
            upstream.url,
            allowed_hosts=["proxy.example"],
            options=("--set", f"confdir={tmp_path}"),
        )
        for path in ("/livez", "/readyz", "/mlflow/health/mlflow/detailed"):
            assert ask(proxy.url, "10.1.2.3", path)[0] in (200, 503)
        # The probes of /readyz go through the proxy itself and reach the upstream.
        assert ask(proxy.url, "10.1.2.3", "/readyz")[0] == 200
        assert upstream.requests
        assert not any(received.header("X-MLflow-Proxy-Probe") for received in upstream.requests)
        upstream.requests.clear()
        for target in ("/", SEARCH, "/api/2.0/mlflow-artifacts/artifacts/x", "/livez/x"):
            assert ask(proxy.url, "evil.example", target)[0] == 403
        forged = {"Host": "evil.example", "X-MLflow-Proxy-Probe": "x"}
        assert request(proxy.url, SEARCH, headers=forged, skip_host=True).status == 403
        url = proxy.url.replace("http://127.0.0.1", "https://localhost")
        with http2(tmp_path / "mitmproxy-ca-cert.pem") as session:
            assert session.get(url + SEARCH).status_code == 403
        assert upstream.requests == []


@pytest.mark.parametrize(
    ("host", "allowed", "warned"),
    [("0.0.0.0", [], True), ("127.0.0.1", [], False), ("0.0.0.0", ["proxy.example"], False)],
)
def test_warning_at_start(tmp_path: Path, host: str, allowed: list[str], warned: bool) -> None:
    """A proxy that listens on all addresses without allowed_hosts warns once at start."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[], allowed_hosts=allowed)
    log = tmp_path / "log"
    options = ("--set", "termlog_verbosity=warn")
    with lab.proxy("http://127.0.0.1:9", rules, log=log, host=host, options=options) as proxy:
        proxy.wait("/livez")
        assert proxy.text().count(WARNING) == warned
