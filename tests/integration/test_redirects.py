"""Redirects of real servers never lead a client past the proxy."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import lab
import pytest
from support.client import request
from support.fixtures import StartProxy
from support.probe import probe
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually


@pytest.mark.parametrize("mount", ["", "/mlflow", "/api/mlflow"])
def test_mlflow_redirects_doubled_slashes(
    mlflow_server: lab.Server, shared_proxy: StartProxy, mount: str
) -> None:
    """MLflow's 308 for a doubled slash leads back to the proxy and can be followed."""
    direct = request(mlflow_server.url, "/api/2.0/mlflow//experiments/search?max_results=1")
    assert direct.status == 308
    assert direct.headers["Location"].startswith(mlflow_server.url)

    proxy = shared_proxy(mlflow_server.url)
    got = request(proxy.url, f"{mount}/api/2.0/mlflow//experiments/search?max_results=1")
    assert got.status == 308
    location = got.headers["Location"]
    assert location.startswith(f"{proxy.url}{mount}/ajax-api/2.0/mlflow/experiments/search?")
    followed = request(proxy.url, location.removeprefix(proxy.url))
    assert followed.status == 200
    assert b"experiments" in followed.body


PAGES = "text/html,application/xhtml+xml,*/*;q=0.8"
FORMS = {
    "http://$host:PORT/x": "PROXY/mlflow/x",
    "//$host:PORT/x?y": "PROXY/mlflow/x?y",
    "/x": "/mlflow/x",
    "x": "x",
    "https://elsewhere.example/x": "https://elsewhere.example/x",
}


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """An nginx with a path for each form of a redirect."""
    places = [
        f"""
        location /some/path/{number} {{
          add_header Content-Location "{location}" always;
          add_header Location "{location}" always;
          return 201;
        }}
        """
        for number, location in enumerate(FORMS)
    ]
    servers = f"server {{ listen 127.0.0.1:PORT; {''.join(places)} }}"
    with lab.nginx(tmp_path_factory.mktemp("nginx"), servers) as server:
        yield server.wait()


@pytest.mark.parametrize("location", FORMS)
def test_forms(redirecting: lab.Server, shared_proxy: StartProxy, location: str) -> None:
    """A redirect to the upstream is mapped to the proxy in every form; others are unchanged."""
    proxy, expected = shared_proxy(redirecting.url), FORMS[location]
    got = request(proxy.url, f"/mlflow/some/path/{[*FORMS].index(location)}")
    assert got.status == 201
    for name in ("Location", "Content-Location"):
        assert got.headers[name] == expected.replace("PROXY", proxy.url)


def test_headers_with_locations(scripted: Upstream, shared_proxy: StartProxy) -> None:
    """All headers with URLs or paths are mapped to the mount, and Alt-Svc is removed."""
    scripted.answer = response(
        "302 Found",
        b"",
        ("Location", "/api/2.0/mlflow/artifacts/s3://b/x"),
        ("Alt-Svc", 'h3=":443"'),
        ("Set-Cookie", "a=1; Path=/; HttpOnly"),
        ("Set-Cookie", "b=2; Domain=127.0.0.1; Secure"),
        ("Link", f"<{scripted.url}/static-files/x.css>; rel=preload"),
        ("Refresh", "3; url=/y"),
    )
    proxy = shared_proxy(scripted.url)
    port = proxy.url.rpartition(":")[2]
    got = request(f"http://localhost:{port}", "/mlflow/x").headers
    assert got["Location"] == "/mlflow/api/2.0/mlflow/artifacts/s3://b/x"
    assert "Alt-Svc" not in got
    assert got.get_all("Set-Cookie") == ["a=1; Path=/mlflow; HttpOnly", "b=2; Secure"]
    assert got["Link"] == f"<http://localhost:{port}/mlflow/static-files/x.css>; rel=preload"
    assert got["Refresh"] == "3; url=/mlflow/y"


