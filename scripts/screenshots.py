"""Makes the pictures of the manual; `scripts/screenshots.sh` calls it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import stack
from browser import Browser

PICTURES = stack.ROOT / "scripts" / "screenshots"
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
    with tempfile.TemporaryDirectory() as name, Browser() as browser:
        folder = Path(name)
        rules = stack.write_rules(
            folder / "rules.yaml", external=["127.0.0.1"], artifacts={"delete": False}
        )
        settings = ["web_open_browser=false", f"web_port={stack.free_port()}"]
        options = [part for setting in settings for part in ("--set", setting)]
        with (
            stack.registry(folder / "registry", ajax_only=True) as registry,
            stack.proxy(
                registry.url, rules, log=folder / "log", web=True, options=options
            ) as proxy,
        ):
            registry.wait("/health")
            proxy.wait("/livez")
            take(browser, proxy)
    return 0


def take(browser: Browser, proxy: stack.Server) -> None:
    """Fill the registry through the proxy, and take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    fill: list[str | Path] = [stack.mlflow(3), stack.ROOT / "scripts" / "sample_run.py"]
    filled = subprocess.run([*fill, proxy.url], check=True, stdout=subprocess.PIPE)
    made = json.loads(filled.stdout.splitlines()[-1])
    send(f"{proxy.url}/mlflow{API}/runs/get?run_id={made['run']}")
    send(f"{proxy.url}{API}/runs/of-last-week")
    send(f"{proxy.url}/api/2.0/mlflow-artifacts/artifacts/1/model.pkl", "DELETE")
    found = re.search(r"Web server listening at (\S+)", proxy.text())
    assert found, proxy.text()
    browser.open(found[1])
    browser.wait('tr:has-text("/livez")')
    browser.fill('input[placeholder="Search"]', FILTER)
    browser.wait('tr:has-text("of-last-week")')
    browser.screenshot(PICTURES / "flows.png")
    browser.click('tr:has-text("of-last-week")')
    browser.click('.flow-detail nav a:has-text("Response")')
    browser.wait('.flow-detail:has-text("Upstream error")')
    browser.screenshot(PICTURES / "converted-error.png")
    browser.click('tr:has-text("/runs/get?run_id")')
    browser.wait('.flow-detail:has-text("learning_rate")')
    browser.scroll('.flow-detail button:has-text("Copy")')
    browser.screenshot(PICTURES / "run.png")
    run = f"experiments/{made['experiment']}/runs/{made['run']}"
    browser.open(f"{proxy.url}/mlflow/#/{run}/model-metrics")
    browser.wait(".js-plotly-plot .lines")
    browser.screenshot(PICTURES / "mlflow-ui.png")


if __name__ == "__main__":
    sys.exit(main())
