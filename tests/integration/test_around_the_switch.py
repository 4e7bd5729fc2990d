"""No option of mitmproxy and no script bypasses the artifact switch."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import lab
import pytest
from support import meddler
from support.client import connect, read_all, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Upstream
from support.waiting import eventually

FILE = "/api/2.0/mlflow-artifacts/artifacts/kept.txt"
CONTENT = b"a secret artifact"
HARMLESS = "/api/2.0/mlflow/experiments/search?max_results=1"
ASKS = b'{"query": "{ mlflowListArtifacts(input: {}) { rootUri } }"}'
ASKS_NOTHING = b'{"query": "query Q { mlflowGetRun { apiError { code } } }"}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def registry(mlflow_server: lab.Server) -> lab.Server:
    """An MLflow server that has one artifact."""
    assert request(mlflow_server.url, FILE, method="PUT", body=CONTENT).status == 200
    return mlflow_server


def script(*options: str) -> tuple[str, ...]:
    return ("-s", str(Path(meddler.__file__)), *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ignore-hosts", "."), "ignore_hosts: ['.']: connections "),
        (("--allow-hosts", "example"), "allow_hosts: ['example']: connections to all other hosts"),
        (("--mode", "reverse:tcp://127.0.0.1:9@PORT"), "mode: reverse:tcp://127.0.0.1:9@PORT: "),
        (("--mode", "regular@PORT"), "mode: regular@PORT: beside reverse:http://127.0.0.1:"),
        (("--set", "validate_inbound_headers=false"), "validate_inbound_headers: False: a request"),
    ],
)
@pytest.mark.parametrize("off", ["enabled", "write"])
def test_a_bypassing_option_is_refused_at_start(
    registry: lab.Server, tmp_path: Path, options: tuple[str, ...], message: str, off: str
) -> None:
    """The proxy refuses to start with one log line, and serves no request before it exits."""
    port = str(lab.free_port())
    options = tuple(option.replace("PORT", port) for option in options)
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[], artifacts={off: False})
    with lab.proxy(registry.url, rules, log=tmp_path / "log", options=options) as proxy:
        while proxy.process.poll() is None:
            with pytest.raises(OSError):
                connect_and_ask(proxy.url)
        assert proxy.process.returncode == 1
    # Later lines are asyncio's, about clients that were cut off.
    text, ends, _ = proxy.text().partition("Error logged during startup")
    said = [line for line in text.splitlines() if message.replace("PORT", port) in line]
    assert ends
    assert len(said) == 1, text
    assert f"switched off (artifacts.{off})" in said[0]
    assert "Traceback" not in text


def connect_and_ask(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(f"GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if not read_all(connection):
            raise ConnectionError


@pytest.mark.parametrize(
    "option", ["ignore_hosts=127.0.0.1", "allow_hosts=never.example", "rawtcp=false"]
)
def test_an_option_that_is_set_later(
    registry: lab.Server, shared_proxy: StartProxy, option: str
) -> None:
    """A bypassing option is refused at run time while artifacts are off; the old value stays."""
    proxy = shared_proxy(registry.url, artifacts={"enabled": False}, options=script())
    headers = {"X-Meddle": f"request option {option}"}
    said = request(proxy.url, HARMLESS, headers=headers).body.decode()
    name = option.partition("=")[0]
    assert said == "set" if name == "rawtcp" else said.startswith(f"{name}: ['")
    assert request(proxy.url, FILE).status == 503


def test_artifacts_that_are_switched_off_later(registry: lab.Server, tmp_path: Path) -> None:
    """With a bypassing option set, artifacts cannot be switched off until it is unset."""
    options = script("--set", "ignore_hosts=never.example", "--set", "flow_detail=0")
    with running_proxy(tmp_path, registry.url, options=options) as proxy:
        rules = tmp_path / "rules.yaml"
        assert request(proxy.url, FILE).body == CONTENT
        lab.write_rules(rules, external=[], artifacts={"enabled": False})
        eventually(lambda: b"stale" in request(proxy.url, "/readyz").body)
        assert "the old rules stay in force: ignore_hosts: ['never.example']: " in proxy.text()
        assert request(proxy.url, FILE).body == CONTENT
        headers = {"X-Meddle": "request option mlflow_serve_artifacts=false"}
        said = request(proxy.url, HARMLESS, headers=headers).body
        assert said.startswith(b"ignore_hosts: ['never.example']: ")
        headers = {"X-Meddle": "request option ignore_hosts"}
        assert request(proxy.url, HARMLESS, headers=headers).body == b"set"
        lab.write_rules(rules, external=[], artifacts={"enabled": False, "disabled_status": 403})
        eventually(lambda: request(proxy.url, FILE).status == 403)


def test_a_forward_proxy(registry: lab.Server, tmp_path: Path) -> None:
    """A forward proxy needs rawtcp=false to start; then a split request line is read as HTTP."""
    address = registry.url.removeprefix("http://")
    rules = lab.write_rules(
        tmp_path / "rules.yaml", external=["127.0.0.1"], artifacts={"enabled": False}
    )
    port = lab.free_port()
    command = lab.proxy_command(registry.url, rules, port=port)
    command[command.index("--mode") + 1] = "regular"
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    with pytest.raises(lab.StartError) as refused, lab.Server(command, url=url, log=log) as it:
        it.wait()
    assert "rawtcp: True: in mode regular traffic that does not look like HTTP passes" in str(
        refused.value
    )
    command += ["--set", "rawtcp=false"]
    with lab.Server(command, url=url, log=log).wait_for_port(), connect(url) as client:
        client.sendall(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"G")
        client.sendall(f"ET {FILE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert read_all(client).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize("before", [True, False], ids=["script first", "script last"])
@pytest.mark.parametrize(
    ("target", "method", "body", "meddle"),
    [
        (HARMLESS, "GET", None, f"requestheaders path {FILE}"),
        (HARMLESS, "GET", None, f"request path {FILE}"),
        (HARMLESS, "PUT", b"x" * 2_000_000, f"requestheaders path {FILE}"),
        (HARMLESS, "PUT", b"x", f"request path {FILE}"),
        (HARMLESS, "GET", None, f"request path /{FILE}/../kept.txt"),
        ("/graphql", "POST", ASKS, "requestheaders stream"),
        ("/graphql", "POST", ASKS_NOTHING, f"request body {ASKS.decode()}"),
        (HARMLESS, "POST", ASKS, "requestheaders path /graphql"),
    ],
)
def test_a_script_that_changes_requests(
    registry: lab.Server,
    shared_proxy: StartProxy,
    before: bool,
    target: str,
    method: str,
    body: bytes | None,
    meddle: str,
) -> None:
    """A request is checked after a script changes it, whether the script or the addon is first."""
    options = () if before else script()
    proxy = shared_proxy(
        registry.url,
        artifacts={"enabled": False},
        before=script() if before else (),
        options=options,
    )
    logged = registry.text()
    got = request(proxy.url, target, method=method, body=body, headers={"X-Meddle": meddle, **JSON})
    assert got.status in (400, 503)
    assert json.loads(got.body)["error_code"] in ("ARTIFACTS_DISABLED", "BAD_REQUEST")
    assert registry.text() == logged, "a request has reached MLflow"
    # Later requests are served as usual.
    assert "experiments" in json.loads(request(proxy.url, HARMLESS).body)


OPTIONS = {
    "map_remote": f"map_remote=|/(ajax-)?api/2.0/mlflow/runs/get|{FILE}",
    "modify_body": "modify_body=|~q|mlflowGetRun|mlflowListArtifacts",
    "stream_large_bodies": "stream_large_bodies=10",
    "map_local": "map_local=|kept.txt|/etc/hostname",
}


@pytest.mark.parametrize(
    ("option", "target", "method", "body"),
    [
        ("map_remote", "/api/2.0/mlflow/runs/get", "GET", None),
        ("map_remote", "/api/2.0/mlflow/runs/get", "DELETE", None),
        ("modify_body", "/graphql", "POST", ASKS_NOTHING),
        ("stream_large_bodies", "/graphql", "POST", ASKS),
        ("stream_large_bodies", FILE, "PUT", b"x" * 100),
        ("stream_large_bodies", FILE, "PUT", b"x" * 2_000_000),
        ("map_local", FILE, "GET", None),
    ],
)
def test_options_that_change_requests(
    registry: lab.Server,
    shared_proxy: StartProxy,
    option: str,
    target: str,
    method: str,
    body: bytes | None,
) -> None:
    """A request that an option of mitmproxy changes, streams or answers is checked, too."""
    options = ("--set", OPTIONS[option])
    proxy = shared_proxy(registry.url, artifacts={"enabled": False}, options=options)
    logged = registry.text()
    got = request(proxy.url, target, method=method, body=body, headers=JSON)
    assert got.status == 503
    assert json.loads(got.body)["error_code"] == "ARTIFACTS_DISABLED"
    assert registry.text() == logged, "a request has reached MLflow"


def test_a_method_that_an_option_adds(scripted: Upstream, shared_proxy: StartProxy) -> None:
    """An X-HTTP-Method-Override header that an option adds is checked like a client's."""
    scripted.answer, option = OK, "modify_headers=/~q/X-HTTP-Method-Override/PUT"
    proxy = shared_proxy(scripted.url, artifacts={"write": False}, options=("--set", option))
    scripted.requests.clear()
    assert request(proxy.url, FILE).status == 503
    assert scripted.requests == []
    assert request(proxy.url, HARMLESS).status == 200


def test_graphql_that_asks_for_nothing_passes(
    registry: lab.Server, shared_proxy: StartProxy
) -> None:
    """A harmless GraphQL body is held and checked, although an option would stream it."""
    options = ("--set", OPTIONS["stream_large_bodies"])
    proxy = shared_proxy(registry.url, artifacts={"enabled": False}, options=options)
    got = request(proxy.url, "/graphql", method="POST", headers=JSON, body=ASKS_NOTHING)
    assert got.status == 200
    assert "data" in json.loads(got.body)


def test_a_flow_does_not_count_against_itself(scripted: Upstream, shared_proxy: StartProxy) -> None:
    """A request whose path a script changes counts once against limits.flows."""
    scripted.answer = OK
    proxy = shared_proxy(scripted.url, limits={"flows": 1}, before=script())
    headers = {"X-Meddle": "request path /api/2.0/mlflow/runs/search"}
    got = request(proxy.url, "/api/2.0/mlflow/runs/get", method="POST", headers=headers, body=b"{}")
    assert got.status == 200
    assert scripted.requests[-1].target == "/ajax-api/2.0/mlflow/runs/search"
