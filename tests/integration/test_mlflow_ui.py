"""MLflow's web UI through the proxy, in a real browser."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from lab import browser
from playwright.sync_api import Page
from support.proxies import running_proxy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(mlflow_server: lab.Server) -> dict[str, str]:
    """Pages of the UI, and what each must show of the data that a real client has made."""
    fill: list[str | Path] = [lab.mlflow(3), lab.ROOT / "scripts" / "demo" / "sample_run.py"]
    filled = subprocess.run([*fill, mlflow_server.url], check=True, stdout=subprocess.PIPE)
    made = json.loads(filled.stdout.splitlines()[-1])
    run = f"#/experiments/{made['experiment']}/runs/{made['run']}"
    return {
        "#/experiments": made["model"],
        run: "Parameters (3)",
        f"{run}/model-metrics": "(loss)",
        f"{run}/artifacts/files/readme.txt": "Trained on the events",
        f"#/models/{made['model']}/versions/1": "Source Run",
    }


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser page."""
    with browser.opened() as page:
        yield page


def visit(page: Page, url: str, pages: dict[str, str], slash: str = "/") -> set[str]:
    """Visit all pages below a URL and return the problems, without the URL."""
    page.goto("about:blank")
    with browser.problems(page) as problems:
        for path, text in pages.items():
            page.goto(f"{url}{slash}{path}")
            page.wait_for_selector(f'body:has-text("{text}")')
    return {problem.replace(url, "") for problem in problems}


@pytest.fixture(scope="module")
def directly(page: Page, mlflow_server: lab.Server, pages: dict[str, str]) -> set[str]:
    """The problems without a proxy: MLflow 3.17's UI asks for the current user and gets 404."""
    return visit(page, mlflow_server.url, pages)


@pytest.fixture(scope="module", params=["internal", "external"])
def proxy(
    request: pytest.FixtureRequest,
    mlflow_server: lab.Server,
    external_registry: lab.Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[lab.Server]:
    """A proxy in front of a plain MLflow server, or of a registry that serves only /ajax-api/."""
    folder, internal = tmp_path_factory.mktemp("ui"), request.param == "internal"
    upstream = mlflow_server if internal else external_registry
    external = () if internal else ("127.0.0.1",)
    with running_proxy(folder, upstream.url, external=external) as server:
        yield server


@pytest.mark.parametrize("mount", ["", "/mlflow", "/api/mlflow"])
def test_pages(
    page: Page,
    proxy: lab.Server,
    mount: str,
    pages: dict[str, str],
    directly: set[str],
) -> None:
    """Lists, a run, its metrics and files, and a model are shown, with no new problems."""
    assert visit(page, proxy.url + mount, pages) <= directly


@pytest.mark.parametrize("mount", ["/mlflow", "/api/mlflow"])
def test_without_the_final_slash(
    page: Page, proxy: lab.Server, mount: str, pages: dict[str, str], directly: set[str]
) -> None:
    """A mount without its final slash, as people type it, shows the page and its files."""
    path = next(iter(pages))
    assert visit(page, proxy.url + mount, {path: pages[path]}, slash="") <= directly


def test_the_ui_under_a_name(
    page: Page, proxy: lab.Server, pages: dict[str, str], directly: set[str]
) -> None:
    """The UI works under a name that MLflow does not know, without cross-site refusals."""
    # Browsers resolve each name below localhost to this machine.
    url = proxy.url.replace("127.0.0.1", "mlflow.localhost")
    lists_and_a_run = dict([*pages.items()][:2])
    assert visit(page, url, lists_and_a_run) <= directly
