"""Versions of mitmproxy whose internals differ from what the addon expects."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.events
import lab
import pytest
from mitmproxy import version
from support import files_registry
from support.client import RawHttp2, connect, read_all, read_until, request
from support.upstream import OK, Received, Upstream, response, silent
from support.waiting import eventually

from addon.internals.place import Part

BREAKS = Path(__file__).resolve().parent.parent / "support" / "breaks.py"
HTTP = "mitmproxy.proxy.layers.http"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CONTENT = os.urandom(3 << 20)

SAFETY = {
    "server_event of mitmproxy.proxy.server:ConnectionHandler in mitmproxy": (
        "ConnectionHandler: no server_event, expected async server_event(event)"
    ),
    f"HttpRequestHook of {HTTP}._hooks in mitmproxy": (
        f"{HTTP}._hooks: no HttpRequestHook, expected HttpRequestHook"
    ),
    "logger": "logger: name is 'mitmproxy.server', expected name=mitmproxy.proxy.server",
    "parameter": "NextLayer: next_layer takes (nextlayer, reason), expected next_layer(nextlayer)",
    "field": "RequestData: __init__ takes (",
}
"""Changes that make refusals unsafe, and the log message for each."""

SERVER = "mitmproxy.proxy.server"
SPEED = {
    Part.LEAN: (
        "safecall of mitmproxy.addonmanager in mitmproxy",
        "lookup of mitmproxy.addonmanager:AddonManager in mitmproxy",
        "all_hooks of mitmproxy.hooks in mitmproxy",
        "DumpMaster of mitmproxy.tools.dump in mitmproxy",
        "_legacy_log_events of mitmproxy.master:Master in mitmproxy",
        f"disarm of {SERVER}:TimeoutWatchdog in mitmproxy",
    ),
    Part.BYTES: (
        f"drain_writers of {SERVER}:ConnectionHandler in mitmproxy",
        f"register_activity of {SERVER}:TimeoutWatchdog in mitmproxy",
        "_waiter of asyncio.streams:StreamReader in asyncio.streams",
    ),
    Part.OPTIONS: ("unset of mitmproxy.optmanager in mitmproxy",),
    Part.OTHER_MODES: (f"streams of {HTTP}:HttpLayer in {HTTP}",),
    Part.FLOWS: ("store_count of mitmproxy.addons.view:View in mitmproxy",),
    Part.LOG: ("emit",),
    Part.LOOP: ("text",),
}
"""Changes to parts that the proxy can serve without; as many as possible on the request path."""

HASTY: dict[str, Any] = {
    "limits": {"head_timeout": 1, "body_timeout": 1, "artifact_body": "4MiB"},
    "upstream": {"response_timeout": 1, "idle_timeout": 1},
}
BINARY = ("Content-Type", "application/octet-stream")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """nginx as a registry that stores files."""
    with files_registry.start(tmp_path_factory.mktemp("registry")) as server:
        yield server.wait("/ajax-api/2.0/mlflow/experiments/search")


def proxy(
    registry: lab.Server | Upstream, folder: Path, change: str, *, mode: str = "", **rules: Any
) -> lab.Server:
    """A proxy with a script that changes mitmproxy before the addon is loaded."""
    # Any machine allows enough open files for this.
    limits = {"connections": 100} | rules.pop("limits", {})
    port = lab.free_port()
    command = lab.proxy_command(
        registry.url,
        lab.write_rules(folder / "rules.yaml", external=["127.0.0.1"], limits=limits, **rules),
        port=port,
        before=("-s", BREAKS),
        options=(
            *("--set", "flow_detail=0", "--set", "termlog_verbosity=warn"),
            *("--set", f"mlflow_access_log={folder / 'access'}"),
        ),
    )
    if mode:
        command[command.index("--mode") + 1] = mode
    url = f"http://127.0.0.1:{port}"
    # On SIGTERM it would wait for load balancers and transfers.
    return lab.Server(
        command, url=url, log=folder / "log", env={"BREAKS": change}, stop_signal=signal.SIGINT
    )


@pytest.mark.parametrize("change", SAFETY)
def test_the_proxy_does_not_start(registry: lab.Server, tmp_path: Path, change: str) -> None:
    """The proxy exits with code 1; one log line names the version and what was expected."""
    with proxy(registry, tmp_path, change) as started:
        assert started.process.wait(30) == 1
        text = started.text()
    (line,) = [line for line in text.splitlines() if "is not as expected" in line]
    assert f"mitmproxy {version.VERSION} " in line
    assert SAFETY[change] in line
    assert line.endswith(f"So {Part.SAFETY.value}")
    assert "Traceback" not in text
    assert len(text.splitlines()) == 2, text  # The other is mitmproxy's, about errors at start.


def answer(received: Received, connection: socket.socket) -> bool | None:
    """Answer as a registry that stores nothing; the end of the target selects the answer."""
    match received.target.rpartition("/")[2]:
        case "big":
            connection.sendall(response("200 OK", CONTENT, BINARY))
        case "half":
            connection.sendall(response("200 OK", CONTENT, BINARY)[:-1])
            silent(received, connection)
        case "silent":
            silent(received, connection)
        case _:
            connection.sendall(OK)
            return True
    return False


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """An upstream that runs `answer`."""
    with Upstream(answer) as server:
        yield server


def _name(part: Part) -> str:
    return part.name


@pytest.fixture(scope="module", params=SPEED, ids=_name)
def changed(
    upstream: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[lab.Server]:
    """A proxy without one part; the log warns once and has no other unexpected line."""
    part = request.param
    folder = tmp_path_factory.mktemp(part.name)
    with proxy(upstream, folder, "; ".join(SPEED[part]), **HASTY) as started:
        yield started.wait("/livez")
    # Read after the proxy has stopped: mitmproxy itself does not flush each line to a file.
    lines = started.text().splitlines()
    (warning,) = [line for line in lines if "is not as expected" in line]
    assert f"mitmproxy {version.VERSION} " in warning
    assert warning.endswith(f"So {part.value}")
    assert all(change.split(" ")[0] in warning for change in SPEED[part] if " of " in change)
    told = ("is not as expected", "answered 4", "answered 504", "cut ")
    assert [line for line in lines if not any(words in line for words in told)] == []


def test_requests(upstream: Upstream, changed: lab.Server) -> None:
    """Small requests, large uploads and large downloads are served."""
    upstream.requests.clear()
    small = request(changed.url, "/api/2.0/mlflow/experiments/search")
    assert (small.status, small.body) == (200, b"{}")
    assert request(changed.url, f"{ARTIFACTS}/a", method="PUT", body=CONTENT).status == 200
    assert upstream.requests[-1].body == CONTENT
    assert request(changed.url, f"{ARTIFACTS}/big").body == CONTENT


def begin(target: str, *lines: str) -> bytes:
    return "\r\n".join([f"PUT {target} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def test_a_refusal_comes_early(changed: lab.Server) -> None:
    """A body that is too large gets 413 before it is read."""
    with connect(changed.url) as client:
        client.sendall(begin(f"{ARTIFACTS}/a", f"Content-Length: {5 << 20}") + CONTENT[:1000])
        assert read_until(client, b"\r\n").startswith(b"HTTP/1.1 413 ")


def test_time_limits(changed: lab.Server) -> None:
    """All time limits hold, for HTTP/1.1 and HTTP/2; the clients wait in parallel."""
    api, file = "/api/2.0/mlflow/runs/log-batch", f"{ARTIFACTS}/a"
    sent = {
        "nothing": b"",
        "head": b"GET / HTTP/1.1\r\n",
        "body": begin(api, "Content-Length: 9") + b"x",
        "streamed body": begin(file, "Content-Length: 3000000") + b"x",
        "silent": begin("/api/2.0/mlflow/silent", "Connection: close", "Content-Length: 0"),
        "half": begin(f"{ARTIFACTS}/half", "Connection: close", "Content-Length: 0"),
    }
    streams: dict[int | None, bytes] = {}
    with contextlib.ExitStack() as opened:
        clients = {name: opened.enter_context(connect(changed.url)) for name in sent}
        for name, data in sent.items():
            clients[name].sendall(data)
        http2 = opened.enter_context(RawHttp2(changed.url, None))
        for stream, target in ((1, api), (3, file), (5, "/api/2.0/whole")):
            head = {"method": "PUT", "scheme": "https", "authority": "x", "path": target}
            fields = [(f":{name}".encode(), value.encode()) for name, value in head.items()]
            http2.h2.send_headers(stream, fields, end_stream=stream == 5)
        http2.h2.send_data(1, b"x")
        http2.flush()
        got = {name: read_all(client) for name, client in clients.items()}
        for event in http2.events():
            if isinstance(event, h2.events.ResponseReceived):
                streams[event.stream_id] = dict(event.headers or [])[b":status"]
                if len(streams) == 3:
                    break
    assert {name: data[9:12].decode() for name, data in got.items()} == {
        "nothing": "",
        "head": "408",
        "body": "408",
        "streamed body": "408",
        "silent": "504",
        "half": "200",
    }
    assert json.loads(got["silent"].partition(b"\r\n\r\n")[2])["source"] == "proxy"
    assert got["half"].endswith(CONTENT[-1001:-1])
    assert streams == {1: b"408", 3: b"408", 5: b"200"}


@pytest.mark.parametrize("changed", [Part.LEAN, Part.BYTES], ids=_name, indirect=True)
def test_turns(changed: lab.Server) -> None:
    """A client that sends 1000 requests at once does not keep another client waiting."""
    many = 1000
    log = changed.log.parent / "access"
    with connect(changed.url) as client, connect(changed.url) as other:
        # The proxy itself answers a bad target.
        client.sendall(b"HEAD /api/2.0/%00 HTTP/1.1\r\nHost: x\r\n\r\n" * many)
        other.sendall(b"GET /api/2.0/other HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_until(other, b"{}").startswith(b"HTTP/1.1 200")
        got = b""
        while got.count(b"HTTP/1.1 400 ") < many:
            got += client.recv(1 << 20)
    eventually(lambda: log.read_bytes().count(b"/%00") == many)
    assert b"/other" in log.read_bytes().rpartition(b"/%00")[0]


@pytest.mark.parametrize(
    ("change", "begun", "end"),
    [
        ("", b"", "drained"),
        ("", b"GET ", "1 connection(s) are cut"),
        (*SPEED[Part.OTHER_MODES], b"", "1 connection(s) are cut"),
    ],
)
def test_drain_of_a_forward_proxy(
    registry: lab.Server, tmp_path: Path, change: str, begun: bytes, end: str
) -> None:
    """Drain closes an idle connection; one that is busy, or may be, is cut at the timeout."""
    drain = {"grace": 0, "timeout": 2}
    started = proxy(registry, tmp_path, change, mode="regular", drain=drain)
    with started.wait_for_port(), connect(started.url) as client:
        address = registry.url.removeprefix("http://")
        target = f"http://{address}/ajax-api/2.0/mlflow/experiments/search"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        assert read_until(client, b'"experiments": []}').startswith(b"HTTP/1.1 200")
        client.sendall(begun)
        os.kill(started.process.pid, signal.SIGTERM)
        assert started.process.wait(30) == 0
    assert end in started.text()
