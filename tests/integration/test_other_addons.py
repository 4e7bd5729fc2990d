"""Answers of other addons pass unchanged, in every hook and for every kind of request."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import h2.events
import lab
import pytest
from support import answering_script, refusing
from support.client import RawHttp2, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Upstream
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/log-batch"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
BODIES = {
    "none": (API, None),
    "held": (API, b"{}"),
    "streamed": (API, b"x" * 3_000_000),
    "artifact": (FILE, b"x" * 3_000_000),
    "chunks": (FILE, "chunks"),
}
SCRIPT = ("-s", answering_script.__file__)


@pytest.fixture(
    scope="module",
    params=[(order, lean) for order in ("before", "after") for lean in ("true", "false")],
    ids=lambda param: "-".join(param),
)
def proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[lab.Server, Path]]:
    """A proxy with another script before or after the addon, lean or not, and its access log."""
    order, lean = request.param
    folder: Path = tmp_path_factory.mktemp(f"{order}-{lean}")
    log = folder / "access"
    options = ("--set", f"mlflow_lean={lean}", "--set", f"mlflow_access_log={log}")
    before, after = (SCRIPT, ()) if order == "before" else ((), SCRIPT)
    with running_proxy(folder, scripted.url, before=before, options=options + after) as server:
        yield server, log


def records(log: Path, names: set[str]) -> list[dict[str, object]]:
    """Return the log lines of some requests, once there is one for each."""

    def found() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [line for line in lines if line["request_id"] in names]

    eventually(lambda: len(found()) == len(names))
    return found()


def ask(
    proxy: lab.Server,
    target: str,
    body: bytes | str | None,
    name: str,
    headers: Mapping[str, str] = {},
) -> tuple[int, bytes, str | None]:
    """Send a request with an id; return status, body and X-Made-By of the answer."""
    sent = iter([b"x" * 100_000] * 3) if isinstance(body, str) else body
    fields = {"X-Request-Id": name, **headers}
    method = "PUT" if body else "GET"
    got = request(proxy.url, target, method=method, headers=fields, body=sent, timeout=10)
    return got.status, got.body, got.headers["X-Made-By"]


@pytest.mark.parametrize("hook", ["requestheaders", "request"])
def test_an_answer_stands(scripted: Upstream, proxy: tuple[lab.Server, Path], hook: str) -> None:
    """Another addon's answer is sent unchanged and at once, and has an access log line."""
    scripted.answer = OK
    server, log = proxy
    for kind, (target, body) in BODIES.items():
        scripted.requests.clear()
        got = ask(server, f"{target}?answer={hook}", body, f"{hook}-{kind}")
        assert got == (401, answering_script.BODY, "a script"), kind
        # A streamed request has reached the upstream before `request`.
        assert not scripted.requests or (hook == "request" and kind not in ("none", "held"))
    lines = records(log, {f"{hook}-{kind}" for kind in BODIES})
    assert {(line["status"], line["error_source"]) for line in lines} == {(401, "proxy")}
    assert ask(server, API, None, f"then-{hook}")[0] == 200


@pytest.mark.parametrize("hook", ["requestheaders", "request"])
def test_a_request_that_is_killed(
    scripted: Upstream, proxy: tuple[lab.Server, Path], hook: str
) -> None:
    """A killed request gets no answer, its connection closes, and it has an access log line."""
    scripted.answer = OK
    server, log = proxy
    kinds = ["none", "held"]
    if hook == "request" or "mlflow_lean=true" in server.command:
        # A bare mitmdump does not close the connection if it has not read all that was sent.
        kinds += ["streamed", "artifact", "chunks"]
    for kind in kinds:
        target, body = BODIES[kind]
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            ask(server, f"{target}?kill={hook}", body, f"kill-{hook}-{kind}")
    lines = records(log, {f"kill-{hook}-{kind}" for kind in kinds})
    assert {(line["status"], line["error_source"]) for line in lines} == {(None, "proxy")}
    assert ask(server, API, None, f"then-kill-{hook}")[0] == 200


@pytest.fixture(scope="module", params=["true", "false"])
def guarded(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[lab.Server]:
    """A proxy that asks for a password by proxyauth, an addon of mitmproxy's own."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    options = ("--set", "proxyauth=user:pw", "--set", f"mlflow_lean={request.param}")
    with running_proxy(folder, scripted.url, options=options) as server:
        yield server


def test_a_password(scripted: Upstream, guarded: lab.Server) -> None:
    """Without the password a request gets 401 at once; with it, only the password is removed."""
    scripted.answer = OK
    headers = {"Authorization": "Basic " + base64.b64encode(b"user:pw").decode()}
    for target, body in BODIES.values():
        scripted.requests.clear()
        assert ask(guarded, target, body, "x")[0] == 401
        assert scripted.requests == []
        assert ask(guarded, target, body, "x", headers)[0] == 200
        assert scripted.requests[-1].header("authorization") == []


def test_connections_that_are_refused(scripted: Upstream, start_proxy: StartProxy) -> None:
    """A script that refuses connections to the registry keeps none of many requests waiting."""
    proxy = start_proxy(scripted.url, before=("-s", refusing.__file__))
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", API)]
    with RawHttp2(proxy.url, None) as client:
        for number in range(90):
            client.h2.send_headers(2 * number + 1, fields, end_stream=True)
            client.flush()
        ends = (one for one in client.events() if isinstance(one, h2.events.StreamEnded))
        assert len([*islice(ends, 90)]) == 90


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "a..test"])
def test_a_registry_whose_name_cannot_be_looked_up(
    scripted: Upstream, start_proxy: StartProxy, tmp_path: Path, name: str
) -> None:
    """A script that sends a request to a host with an impossible name gets a 502 at once."""
    script = tmp_path / "script.py"
    script.write_text(f"def request(flow):\n    flow.request.host = {name!r}\n")
    proxy = start_proxy(scripted.url, before=("-s", str(script)))
    answer = request(proxy.url, API, timeout=10)
    assert answer.status == 502
    assert json.loads(answer.body)["error_code"] == "TEMPORARILY_UNAVAILABLE"
