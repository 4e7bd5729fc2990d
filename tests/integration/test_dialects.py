"""The proxy detects which API an upstream serves, if no rule names the upstream."""

from __future__ import annotations

import base64
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lab
import pytest
from support import below_a_path
from support.client import request
from support.fixtures import StartProxy
from support.probe import probe
from support.upstream import OK, Received, Upstream, response, silent
from support.waiting import eventually

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"

GUARDED = f"""
  upstream mlflow {{ server UPSTREAM; keepalive 16; }}
  server {{
    listen 127.0.0.1:PORT;{lab.STREAMING}
    auth_basic registry; auth_basic_user_file PASSWORDS;
    location /api/ {{ try_files /none =404; }}
    location / {{ proxy_pass http://mlflow; }}
  }}
"""
AUTO: dict[str, Any] = {"external": (), "upstream": {"dialect": "auto"}}
NOT_FOUND = response("404 Not Found", b"<html>", ("Content-Type", "text/html"))


@pytest.fixture
def auto(start_proxy: StartProxy) -> StartProxy:
    """Start proxies whose rules do not name their upstream."""

    def start(url: str, /, **how: Any) -> lab.Server:
        return start_proxy(url, **(AUTO | how))

    return start


def experiments(proxy: lab.Server) -> int:
    """The status of a search for experiments; a 200 must be MLflow's own."""
    response = request(proxy.url, SEARCH)
    assert response.status != 200 or "experiments" in json.loads(response.body)
    return response.status


def test_an_internal_upstream(auto: StartProxy, mlflow_server: lab.Server) -> None:
    """An upstream that serves /api is detected with one request, and its paths are kept."""
    proxy = auto(mlflow_server.url, options=("--set", "termlog_verbosity=info"))
    assert experiments(proxy) == 200
    assert "it is used through /api (/api: 200 JSON; /api is served)" in proxy.text()


def test_an_external_upstream(auto: StartProxy, external_registry: lab.Server) -> None:
    """For an upstream that serves only /ajax-api, even the first request is rewritten."""
    proxy = auto(external_registry.url)
    assert experiments(proxy) == 200
    assert "it is used through /ajax-api (/api: 404 HTML; /ajax-api: 200 JSON" in proxy.text()


def test_below_a_path(auto: StartProxy, mlflow_server: lab.Server, tmp_path: Path) -> None:
    """A redirect at the root shows below which path MLflow is served."""
    at_the_root = "location = / { return 302 /ml/ops/; }"
    with below_a_path.start(tmp_path / "nginx", mlflow_server, "/ml/ops", at_the_root) as registry:
        proxy = auto(registry.wait().url)
        assert experiments(proxy) == 200
        assert "it is used through /ml/ops/ajax-api" in proxy.text()


@pytest.mark.parametrize(
    ("upstream", "status"),
    [
        ({"dialect": "standard"}, 404),
        ({"dialect": "ajax"}, 200),
        ({"dialect": "standard", "external_hosts": ["127.0.0.1"]}, 200),
    ],
)
def test_rules_take_precedence(
    upstream: dict[str, object],
    status: int,
    external_registry: lab.Server,
    start_proxy: StartProxy,
) -> None:
    """If the rules set a dialect or name the host, nothing is detected."""
    proxy = start_proxy(external_registry.url, external=(), upstream=upstream)
    assert experiments(proxy) == status
    assert "its dialect" not in proxy.text()
    assert "it is used through" not in proxy.text()


def test_an_upstream_that_asks_for_credentials(
    auto: StartProxy, mlflow_server: lab.Server, tmp_path: Path
) -> None:
    """If a login prevents detection, the rules decide; credentials in the environment help."""
    passwords = tmp_path / "passwords"
    passwords.write_text("ann:{PLAIN}s3cret\n")
    passwords.chmod(0o644)
    config = GUARDED.replace("UPSTREAM", mlflow_server.url.removeprefix("http://"))
    with lab.nginx(tmp_path / "nginx", config.replace("PASSWORDS", str(passwords))) as registry:
        registry.wait()
        proxy = auto(registry.url)
        said = "its dialect is not clear: /api: 401 HTML; /ajax-api: 401 HTML; "
        said += "it asks for credentials; the rules decide; set upstream.external_hosts"
        eventually(lambda: said in proxy.text())
        login = {"Authorization": f"Basic {base64.b64encode(b'ann:s3cret').decode()}"}
        code, text = diagnose(registry.url)
        assert (
            code,
            f"MLFLOW_TRACKING_TOKEN=... scripts/probe.sh --diagnose {registry.url}" in text,
        ) == (3, True)
        code, text = diagnose(registry.url, MLFLOW_TRACKING_TOKEN="wrong")
        assert (code, "next: the credentials were refused" in text) == (3, True)
        known = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
        assert "finding: /ajax-api is served" in diagnose(registry.url, **known)[1]
        proxy = auto(registry.url, env=known)
        assert "is not clear" not in proxy.text()
        assert request(proxy.url, SEARCH, headers=login).status == 200
        assert "s3cret" not in proxy.text()


