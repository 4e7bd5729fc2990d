"""Errors as a client sees them: from upstreams that answer in HTML, and from mitmproxy itself."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from pathlib import Path

import lab
import pytest
from support.client import Response, connect, raw, request
from support.fixtures import StartProxy
from support.upstream import Answer, Received, Upstream, response

FILE = "/api/2.0/mlflow-artifacts/artifacts/x"
ABSENT = f"http://127.0.0.1:{lab.free_port()}"
API = "/mlflow/api/2.0/mlflow/experiments/nope?token=secret"


def own_error(got: Response, status: int = 502) -> str:
    """Check an error of the proxy's own and return its message."""
    assert got.status == status
    assert got.headers["Content-Type"] == "application/json"
    content = json.loads(got.body)
    assert content["source"] == "proxy"
    assert content["error_code"] == ("TEMPORARILY_UNAVAILABLE" if status == 502 else "BAD_REQUEST")
    return str(content["message"])


@pytest.mark.parametrize("body", [None, b"x" * 3_000_000, "chunks"])
@pytest.mark.parametrize("target", [API, "/", "/api/2.0/mlflow-artifacts/artifacts/x"])
def test_refused(shared_proxy: StartProxy, target: str, body: bytes | str | None) -> None:
    """With the upstream down, every request gets a JSON error, never an empty reply."""
    proxy = shared_proxy(ABSENT)
    sent = iter([b"x" * 3_000_000]) if isinstance(body, str) else body
    got = request(proxy.url, target, method="PUT" if body else "GET", body=sent)
    assert "it refused the connection" in own_error(got)


def test_own_errors_are_logged(start_proxy: StartProxy) -> None:
    """The request id that the client gets is in exactly one log line, without the query."""
    proxy = start_proxy(f"http://127.0.0.1:{lab.free_port()}", artifacts={"enabled": False})
    refused = "/api/2.0/mlflow-artifacts/artifacts/x?token=secret"
    for target, headers in (
        (API, {}),
        (API, {"X-Request-Id": "mine-17"}),
        (refused, {}),
    ):
        got = request(proxy.url, target, headers=headers)
        request_id = got.headers["X-Request-Id"]
        assert request_id == headers.get("X-Request-Id", request_id)
        assert got.headers["Proxy-Status"].startswith("mlflow-proxy; error=")
        lines = [line for line in proxy.text().splitlines() if request_id in line]
        assert len(lines) == 1
        assert f"answered {got.status} to " in lines[0]
        assert "secret" not in proxy.text()


def test_unknown_name(start_proxy: StartProxy) -> None:
    """An upstream whose name does not exist gives a 502 that says so."""
    proxy = start_proxy("http://registry.invalid")
    assert "its name is unknown" in own_error(request(proxy.url, API))


def test_tls_failure(start_proxy: StartProxy, tmp_path: Path) -> None:
    """An https upstream that does not speak TLS gives a 502 that says so."""
    server = "server { listen 127.0.0.1:PORT; }"
    with lab.nginx(tmp_path / "nginx", server) as upstream:
        upstream.wait()
        proxy = start_proxy(upstream.url.replace("http", "https"))
        assert "the TLS handshake failed" in own_error(request(proxy.url, API))


def test_untrusted_certificate(start_proxy: StartProxy, tmp_path: Path, certificate: Path) -> None:
    """An upstream with an untrusted certificate gives a 502 that says so."""
    server = f"""
      server {{
        listen 127.0.0.1:PORT ssl;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
      }}
    """
    with lab.nginx(tmp_path / "nginx", server) as upstream:
        upstream.wait_for_port()
        proxy = start_proxy(upstream.url.replace("http", "https"))
        assert "its TLS certificate was not accepted" in own_error(request(proxy.url, API))


