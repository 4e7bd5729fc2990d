"""Credentials that the proxy adds reach one registry and appear nowhere else."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lab
import pytest
from support import websocket
from support.canaries import Canaries
from support.client import RawHttp2, connect, request
from support.fixtures import StartProxy
from support.probe import probe
from support.proxies import running_proxy
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/a/b.bin"
ADDED_REFUSED = "The registry refused the credentials that this proxy adds."


def said(answer: bytes) -> str:
    """The message of a JSON error."""
    return str(json.loads(answer)["message"])


@dataclass
class Guarded:
    """A proxy that adds a token from a file, and the registry behind it."""

    registry: Upstream
    proxy: lab.Server
    file: Path
    words: Canaries
    folder: Path

    @property
    def authorizations(self) -> set[str]:
        """The Authorization headers of all requests so far."""
        return {value for got in self.registry.requests for value in got.header("authorization")}

    def refuse(self) -> None:
        """Make the registry answer 401, except to the token that the file holds at that time."""

        def judge(received: Received, connection: socket.socket) -> bool:
            token = self.file.read_text().strip()
            known = received.header("authorization") == [f"Bearer {token}"]
            connection.sendall(OK if known else response("401 No", b"Who are you?"))
            return True

        self.registry.answer = judge


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """A proxy that saves its flows to a file and logs them in full detail."""
    words = Canaries()
    file = tmp_path / "secret"
    file.write_text(words.put("$first\n").decode())
    options = ["flow_detail=4", f"save_stream_file={tmp_path / 'flows'}", f"confdir={tmp_path}"]
    options += [f"mlflow_access_log={tmp_path / 'access.log'}", f"mlflow_metrics={lab.free_port()}"]
    with Upstream() as registry:
        entry = {"host": f"127.0.0.1:{registry.port}", "file": str(file)}
        with running_proxy(
            tmp_path / "proxy",
            registry.url,
            external=(),
            upstream={"credentials": [entry], "dialect": "auto"},
            options=tuple(word for option in options for word in ("--set", option)),
        ) as proxy:
            made = Guarded(registry, proxy, file, words, tmp_path)
            made.refuse()
            yield made
            found = [words.found(text) for text in published(made)]
            assert found == [set()] * 5


def published(guarded: Guarded) -> Iterator[str]:
    """Everything that others can read: metrics, health, logs, the command line, saved flows."""
    proxy, folder = guarded.proxy, guarded.folder
    (metrics,) = (part for part in proxy.command if part.startswith("mlflow_metrics="))
    yield str(request(f"http://127.0.0.1:{metrics.partition('=')[2]}", "/metrics").body)
    yield str(request(proxy.url, "/health/mlflow/detailed").body)
    yield proxy.text() + (folder / "access.log").read_text()
    yield Path(f"/proc/{proxy.process.pid}/cmdline").read_text()
    proxy.stop(seconds=30)  # mitmproxy writes the remaining flows when it stops.
    flows = (folder / "flows").read_bytes().decode("latin-1")
    assert flows.count("HTTP/1.1") > 2
    yield flows


def test_credentials_are_added(guarded: Guarded) -> None:
    """Credentials are added to client requests, health probes and API detection requests."""
    eventually(
        lambda: "it is used through /api" in guarded.proxy.text() or bool(guarded.authorizations)
    )
    first = guarded.words.put("Bearer $first").decode()
    url = guarded.proxy.url
    assert request(url, SEARCH).status == 200
    assert request(url, ARTIFACT, method="PUT", body=b"x" * 100_000).status == 200
    assert request(url, ARTIFACT, method="PUT", body=[b"x" * 9, b"y" * 9]).status == 200
    assert request(url, "/readyz").status == 200
    health = json.loads(request(url, "/health/mlflow").body)
    assert health["probes"]["experiments_api"] == "ok"
    assert guarded.authorizations == {first}
    heads = [got for got in guarded.registry.requests if got.header("authorization") != [first]]
    assert heads == []


def test_a_rotated_token(guarded: Guarded) -> None:
    """A changed token file takes effect without a restart."""
    assert request(guarded.proxy.url, SEARCH).status == 200
    guarded.file.write_text(guarded.words.put("$second").decode())
    eventually(lambda: request(guarded.proxy.url, SEARCH).status == 200)
    assert guarded.words.put("Bearer $second").decode() in guarded.authorizations


def test_client_credentials_win(guarded: Guarded) -> None:
    """A client's own Authorization passes; its 401 does not mention the proxy's credentials."""
    answer = request(guarded.proxy.url, SEARCH, headers={"Authorization": "Bearer mine"})
    assert (answer.status, said(answer.body)) == (
        401,
        "The server answered 401 (Unauthorized): Who are you?",
    )
    assert "Bearer mine" in guarded.authorizations


NATIVE = b'{"error_code": "UNAUTHENTICATED", "message": "MLflow says no."}'
JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response("401 No", b"<p>Sign in"), "Sign in"),
        (response("401 No", NATIVE, JSON), "MLflow says no."),
        (response("302 Found", b"", ("Location", "https://idp.example/login")), "asks for a login"),
        (response("200 OK", b"<html>Login", ("Content-Type", "text/html")), "with a web page"),
    ],
)
def test_refused(guarded: Guarded, answer: bytes, words: str) -> None:
    """A 401, a login redirect or a login page blames the proxy's credentials, also in health."""
    guarded.registry.answer = answer
    got = request(guarded.proxy.url, SEARCH)
    assert got.status == 401
    message = said(got.body)
    assert ADDED_REFUSED in message
    assert words in message
    assert "MLFLOW_TRACKING_TOKEN" not in message
    health = request(guarded.proxy.url, "/health/mlflow")
    verdict = "401: the credentials that the proxy adds were refused"
    assert (health.status, json.loads(health.body)["probes"]["experiments_api"]) == (503, verdict)
    run = probe(guarded.proxy.url)
    assert (run.returncode, verdict in run.stdout) == (2, True)


