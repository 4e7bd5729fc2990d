"""mitmweb with the addon."""

from __future__ import annotations

import json
import re
from pathlib import Path

import stack
from support.client import request
from support.upstream import OK, Upstream

API = "/api/2.0/mlflow/experiments/search"


def test_it_keeps_so_many_flows(scripted: Upstream, tmp_path: Path) -> None:
    """The last ones, and memory does not grow with the rest."""
    scripted.answer = OK
    rules = stack.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    settings = ("web_open_browser=false", f"web_port={stack.free_port()}", "mlflow_keep_flows=20")
    options = [part for setting in settings for part in ("--set", setting)]
    log = tmp_path / "log"
    with stack.proxy(scripted.url, rules, log=log, web=True, options=options) as proxy:
        proxy.wait("/livez")
        for number in range(50):
            assert request(proxy.url, f"{API}?number={number}").status == 200
        listening = re.search(r"listening at (http://[^/\s]+)/(\S*)", proxy.text())
        assert listening
        flows = json.loads(request(listening[1], f"/flows{listening[2]}").body)
    paths = [flow["request"]["path"] for flow in flows]
    assert 17 <= len(paths) <= 21
    assert paths[-1].endswith("number=49")
