"""The pages in scripts/deploy/examples work with real servers."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
import yaml
from support.certificates import Authority
from support.client import http2, request
from support.examples import Page
from support.probe import probe
from support.waiting import eventually

pytestmark = pytest.mark.slow

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=10"


def loopback(port: int, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{port}"


def experiments(url: str, headers: dict[str, str], ca: Path | None = None) -> set[str]:
    """The names of the experiments that a client sees."""
    answer = request(url, SEARCH, headers=headers, ca=ca)
    assert answer.status == 200, answer.body
    return {each["name"] for each in json.loads(answer.body)["experiments"]}


def refused(url: str, headers: dict[str, str]) -> str:
    """The message of the 401 that a client gets."""
    answer = request(url, SEARCH, headers=headers)
    said = json.loads(answer.body)
    assert (answer.status, said["error_code"]) == (401, "UNAUTHENTICATED"), said
    return str(said["message"])


def healthy(url: str) -> bool:
    """Tell whether all probes of a proxy pass."""
    return bool(json.loads(request(url, "/health/mlflow").body)["status"] == "ok")


def without(*secrets: str, server: lab.Server) -> None:
    """Check that secrets are neither in a server's log nor in its command lines."""
    told = [server.text(), *commands(server)]
    assert [secret for secret in secrets for text in told if secret in text] == []


def commands(server: lab.Server) -> Iterator[str]:
    """The command lines of a server's processes, as `ps` shows them, except its shell."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
            group = os.getpgid(int(folder.name))
        except OSError:
            continue
        if group == server.process.pid and not command.startswith("bash"):
            yield command


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_basic_auth(tmp_path: Path) -> None:
    """MLflow's users log in through the proxy; its probes use credentials of their own."""
    registry, proxy = lab.free_port(), lab.free_port()
    page = Page(
        "basic-auth.md",
        tmp_path,
        {
            "pip install 'mlflow[auth]'\n": "",
            "--port 5000": f"--port {registry}",
            "http://127.0.0.1:5000": loopback(registry),
            "--listen 0.0.0.0:8080": f"--listen 127.0.0.1:{proxy}",
            "http://proxy:8080": loopback(proxy),
        },
    )
    with (
        page.serve("mlflow server", loopback(registry)) as mlflow,
        page.serve("addon.cli run", loopback(proxy)) as server,
    ):
        mlflow.wait("/health", seconds=120)
        server.wait("/livez")
        made = page.run("users/create")
        assert made.returncode == 0, made.stderr
        logged = page.run("set_experiment")
        assert logged.returncode == 0, logged.stderr
        alice = basic("alice", "alice-long-password")
        assert experiments(server.url, alice) == {"of-alice", "Default"}
        for other in ({}, basic("alice", "wrong")):
            assert "You are not authenticated." in refused(server.url, other)
        browser = request(server.url, headers={"Accept": "text/html"})
        assert browser.headers["WWW-Authenticate"] == 'Basic realm="mlflow"'
        assert b"<title>MLflow</title>" in request(server.url, headers=alice).body
        eventually(lambda: healthy(server.url), seconds=60)
        without("long-password", *alice.values(), server=server)


def test_token_registry(mlflow_server: lab.Server, tmp_path: Path) -> None:
    """Clients' tokens pass, the proxy's probes send its own, and a second proxy adds a token."""
    gateway, proxy, adding = lab.free_port(), lab.free_port(), lab.free_port()
    page = Page(
        "token-registry.md",
        tmp_path,
        {
            "127.0.0.1:8000": f"127.0.0.1:{gateway}",
            "http://127.0.0.1:5000": mlflow_server.url,
            "https://registry.example.org": loopback(gateway),
            "host: registry.example.org": f"host: 127.0.0.1:{gateway}",
            "--listen 0.0.0.0:8080": f"--listen 127.0.0.1:{proxy}",
            "--listen 0.0.0.0:8081": f"--listen 127.0.0.1:{adding}",
            "http://proxy:8080": loopback(proxy),
            "/etc/mlflow-proxy": str(tmp_path),
        },
    )
    (tmp_path / "token").write_text("token-of-proxy\n")
    added = yaml.safe_load(page.block("credentials:"))
    lab.write_rules(tmp_path / "rules.yaml", external=(), **added)
    with (
        lab.nginx(tmp_path / "nginx", page.block("server {"), port=gateway),
        page.serve("$(cat", loopback(proxy)) as server,
        page.serve("mlflow_rules=", loopback(adding)) as adds,
    ):
        server.wait("/livez")
        eventually(lambda: healthy(server.url), seconds=30)
        logged = page.run("set_experiment")
        assert logged.returncode == 0, logged.stderr
        assert "tokens" in experiments(adds.wait("/livez").url, {})
        eventually(lambda: healthy(adds.url), seconds=30)
        without("token-of", server=adds)
        assert "tokens" in experiments(server.url, bearer("token-of-alice"))
        for other in ({}, bearer("token-of-bob")):
            assert "Authorization Required" in refused(server.url, other)
        without("token-of", server=server)


