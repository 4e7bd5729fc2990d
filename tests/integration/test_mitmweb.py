"""mitmweb with the addon."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import lab
from support.client import request
from support.upstream import OK, Upstream
from support.waiting import eventually

API = "/api/2.0/mlflow/experiments/search"


def test_number_of_kept_flows(scripted: Upstream, tmp_path: Path) -> None:
    """mitmweb keeps only the last mlflow_keep_flows flows, so that memory does not grow."""
    scripted.answer = OK
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    settings = ("web_open_browser=false", f"web_port={lab.free_port()}", "mlflow_keep_flows=20")
    options = [part for setting in settings for part in ("--set", setting)]
    log = tmp_path / "log"
    with lab.proxy(scripted.url, rules, log=log, web=True, options=options) as proxy:
        proxy.wait("/livez")
        for number in range(50):
            assert request(proxy.url, f"{API}?number={number}").status == 200
        listening = re.search(r"listening at (http://[^/\s]+)/(\S*)", proxy.text())
        assert listening
        flows = json.loads(request(listening[1], f"/flows{listening[2]}").body)
    paths = [flow["request"]["path"] for flow in flows]
    assert 17 <= len(paths) <= 21
    assert paths[-1].endswith("number=49")


def test_paths_are_as_clients_sent_them(scripted: Upstream, tmp_path: Path) -> None:
    """The list shows the client's path; an edited one is rewritten when it is sent again.

    What mitmweb exports, and the flow itself, has the path that went upstream.
    """
    scripted.answer = OK
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    settings = ("web_open_browser=false", f"web_port={lab.free_port()}")
    options = [part for setting in settings for part in ("--set", setting)]
    with lab.proxy(scripted.url, rules, log=tmp_path / "log", web=True, options=options) as proxy:
        proxy.wait("/livez")
        scripted.requests.clear()
        asked, sent = f"/mlflow{API}?number=1", f"/ajax-{API[1:]}?number=1"
        assert request(proxy.url, asked).status == 200
        with web_of(proxy) as web:
            (flow,) = [f for f in web.get("/flows").json() if "number" in f["request"]["path"]]
            assert flow["request"]["path"] == asked
            assert flow["comment"].startswith("rewritten by rest-to-ajax: /mlflow/api/")
            export = {"arguments": ["raw_request", f"~comment {API}"]}
            raw = web.post("/commands/export", json=export).json()["value"]
            assert raw.startswith(f"GET {sent} HTTP/1.1"), raw
            edited = {"request": {"path": f"{asked}&more"}}
            web.put(f"/flows/{flow['id']}", json=edited).raise_for_status()
            web.post(f"/flows/{flow['id']}/replay").raise_for_status()
            eventually(lambda: len(scripted.requests) == 2)
            assert [each.target for each in scripted.requests] == [sent, f"{sent}&more"]

            def listed() -> list[str]:
                return [each["request"]["path"] for each in web.get("/flows").json()]

            eventually(lambda: f"{asked}&more" in listed())
        assert "Traceback" not in proxy.text(), proxy.text()


@contextmanager
def web_of(proxy: lab.Server) -> Iterator[httpx.Client]:
    """Open a client of mitmweb that may change things."""
    listening = re.search(r"listening at (http://[^/\s]+)/(\S*)", proxy.text())
    assert listening
    # The same value in cookie and header shows that the request is from the same site.
    xsrf = {"_xsrf": "ab" * 16, "_mitmproxy_xsrf": "ab" * 16}
    headers = {"X-XSRFToken": "ab" * 16}
    with httpx.Client(base_url=listening[1], cookies=xsrf, headers=headers) as web:
        web.get("/" + listening[2])
        yield web


def test_commands(scripted: Upstream, tmp_path: Path) -> None:
    """The addon's commands are listed and can be called, as from mitmweb's command bar."""
    scripted.answer = OK
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[], upstream={"dialect": "auto"})
    good = rules.read_text()
    settings = ("web_open_browser=false", f"web_port={lab.free_port()}", "termlog_verbosity=info")
    options = [part for setting in settings for part in ("--set", setting)]
    # Another listener, whose upstream is down.
    lost, absent = f"127.0.0.1:{lab.free_port()}", f"127.0.0.1:{lab.free_port()}"
    options += ["--mode", f"reverse:http://{absent}@{lost}"]
    log = tmp_path / "log"
    with lab.proxy(scripted.url, rules, log=log, web=True, options=options) as proxy:
        proxy.wait(API)
        with web_of(proxy) as web:
            listed = web.get("/commands").json()
            assert listed["mlflow.explain"]["help"].startswith("Say what would happen")

            def call(name: str, *arguments: str) -> dict[str, list[str]]:
                answer = web.post(f"/commands/{name}", json={"arguments": arguments})
                called: dict[str, list[str]] = answer.json()
                return called

            said = call("mlflow.explain", proxy.url + "/mlflow" + API, "POST")["value"]
            assert said[0].endswith("internal, serves /api/ (detected: /api is served)")
            assert said[-1] == f"result    sent upstream: POST {API}"
            said = call("mlflow.explain", f"http://{lost}{API}")["value"]
            assert said[0] == f"upstream  {absent}: internal, serves /api/"
            assert "others    auto" in call("mlflow.rules")["value"]

            rules.write_text("mounts: 5\n")
            assert ":1: mounts: 5: expected a list" in str(call("mlflow.reload")["error"])
            assert request(proxy.url, API).status == 200
            rules.write_text(good.replace("  read: true\n", "  read: false\n"))
            assert "1 rewrite" in call("mlflow.reload")["value"][0]
            artifact = "/api/2.0/mlflow-artifacts/artifacts/a"
            assert request(proxy.url, artifact).status == 503
            said = call("mlflow.explain", artifact)["value"]
            assert scripted.url.removeprefix("http://") in said[0]
            assert said[-2] == "artifacts read: switched off by artifacts.read"

            assert call("mlflow.health") == {"value": None}
            found = {
                ("alert", "connectivity: reachable"),
                ("error", f"critical: http://{lost}"),
            }

            def logged() -> set[tuple[str, str]]:
                events = web.get("/events").json()
                return {(each["level"], each["message"].rpartition("] ")[2]) for each in events}

            eventually(lambda: found <= logged())
