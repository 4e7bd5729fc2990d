"""mitmdump without its unused addons still supports scripts and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support import patient
from support.client import request
from support.proxies import running_proxy
from support.upstream import OK, Received, Upstream
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/get"


@pytest.fixture(scope="module", params=["true", "false"])
def scripted_proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[lab.Server, str]]:
    """A proxy with a user's script, with and without mlflow_lean."""
    scripted.answer = OK
    lean: str = request.param
    settings = (f"mlflow_lean={lean}", "termlog_verbosity=debug", "anticomp=true")
    options = ("-s", patient.__file__, *(part for s in settings for part in ("--set", s)))
    folder: Path = tmp_path_factory.mktemp(f"lean-{lean}")
    with running_proxy(folder, scripted.url, options=options) as proxy:
        yield proxy, lean


def sent(proxy: lab.Server, upstream: Upstream, query: str) -> Received:
    """Send a request and return it as the upstream received it."""
    assert request(proxy.url, f"{API}?{query}").status == 200
    return upstream.requests[-1]


def test_left_out_addons_are_logged(scripted_proxy: tuple[lab.Server, str]) -> None:
    """At level debug, the log lists the addons that were left out, and none that is in use."""
    proxy, lean = scripted_proxy
    assert ("left out of the chain: anticache, blocklist, " in proxy.text()) is (lean == "true")


def test_scripts_and_options(scripted: Upstream, scripted_proxy: tuple[lab.Server, str]) -> None:
    """A script can wait, hold a flow and set an option of an addon that was left out."""
    proxy, _ = scripted_proxy
    assert sent(proxy, scripted, "wait").header("X-Waited") == ["yes"]
    assert sent(proxy, scripted, "intercept").target.startswith("/ajax-api/")
    plain = sent(proxy, scripted, "")
    assert plain.header("Accept-Encoding") == ["identity"]  # anticomp
    assert not plain.header("X-Option")
    sent(proxy, scripted, "option")
    assert sent(proxy, scripted, "").header("X-Option") == ["yes"]


def test_hooks_of_connections(scripted: Upstream, scripted_proxy: tuple[lab.Server, str]) -> None:
    """All connection hooks are called once, in order, and awaited."""
    proxy, _ = scripted_proxy
    sent(proxy, scripted, "")
    client = re.findall(r"(\S+): server_connected", proxy.text())[-1]

    def called() -> list[str]:
        return re.findall(rf"{client}: (\w+)", proxy.text())

    assert called()[:3] == ["client_connected", "server_connect", "server_connected"]
    eventually(lambda: {*called()[3:]} == {"server_disconnected", "client_disconnected"})
    assert len(called()) == 5