def test_mtls(mlflow_server: lab.Server, tmp_path: Path) -> None:
    """The registry sees the proxy's certificate, and the proxy checks the registry's."""
    port, proxy = lab.free_port(), lab.free_port()
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    certificate, key = theirs.sign("registry")
    for file in ours.sign("client"):
        file.rename(tmp_path / file.name)
    folder = tmp_path / "etc"
    folder.mkdir()
    page = Page(
        "mtls.md",
        tmp_path,
        {
            "127.0.0.1:8443": f"127.0.0.1:{port}",
            "http://127.0.0.1:5000": mlflow_server.url,
            "https://registry.example.org": loopback(port, "https"),
            "--listen 0.0.0.0:8080": f"--listen 127.0.0.1:{proxy}",
            "/etc/mlflow-proxy": str(folder),
            "/etc/nginx/registry.crt": str(certificate),
            "/etc/nginx/registry.key": str(key),
            "/etc/nginx/client-ca.pem": str(ours.pem),
        },
    )
    made = page.run("umask")
    assert made.returncode == 0, made.stderr
    client, trusted = folder / "client.pem", folder / "registry-ca.pem"
    assert client.stat().st_mode & 0o077 == 0
    trusted.write_bytes(theirs.pem.read_bytes())

    def said(leave_out: str = "") -> tuple[int, str]:
        """Start a proxy; return the status and the body that a client gets."""
        with page.serve("addon.cli run", loopback(proxy), leave_out=leave_out) as server:
            answer = request(server.wait("/livez").url, SEARCH)
            return answer.status, answer.body.decode()

    with lab.nginx(tmp_path / "nginx", page.block("server {"), port=port) as gateway:
        gateway.wait_for_port()
        assert said()[0] == 200
        status, text = said(f"--set client_certs={client}")
        assert (status, "No required SSL certificate was sent" in text) == (400, True), text
        client.write_bytes(b"".join(file.read_bytes() for file in theirs.sign("other")))
        status, text = said()
        assert (status, "The SSL certificate error" in text) == (400, True), text
        trusted.write_bytes(ours.pem.read_bytes())
        status, text = said()
        assert (status, "its TLS certificate was not accepted" in text) == (502, True), text


def test_tls(mlflow_server: lab.Server, tmp_path: Path) -> None:
    """Clients that trust the authority use the proxy over TLS, and its own probes pass."""
    proxy = lab.free_port()
    authority = Authority(tmp_path / "authority")
    for file, name in zip(authority.sign("x"), ("fullchain.pem", "proxy.key"), strict=True):
        file.rename(tmp_path / name)
    page = Page(
        "tls.md",
        tmp_path,
        {
            "https://registry.example.org": mlflow_server.url,
            "--listen 0.0.0.0:8443": f"--listen 127.0.0.1:{proxy}",
            "https://proxy.example.org:8443": loopback(proxy, "https"),
            "/etc/mlflow-proxy": str(tmp_path),
            "/etc/ssl/private-ca.pem": str(authority.pem),
        },
    )
    made = page.run("umask")
    assert made.returncode == 0, made.stderr
    with page.serve("addon.cli run", loopback(proxy)) as server:
        server.wait("/livez")  # The same port also serves plain HTTP.
        logged = page.run("set_experiment")
        assert logged.returncode == 0, logged.stderr
        url = loopback(proxy, "https")
        assert "tls" in experiments(url, {}, authority.pem)
        health = request(url, "/health/mlflow", ca=authority.pem)
        assert json.loads(health.body)["status"] == "ok"
        run = probe(url, MLFLOW_TRACKING_SERVER_CERT_PATH=str(authority.pem))
        assert run.returncode == 0, run.stdout
        with http2(authority.pem) as client:
            assert client.get(url + "/livez").http_version == "HTTP/2"