def test_an_echo_has_no_credentials(guarded: Guarded) -> None:
    """A TRACE request, which the registry echoes, gets no credentials."""

    def echo(received: Received, connection: socket.socket) -> bool:
        back = response("200 OK", received.head, ("Content-Type", "message/http"))
        connection.sendall(back if received.head.startswith(b"TRACE ") else OK)
        return True

    guarded.registry.answer = echo
    answer = request(guarded.proxy.url, "/api/2.0/x", method="TRACE")
    assert b"TRACE" in answer.body
    assert not guarded.words.found(answer.body.decode())


def test_other_pages(guarded: Guarded) -> None:
    """A cross-origin POST gets no credentials and so a 401; a same-origin POST gets them."""
    headers = {"Origin": "https://evil.example"}
    assert request(guarded.proxy.url, SEARCH, method="POST", headers=headers).status == 401
    headers = {"Origin": guarded.proxy.url}
    assert request(guarded.proxy.url, SEARCH, method="POST", headers=headers).status == 200


def test_http2_and_websockets(guarded: Guarded) -> None:
    """HTTP/2 requests and WebSocket handshakes get the credentials, too."""
    first = guarded.words.put("Bearer $first").decode()
    guarded.registry.requests.clear()
    head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a")]
    with RawHttp2(guarded.proxy.url, None) as client:
        client.h2.send_headers(1, [*head, (b":path", SEARCH.encode())], end_stream=True)
        client.flush()
        eventually(lambda: len(guarded.registry.requests) == 1)
    key = "MDEyMzQ1Njc4OWFiY2RlZg=="
    switch = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    guarded.registry.answer = (
        f"{switch}Sec-WebSocket-Accept: {websocket.accept(key)}\r\n\r\n".encode()
    )
    with connect(guarded.proxy.url) as connection:
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n" % key.encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
    assert [got.header("authorization") for got in guarded.registry.requests] == [[first]] * 2


def test_only_the_listed_registry_gets_credentials(start_proxy: StartProxy, tmp_path: Path) -> None:
    """An unlisted upstream gets no credentials, and neither do forward-proxy requests."""
    file = tmp_path / "secret"
    file.write_text("the-token")
    forward = lab.free_port()
    with Upstream() as registry:

        def added(host: str, *mode: str, through: int = 0) -> list[str]:
            proxy = start_proxy(
                registry.url,
                upstream={"credentials": [{"host": host, "file": str(file)}]},
                before=mode,
            )
            url = f"http://127.0.0.1:{through}" if through else proxy.url
            target = f"{registry.url if through else ''}{SEARCH}&marked"
            assert request(url, target).status == 200
            marked = [got for got in registry.requests if got.target.endswith("&marked")]
            registry.requests.clear()
            warned = f"upstream.credentials: {host}: no listener leads there" in proxy.text()
            assert warned == (host == "127.0.0.2")
            return marked[0].header("authorization")

        assert added("127.0.0.1") == ["Bearer the-token"]
        assert added("127.0.0.2") == []
        assert added("127.0.0.1", "--mode", f"regular@{forward}", through=forward) == []