def test_an_upstream_that_starts_later(
    auto: StartProxy, mlflow_server: lab.Server, tmp_path: Path
) -> None:
    """A registry that is down is asked again until it is up; until then the rules decide."""
    port = lab.free_port()
    proxy = auto(f"http://127.0.0.1:{port}")
    assert experiments(proxy) == 502
    assert "it does not answer; the rules decide" in proxy.text()
    with lab.external(tmp_path / "nginx", mlflow_server.url, port=port) as registry:
        registry.wait("/health")
        eventually(lambda: experiments(proxy) == 200, 30)


def test_an_upstream_that_changes(
    auto: StartProxy, mlflow_server: lab.Server, tmp_path: Path
) -> None:
    """If answers no longer fit the detected API, the proxy detects it again."""
    port = lab.free_port()
    with lab.external(tmp_path / "before", mlflow_server.url, port=port) as registry:
        registry.wait("/health")
        proxy = auto(registry.url)
        assert experiments(proxy) == 200
    config = lab.EXTERNAL.replace("UPSTREAM", mlflow_server.url.removeprefix("http://"))
    config = config.replace("location /api/", "location /ajax-api/")
    with lab.nginx(tmp_path / "behind", config, port=port) as registry:
        registry.wait("/health")
        eventually(lambda: experiments(proxy) == 200, 30)
        assert "it is used through /api (" in proxy.text()


def test_requests_wait_for_the_first_answer(start_proxy: StartProxy) -> None:
    """A request that comes before detection waits and is rewritten; health checks do not wait."""
    go_on = threading.Event()

    def answer(received: Received, connection: socket.socket) -> bool:
        go_on.wait(30)
        connection.sendall(OK if received.target.startswith("/ajax-api/") else NOT_FOUND)
        return True

    with Upstream(answer) as upstream, ThreadPoolExecutor() as pool:
        # `start_proxy` waits until /livez answers.
        proxy = start_proxy(upstream.url, **AUTO)
        waiting = pool.submit(request, proxy.url, SEARCH)
        eventually(lambda: upstream.begun == 1)
        go_on.set()
        assert waiting.result(30).status == 200
    targets = [received.target.partition("?")[0] for received in upstream.requests]
    path = "/2.0/mlflow/experiments/search"
    assert targets == [f"/api{path}", f"/ajax-api{path}", f"/ajax-api{path}"]


def test_requests_do_not_wait_for_ever(start_proxy: StartProxy) -> None:
    """If the detection requests get no answer, client requests pass unchanged."""

    def answer(received: Received, connection: socket.socket) -> bool | None:
        if received.header("User-Agent") == ["mlflow-proxy-probe"]:
            silent(received, connection)
            return None
        connection.sendall(OK)
        return True

    with Upstream(answer) as upstream:
        proxy = start_proxy(upstream.url, **AUTO)
        assert request(proxy.url, SEARCH).status == 200
        assert upstream.requests[-1].target == SEARCH


def test_a_changed_file(auto: StartProxy, external_registry: lab.Server, tmp_path: Path) -> None:
    """The detected API also applies to reloaded rules, unless they set a dialect."""
    proxy = auto(external_registry.url)
    assert experiments(proxy) == 200
    rules = tmp_path / "proxy0" / "rules.yaml"
    text = rules.read_text(encoding="utf-8")
    changed = text.replace("disabled_status: 503", "disabled_status: 501")
    rules.write_text(changed, encoding="utf-8")
    eventually(lambda: "the rules were read again" in proxy.text())
    assert experiments(proxy) == 200
    rules.write_text(changed.replace("dialect: auto", "dialect: standard"), encoding="utf-8")
    eventually(lambda: proxy.text().count("the rules were read again") == 2)
    assert experiments(proxy) == 404
    rules.write_text(changed, encoding="utf-8")
    eventually(lambda: proxy.text().count("the rules were read again") == 3)
    assert experiments(proxy) == 200


def diagnose(url: str, **environment: str) -> tuple[int, str]:
    """The exit code and the output of `probe.sh --diagnose`."""
    run = probe("--diagnose", url, **environment)
    assert not run.stderr, run.stderr
    return run.returncode, run.stdout


def test_diagnose(mlflow_server: lab.Server, external_registry: lab.Server) -> None:
    """`--diagnose` prints the requests, the answers and the rule that follows from them."""
    path = "/2.0/mlflow/experiments/search"
    assert diagnose(mlflow_server.url) == (
        0,
        f"{mlflow_server.url}\n  /api{path}  200 JSON\n  /ajax-api{path}  200 JSON\n"
        "finding: /api is served\nNo rule is needed.\n",
    )
    host = external_registry.url.removeprefix("http://")
    assert diagnose(external_registry.url) == (
        0,
        f"http://{host}\n  /api{path}  404 HTML\n  /ajax-api{path}  200 JSON\n"
        "finding: /ajax-api is served\n\n"
        "The proxy detects this. To set it in rules.yaml:\n\n"
        f"upstream:\n  external_hosts: [{host}]\n",
    )
    absent = f"http://127.0.0.1:{lab.free_port()}"
    code, text = diagnose(absent)
    assert code == 3
    assert "no connection: Connection refused" in text
    assert "finding: it does not answer\nnext: the registry has to answer first." in text
    assert text.endswith(f"scripts/probe.sh --diagnose {absent}\n")
