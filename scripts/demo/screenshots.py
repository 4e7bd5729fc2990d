"""Makes the pictures of the manual; `scripts/demo/screenshots.sh` calls it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lab
from lab import browser
from playwright.sync_api import Page

PICTURES = lab.ROOT / "scripts" / "demo" / "screenshots"
FILTER = "~marked & !~u log-batch"
"""Hides log-batch requests: the client sends many."""
API = "/api/2.0/mlflow"


def send(url: str, method: str = "GET") -> None:
    """Send a request; an error is a good answer, too."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method=method)).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()


def main() -> int:
    """Start the servers and take the pictures."""
    with tempfile.TemporaryDirectory() as name, browser.opened() as page:
        folder = Path(name)
        rules = lab.write_rules(
            folder / "rules.yaml", external=["127.0.0.1"], artifacts={"delete": False}
        )
        settings = ["web_open_browser=false", f"web_port={lab.free_port()}"]
        options = [part for setting in settings for part in ("--set", setting)]
        with (
            lab.registry(folder / "registry", ajax_only=True) as registry,
            lab.proxy(registry.url, rules, log=folder / "log", web=True, options=options) as proxy,
        ):
            registry.wait("/health")
            proxy.wait("/livez")
            take(page, proxy)
    return 0


def take(page: Page, proxy: lab.Server) -> None:
    """Fill the registry through the proxy, and take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    fill: list[str | Path] = [lab.mlflow(3), lab.ROOT / "scripts" / "demo" / "sample_run.py"]
    filled = subprocess.run([*fill, proxy.url], check=True, stdout=subprocess.PIPE)
    made = json.loads(filled.stdout.splitlines()[-1])
    send(f"{proxy.url}/mlflow{API}/runs/get?run_id={made['run']}")
    send(f"{proxy.url}{API}/runs/of-last-week")
    send(f"{proxy.url}/api/2.0/mlflow-artifacts/artifacts/1/model.pkl", "DELETE")
    found = re.search(r"Web server listening at (\S+)", proxy.text())
    assert found, proxy.text()
    page.goto(found[1])
    page.wait_for_selector('tr:has-text("/livez")')
    page.fill('input[placeholder="Search"]', FILTER)
    page.wait_for_selector('tr:has-text("of-last-week")')
    page.screenshot(path=PICTURES / "flows.png")
    page.click('tr:has-text("of-last-week")')
    page.click('.flow-detail nav a:has-text("Response")')
    page.wait_for_selector('.flow-detail:has-text("Upstream error")')
    page.screenshot(path=PICTURES / "converted-error.png")
    page.click('tr:has-text("/runs/get?run_id")')
    page.wait_for_selector('.flow-detail:has-text("learning_rate")')
    page.eval_on_selector('.flow-detail button:has-text("Copy")', "e => e.scrollIntoView()")
    page.screenshot(path=PICTURES / "run.png")
    run = f"experiments/{made['experiment']}/runs/{made['run']}"
    page.goto(f"{proxy.url}/mlflow/#/{run}/model-metrics")
    page.wait_for_selector(".js-plotly-plot .lines")
    page.screenshot(path=PICTURES / "mlflow-ui.png")


if __name__ == "__main__":
    sys.exit(main())