def reset(_: Received, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(_: Received, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def cut_head(_: Received, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret")


def close_after(answer: bytes) -> Answer:
    return lambda _, connection: connection.sendall(answer)


def garbage(_: Received, connection: socket.socket) -> None:
    connection.sendall(b"secret garbage\r\n\r\n")


def cut_page(_: Received, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\nsecret page")


@pytest.mark.parametrize("fault", [reset, close, cut_head, garbage, cut_page])
@pytest.mark.parametrize("body", [None, b"{}", b"x" * 3_000_000])
def test_broken_answers(
    scripted: Upstream, scripted_proxy: lab.Server, fault: Answer, body: bytes | None
) -> None:
    """An answer that breaks off before it is complete gives a 502 without any of its bytes."""
    scripted.answer = fault
    got = request(scripted_proxy.url, API, method="POST" if body else "GET", body=body)
    own_error(got)
    assert b"secret" not in got.body


def cut(framing: str) -> Answer:
    """Send most of a file, then reset the connection."""
    answer = response("200 OK", b"x" * 1_000_000, framing=framing)[:-1]

    def send(received: Received, connection: socket.socket) -> None:
        connection.sendall(answer)
        reset(received, connection)

    return send


@pytest.mark.parametrize(
    "broken",
    [
        close_after(response("200 OK", b"x" * 1_000_000)[:-1]),
        close_after(response("200 OK", b"x" * 1_000_000, framing="chunked")[:-1]),
        *(cut(framing) for framing in ("length", "chunked", "close")),
    ],
)
def test_a_cut_download_does_not_look_complete(
    scripted: Upstream, scripted_proxy: lab.Server, broken: Answer
) -> None:
    """If a streamed body breaks off, the client's transfer breaks off, too."""
    scripted.answer = broken
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        request(scripted_proxy.url, FILE)


def test_an_error_that_is_reset(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """An error reaches the client although the upstream resets the connection after it."""
    kind = ("Content-Type", "text/plain")
    whole = response("413 Too Large", b"no more than that", kind, framing="close")

    def send(received: Received, connection: socket.socket) -> None:
        connection.sendall(whole)
        time.sleep(0.2)  # Otherwise the reset overtakes it.
        reset(received, connection)

    scripted.answer = send
    got = request(scripted_proxy.url, API)
    assert got.status == 413
    assert "no more than that" in json.loads(got.body)["message"]


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_a_download_without_a_length(
    scripted: Upstream, scripted_proxy: lab.Server, version: bytes
) -> None:
    """A download without a length is sent in chunks, and the client's connection stays open."""
    body = b"x" * 1_000_000
    scripted.answer = close_after(version + response("200 OK", body, framing="close")[8:])
    client = http.client.HTTPConnection(scripted_proxy.url.removeprefix("http://"), timeout=20)
    for _ in range(2):
        client.request("GET", FILE)
        answer = client.getresponse()
        assert (answer.getheader("Transfer-Encoding"), answer.read()) == ("chunked", body)
    client.close()


@pytest.mark.parametrize(
    "head",
    [
        b"garbage",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
    ],
)
def test_malformed_requests(scripted_proxy: lab.Server, head: bytes) -> None:
    """A malformed request gets a 400 in JSON, and the connection is closed."""
    data = raw(scripted_proxy.url, head + b"\r\n\r\n")
    raw_head, _, body = data.partition(b"\r\n\r\n")
    assert raw_head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in raw_head.lower()
    assert json.loads(body)["error_code"] == "BAD_REQUEST"
    assert json.loads(body)["source"] == "proxy"


def test_real_not_found(external_proxy: lab.Server) -> None:
    """The error pages of nginx and Flask in a real registry become JSON."""
    for target in ("/api/nope", "/api/2.0/mlflow/nope", "/mlflow/ajax-api/2.0/mlflow/nope"):
        got = request(external_proxy.url, target)
        assert got.status == 404
        assert json.loads(got.body)["message"].endswith(f": {target}")
    got = request(external_proxy.url, "/api/2.0/mlflow/runs/get", method="DELETE")
    assert got.status == 405
    assert json.loads(got.body)["error_code"] == "ENDPOINT_NOT_FOUND"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_first_requests_of_a_starting_proxy(tmp_path: Path, scheme: str) -> None:
    """A starting proxy answers 502 as soon as it listens, and no request can stop its start."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    # mitmproxy makes its certificates in the home folder.
    env = {"HOME": str(tmp_path)}
    upstream = f"{scheme}://127.0.0.1:{lab.free_port()}"
    with lab.proxy(upstream, rules, log=tmp_path / "log", env=env) as proxy:
        answers: list[bytes] = []
        while len(answers) < 50:
            assert proxy.process.poll() is None, proxy.text()
            try:
                connection = connect(proxy.url)
            except ConnectionRefusedError:
                continue
            with connection:
                connection.sendall(
                    b"GET /api/2.0/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
                answers.append(connection.recv(65536))
        assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 502 Bad Gateway"}
        assert "Traceback" not in proxy.text()
