"""Several upstreams behind one process: findings about one do not apply to another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import lab
import pytest
from support import below_a_path
from support.client import request
from support.proxies import running_proxy

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.txt"


@pytest.fixture(scope="module")
def proxies(
    mlflow_server: lab.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """URLs of one process's listeners, by the base paths of their upstreams."""
    folder = tmp_path_factory.mktemp("several")
    registries: dict[str, lab.Server] = {}
    with ExitStack() as started:
        for path in ("/one", "/ml/two"):
            redirects = {
                "/": f"{path}/",
                f"{path}/ajax-api/2.0/mlflow/moved": f"{path}/elsewhere",
                f"{path}/ajax-api/2.0/mlflow/login": f"{path}/login",
            }
            more = (f"location = {at} {{ return 302 {to}; }}" for at, to in redirects.items())
            server = below_a_path.start(folder / path[1:], mlflow_server, path, *more)
            registries[path] = started.enter_context(server).wait()
        registries[""] = mlflow_server
        urls = {path: f"http://127.0.0.1:{lab.free_port()}" for path in registries}
        options = [
            part
            for path in ("/ml/two", "")
            for part in ("--mode", f"reverse:{registries[path].url}@{urls[path][7:]}")
        ]
        proxy = running_proxy(
            folder / "proxy",
            registries["/one"].url,
            external=(),
            options=tuple(options),
            port=int(urls["/one"].rpartition(":")[2]),
            upstream={"dialect": "auto"},
        )
        started.enter_context(proxy)
        yield urls


@pytest.mark.parametrize("path", ["/one", "/ml/two", ""])
def test_each_upstream_has_its_own_path(proxies: dict[str, str], path: str) -> None:
    """The base path of each upstream is found, and its API and artifacts work."""
    url = proxies[path]
    found = request(url, SEARCH)
    assert (found.status, "experiments" in json.loads(found.body)) == (200, True)
    assert request(url, FILE, method="PUT", body=path.encode()).status == 200
    assert request(url, "/mlflow" + FILE).body == path.encode()


@pytest.mark.parametrize("path", ["/one", "/ml/two"])
def test_redirects(proxies: dict[str, str], path: str) -> None:
    """A redirect is mapped to the client's listener; one to a login page becomes 401."""
    browser = {"Accept": "text/html"}
    moved = request(proxies[path], "/mlflow/api/2.0/mlflow/moved", headers=browser)
    assert moved.headers["Location"] == f"{proxies[path]}/mlflow/elsewhere"
    login = request(proxies[path], "/api/2.0/mlflow/login")
    assert login.status == 401
    assert f"asks for a login at {proxies[path]}/login (" in json.loads(login.body)["message"]
