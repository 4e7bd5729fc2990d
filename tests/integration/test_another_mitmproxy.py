"""A mitmproxy that has changed where the addon reaches into it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stack
from mitmproxy import version
from support import files_registry
from support.client import connect, read_until, request

from addon.reached_into import Part

BREAKS = Path(__file__).resolve().parent.parent / "support" / "breaks.py"
HTTP = "mitmproxy.proxy.layers.http"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

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
"""What the log says of a change without which nothing can be refused."""

SPEED = {
    Part.LEAN: "disarm of mitmproxy.proxy.server:TimeoutWatchdog in mitmproxy",
    Part.BYTES: "_waiter of asyncio.streams:StreamReader in asyncio.streams",
    Part.OPTIONS: "unset of mitmproxy.optmanager in mitmproxy",
    Part.OTHER_MODES: f"streams of {HTTP}:HttpLayer in {HTTP}",
    Part.FLOWS: "store_count of mitmproxy.addons.view:View in mitmproxy",
    Part.LOG: "emit",
    Part.LOOP: "text",
}
"""A change for each part without which it works."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Server]:
    """nginx that keeps files."""
    with files_registry.start(tmp_path_factory.mktemp("registry")) as server:
        yield server.wait("/ajax-api/2.0/mlflow/experiments/search")


def proxy(
    registry: stack.Server, folder: Path, change: str, *, mode: str = "", **rules: Any
) -> stack.Server:
    """A proxy with a script before ours that changes mitmproxy."""
    limits = {"connections": 100}  # So many files may be open anywhere.
    port = stack.free_port()
    command = stack.proxy_command(
        registry.url,
        stack.write_rules(folder / "rules.yaml", external=["127.0.0.1"], limits=limits, **rules),
        port=port,
        before=("-s", BREAKS),
        options=("--set", "flow_detail=0", "--set", "termlog_verbosity=warn"),
    )
    if mode:
        command[command.index("--mode") + 1] = mode
    url = f"http://127.0.0.1:{port}"
    # Upon SIGTERM it would wait for load balancers and transfers.
    return stack.Server(
        command, url=url, log=folder / "log", env={"BREAKS": change}, stop_signal=signal.SIGINT
    )


@pytest.mark.parametrize("change", SAFETY)
def test_it_does_not_start(registry: stack.Server, tmp_path: Path, change: str) -> None:
    """Exit code 1, and one line that says what was expected of which version."""
    with proxy(registry, tmp_path, change) as started:
        assert started.process.wait(30) == 1
        text = started.text()
    (line,) = [line for line in text.splitlines() if "is not as expected" in line]
    assert f"mitmproxy {version.VERSION} " in line
    assert SAFETY[change] in line
    assert line.endswith(f"So {Part.SAFETY.value}")
    assert "Traceback" not in text
    assert len(text.splitlines()) == 2, text  # The other is mitmproxy's, about errors at start.


@pytest.mark.parametrize("part", SPEED, ids=lambda part: part.name)
def test_a_part_is_switched_off(registry: stack.Server, tmp_path: Path, part: Part) -> None:
    """The log says so once, and all requests are served."""
    content = os.urandom(3 << 20)
    with proxy(registry, tmp_path, SPEED[part]) as started:
        started.wait("/livez")
        small = request(started.url, "/api/2.0/mlflow/experiments/search")
        assert (small.status, small.body) == (200, b'{"experiments": []}')
        target = f"{ARTIFACTS}/{part.name}/model.bin"
        assert request(started.url, target, method="PUT", body=content).status == 201
        assert request(started.url, target).body == content
        assert request(started.url, target, method="DELETE").status == 405
    # At its end, as mitmproxy itself does not write each line at once to a file.
    (line,) = started.text().splitlines()
    assert f"mitmproxy {version.VERSION} " in line
    assert line.endswith(f"So {part.value}")


@pytest.mark.parametrize(
    ("change", "begun", "end"),
    [
        ("", b"", "drained"),
        ("", b"GET ", "1 connection(s) are cut"),
        (SPEED[Part.OTHER_MODES], b"", "1 connection(s) are cut"),
    ],
)
def test_drain_of_a_forward_proxy(
    registry: stack.Server, tmp_path: Path, change: str, begun: bytes, end: str
) -> None:
    """A connection that waits for a request is closed, if that can be told; others have time."""
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