def test_the_public_host_is_kept(mlflow_server: lab.Server, shared_proxy: StartProxy) -> None:
    """A redirect names the proxy as the client named it in Host."""
    proxy = shared_proxy(mlflow_server.url)
    port = proxy.url.rpartition(":")[2]
    got = request(f"http://localhost:{port}", "/api/2.0/mlflow//experiments/search")
    assert got.headers["Location"].startswith(f"http://localhost:{port}/ajax-api/")


def test_keep_host_header(mlflow_server: lab.Server, start_proxy: StartProxy) -> None:
    """With keep_host_header the upstream names the proxy itself; the mount is still added."""
    proxy = start_proxy(mlflow_server.url, options=("--set", "keep_host_header=true"))
    got = request(proxy.url, "/mlflow/api/2.0/mlflow//experiments/search")
    assert got.headers["Location"].startswith(f"{proxy.url}/mlflow/ajax-api/2.0/mlflow/exp")


@pytest.mark.parametrize(
    ("method", "target", "accept", "location"),
    [
        ("GET", "/mlflow", PAGES, "mlflow/"),
        ("HEAD", "/mlflow", PAGES, "mlflow/"),
        ("GET", "/api/mlflow?a=b&c", PAGES, "mlflow/?a=b&c"),
        ("GET", "/mlflow?", PAGES, "mlflow/?"),
        ("GET", "/mlflow?\udcc3\udca4", PAGES, "mlflow/?%C3%A4"),
        # No page is asked for, or already the right one.
        ("GET", "/mlflow", "*/*", None),
        ("GET", "/mlflow", "application/json", None),
        ("POST", "/mlflow", PAGES, None),
        ("GET", "/mlflow/", PAGES, None),
        ("GET", "/mlflow/x", PAGES, None),
        ("GET", "/", PAGES, None),
        ("GET", "/other", PAGES, None),
        ("GET", "/mlflow/api/2.0/mlflow/experiments/search", PAGES, None),
    ],
)
def test_a_mount_without_its_slash(
    scripted: Upstream,
    shared_proxy: StartProxy,
    method: str,
    target: str,
    accept: str,
    location: str | None,
) -> None:
    """Only a browser is redirected to the mount's page, without a request to the upstream."""
    scripted.answer = OK
    before = len(scripted.requests)
    got = request(shared_proxy(scripted.url).url, target, method=method, headers={"Accept": accept})
    assert got.headers["Location"] == location
    assert got.status == (308 if location else 200)
    assert len(scripted.requests) - before == (location is None)


def test_a_registry_that_wants_https(start_proxy: StartProxy) -> None:
    """A redirect to https would loop: clients get 501, and /readyz and the log say why."""

    def answer(received: Received, connection: socket.socket) -> bool:
        target = f"https://127.0.0.1:8443{received.target}"
        connection.sendall(response("301 Moved Permanently", b"<html>", ("Location", target)))
        return True

    with Upstream(answer) as upstream:
        proxy = start_proxy(upstream.url, external=(), upstream={"dialect": "auto"})
        api = "/api/2.0/mlflow/runs/get?run_id=secret"
        for target, method in ((api, "GET"), (api, "POST"), ("/?token=secret", "GET")):
            refused = request(proxy.url, target, method=method)
            assert (refused.status, refused.headers["Location"]) == (501, None)
            error = json.loads(refused.body)
            assert error["error_code"] == "HTTPS_REQUIRED"
            assert "started with https://127.0.0.1:8443 as its upstream" in error["message"]
            assert "secret" not in str(refused.body)
        ready = request(proxy.url, "/readyz")
        assert (ready.status, "https://127.0.0.1:8443" in str(ready.body)) == (503, True)
        text = (
            "it redirects everything to https; the rules decide; start the proxy with https:// in"
        )
        eventually(lambda: text in proxy.text())
        run = probe("--diagnose", upstream.url)
        assert run.returncode == 3, run.stderr
        assert "finding: it redirects everything to https\nnext: use it by https" in run.stdout
        # A redirect to another path passes unchanged.
        upstream.answer = response("302 Found", b"", ("Location", "https://127.0.0.1:8443/other"))
        moved = request(proxy.url, "/somewhere")
        assert (moved.status, moved.headers["Location"]) == (302, "https://127.0.0.1:8443/other")
