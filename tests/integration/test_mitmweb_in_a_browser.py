"""What a person sees in mitmweb, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from lab import browser
from mitmproxy import version
from playwright.sync_api import Page
from support.client import request
from support.upstream import Upstream, response
from support.waiting import eventually

RUNS = "/api/2.0/mlflow/runs/get"
RUN = (
    b'{"run": {"info": {"run_id": "abc", "start_time": 1760000000000}, "data": {'
    b'"metrics": [{"key": "accuracy", "value": 0.93, "step": 7}],'
    b' "params": [{"key": "learning_rate", "value": "0.1"}]}}}'
)
SERVED = {
    "/run": response("200 OK", RUN, ("Content-Type", "application/json")),
    "/page": response("404 Not Found", b"<h1>No such thing</h1>", ("Content-Type", "text/html")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for mitmweb's rules, log and flows."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def mitmweb(folder: Path) -> Iterator[str]:
    """The URL of a mitmweb that has seen a few requests, and writes them to the file `flows`."""
    rules = lab.write_rules(
        folder / "rules.yaml", external=["127.0.0.1"], artifacts={"write": False}
    )
    settings = ("web_open_browser=false", f"web_port={lab.free_port()}")
    options = [part for setting in settings for part in ("--set", setting)]
    options += ["-w", str(folder / "flows")]
    with (
        Upstream() as upstream,
        lab.proxy(upstream.url, rules, log=folder / "log", web=True, options=options) as proxy,
    ):
        proxy.wait("/livez")
        for name, answer in SERVED.items():
            upstream.answer = answer
            request(proxy.url, f"{RUNS}{name}?token=hidden")
        request(proxy.url, "/api/2.0/mlflow-artifacts/artifacts/a", method="PUT", body=b"x")
        yield url_of(proxy)
        assert "Traceback" not in proxy.text(), proxy.text()


def url_of(proxy: lab.Server) -> str:
    """Return the URL of mitmweb's pages, with the access token."""
    found = re.search(r"(?:Web server )?listening at (http://[^/\s]+/\S*)", proxy.text())
    assert found
    return found[1]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser page."""
    with browser.opened() as page:
        yield page


def test_comments_are_in_the_list(page: Page, mitmweb: str) -> None:
    """Comments are shown beside the marker; the other columns are mitmweb's own."""
    page.goto(mitmweb)
    page.wait_for_selector(
        '.col-path:has-text("/runs/get/page"):has-text("🔧") + td:has-text("html 404")'
    )
    assert page.inner_text("thead").split() == [
        "Path",
        "Comment",
        "Method",
        "Status",
        "Size",
        "Time",
    ]


def test_flows_are_marked(page: Page, mitmweb: str) -> None:
    """Each kind of flow has its own emoji beside the client's path."""
    page.goto(mitmweb)
    for path, marker in (
        (f"{RUNS}/run", "➡"),
        (f"{RUNS}/page", "🔧"),
        ("/artifacts/a", "⛔"),
        ("/livez", "💚"),
    ):
        page.wait_for_selector(f'tr:has-text("{path}"):has-text("{marker}")')
    assert page.locator('.col-path:has-text("/ajax-api/")').count() == 0


def test_the_first_words_fit_into_the_list(page: Page, mitmweb: str) -> None:
    """The column of comments shows at least the first words, which say what was done."""
    page.goto(mitmweb)
    for word in ("rewritten", "html 404 -> json", "503 disabled", "200 health"):
        page.wait_for_selector(f'.col-comment:has-text("{word}")')
    # One of the longest.
    fits = """cell => {
        cell.textContent = "503 foreign origin";
        return cell.scrollWidth <= cell.clientWidth;
    }"""
    assert page.eval_on_selector("td.col-comment", fits)


def test_the_comment_of_a_flow(page: Page, mitmweb: str) -> None:
    """The comment shows how body and path were changed, but nothing of the query."""
    page.goto(mitmweb)
    page.click('tr:has-text("/runs/get/page")')
    page.click('.flow-detail nav a:has-text("Comment")')
    said = f"html 404 -> json; rewritten by rest-to-ajax: {RUNS}/page -> /ajax"
    page.wait_for_selector(f'.flow-detail section:has-text("{said}")')
    assert "hidden" not in page.inner_text(".flow-detail section")


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ('~comment "html 404"', "/runs/get/page"),
        ("~comment rewritten ~c 200", "/runs/get/run"),
        # In mitmproxy 11 the page itself filters, and knows only the emoji.
        (f"~marker {'no_entry' if version.VERSION >= '12' else '⛔'}", "/artifacts/a"),
    ],
)
def test_flows_are_found(page: Page, mitmweb: str, wanted: str, path: str) -> None:
    """The search finds flows by comment and by marker."""
    page.goto(mitmweb)
    page.wait_for_selector('tr:has-text("/livez")')
    page.fill('input[placeholder="Search"]', wanted)
    page.wait_for_selector(f'table:not(:has-text("/livez")) tr:has-text("{path}")')
    assert page.locator('.flow-table tr:has-text("http")').count() == 1


def test_a_run_is_readable(page: Page, mitmweb: str) -> None:
    """The content view for MLflow is chosen automatically and shows a readable run."""
    page.goto(mitmweb)
    page.click('tr:has-text("/runs/get/run")')
    page.click('.flow-detail nav a:has-text("Response")')
    page.wait_for_selector('.flow-detail:has-text("accuracy  0.93  step 7")')
    shown = page.inner_text(".flow-detail")
    assert "start_time  1760000000000  2025-10-09 08:53:20 UTC" in shown
    assert "learning_rate  0.1" in shown


def test_the_error_that_was_converted(page: Page, mitmweb: str) -> None:
    """The upstream's original error is shown below the error that the client got."""
    page.goto(mitmweb)
    page.click('tr:has-text("/runs/get/page")')
    page.click('.flow-detail nav a:has-text("Response")')
    page.wait_for_selector('.flow-detail:has-text("RESOURCE_NOT_FOUND")')
    page.wait_for_selector('.flow-detail:has-text("Upstream error: 404, text/html, 22 bytes")')
    page.wait_for_selector('.flow-detail:has-text("<h1>No such thing</h1>")')
    assert " \n--- Upstream error" in page.inner_text(".flow-detail pre"), "a visible gap"


def test_flows_from_a_file(page: Page, mitmweb: str, folder: Path, tmp_path: Path) -> None:
    """Flows from a file keep marker and original error; columns set by the user are kept."""
    flows = folder / "flows"
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[])
    settings = ["web_open_browser=false", f"web_port={lab.free_port()}", f"rfile={flows}"]
    settings += ["web_columns=status", "web_columns=path"]
    options = [part for setting in settings for part in ("--set", setting)]
    log = tmp_path / "log"
    with lab.proxy("http://127.0.0.1:9", rules, log=log, web=True, options=options) as proxy:
        proxy.wait("/livez")
        found = 'tr:has-text("/runs/get/page"):has-text("🔧")'

        def is_read() -> bool:
            # The page of mitmproxy 11 misses flows that are read while it opens.
            with browser.problems(page) as problems:
                page.goto(url_of(proxy))
            # The page of 12.3.1 names a style sheet that is not shipped with it.
            known = ("vendor.less", "Failed to load resource")
            fine = all(any(part in problem for part in known) for problem in problems)
            return fine and page.locator(found).count() > 0

        eventually(is_read, 30)
        assert page.inner_text("thead").split() == ["Status", "Path"]
        page.click(found)
        page.click('.flow-detail nav a:has-text("Response")')
        page.wait_for_selector('.flow-detail:has-text("<h1>No such thing</h1>")')
        assert "Traceback" not in proxy.text(), proxy.text()
