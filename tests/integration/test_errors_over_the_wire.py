"""Errors as a client sees them: from upstreams that speak HTML, and from mitmproxy itself."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from pathlib import Path

import pytest
import stack
from support.client import Response, request
from support.fixtures import StartProxy
from support.upstream import Received, Upstream

PAGE = b"<!doctype html><title>404 Not Found</title><h1>Not Found</h1>"
API = "/mlflow/api/2.0/mlflow/experiments/nope?token=secret"
NOT_FOUND = {
    "error_code": "RESOURCE_NOT_FOUND",
    "message": "The requested resource was not found: /mlflow/api/2.0/mlflow/experiments/nope",
}


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def answer(*headers: bytes, body: bytes, status: bytes = b"404 Not Found") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *headers, b"", body))


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


HTML = b"Content-Type: text/html; charset=utf-8"
GZIPPED = gzip.compress(PAGE)


@pytest.mark.parametrize(
    "upstream_answer",
    [
        answer(HTML, length(PAGE), body=PAGE),
        answer(HTML, b"Transfer-Encoding: chunked", body=chunked(PAGE)),
        answer(HTML, b"Connection: close", body=PAGE),
        answer(HTML, b"Content-Encoding: gzip", length(GZIPPED), body=GZIPPED),
        answer(HTML, b"Content-Encoding: gzip", length(PAGE), body=PAGE),
        answer(HTML, b"Content-Encoding: br", length(PAGE), body=PAGE),
        answer(b"Content-Type: text/html; charset=nonsense", length(PAGE), body=PAGE),
        answer(length(PAGE), body=PAGE),
        answer(b"Content-Type: application/json", length(PAGE), body=PAGE),
        answer(HTML, b"ETag: x", b"Content-Range: bytes 1-2/3", length(PAGE), body=PAGE),
        answer(HTML, length(PAGE * 5000), body=PAGE * 5000),
        answer(HTML, b"Content-Length: 0", body=b""),
        b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\n\r\n" + PAGE,
    ],
)
def test_html_error(start_proxy: StartProxy, upstream_answer: bytes) -> None:
    """However the page comes, the client gets MLflow's JSON and nothing of the page's entity."""

    def send_and_close(_: Received, connection: socket.socket) -> None:
        connection.sendall(upstream_answer)

    with Upstream(send_and_close) as upstream:
        got = request(start_proxy(upstream.url).url, API)
    assert got.status == 404
    assert json.loads(got.body) == NOT_FOUND
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["Content-Length"] == str(len(got.body))
    for gone in ("Content-Encoding", "ETag", "Content-Range", "Transfer-Encoding"):
        assert got.headers[gone] is None


def test_other_headers_stay(start_proxy: StartProxy) -> None:
    """What is not about the body reaches the client."""
    kept = (
        b"WWW-Authenticate: Basic realm=x",
        b"Retry-After: 7",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        b"X-Request-Id: r-1",
    )
    with Upstream(answer(HTML, length(PAGE), *kept, body=PAGE)) as upstream:
        got = request(start_proxy(upstream.url).url, API)
    for line in kept:
        name, _, value = line.decode().partition(": ")
        assert value in got.headers.get_all(name, [])


def test_json_errors_pass_unchanged(start_proxy: StartProxy) -> None:
    """An error that is JSON already is not touched, byte for byte."""
    body = b'{ "error_code":"RESOURCE_DOES_NOT_EXIST",\n "message":"x" }'
    for headers in (
        (b"Content-Type: application/json", length(body)),
        (b"Content-Type: application/json; charset=utf-8", b"ETag: y", length(body)),
    ):
        with Upstream(answer(*headers, body=body)) as upstream:
            got = request(start_proxy(upstream.url).url, API)
        assert (got.status, got.body) == (404, body)


@pytest.mark.parametrize("target", ["/", "/mlflow/static-files/x", "/api", "/v1/traces"])
def test_pages_that_a_browser_asked_for(start_proxy: StartProxy, target: str) -> None:
    """Pages outside of the API pass; /api is the API."""
    with Upstream(answer(HTML, length(PAGE), body=PAGE)) as upstream:
        got = request(start_proxy(upstream.url).url, target)
    assert (got.body == PAGE) is (target != "/api")


def own_error(got: Response, status: int = 502) -> str:
    """Check an answer of the proxy's own and return its message."""
    assert got.status == status
    assert got.headers["Content-Type"] == "application/json"
    content = json.loads(got.body)
    assert content["source"] == "proxy"
    assert content["error_code"] == ("TEMPORARILY_UNAVAILABLE" if status == 502 else "BAD_REQUEST")
    return str(content["message"])


@pytest.mark.parametrize("body", [None, b"x" * 3_000_000, "chunks"])
@pytest.mark.parametrize("target", [API, "/", "/api/2.0/mlflow-artifacts/artifacts/x"])
def test_refused(start_proxy: StartProxy, target: str, body: bytes | str | None) -> None:
    """With the upstream down every request gets JSON, never an empty reply."""
    proxy = start_proxy(f"http://127.0.0.1:{stack.free_port()}")
    sent = iter([b"x" * 3_000_000]) if isinstance(body, str) else body
    got = request(proxy.url, target, method="PUT" if body else "GET", body=sent)
    assert "it refused the connection" in own_error(got)


def test_own_errors_stand_in_the_log(start_proxy: StartProxy) -> None:
    """The request id that the client sees leads to one line of the log, without the query."""
    proxy = start_proxy(f"http://127.0.0.1:{stack.free_port()}", artifacts={"enabled": False})
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
    """A host name that does not exist."""
    proxy = start_proxy("http://registry.invalid")
    assert "its name is unknown" in own_error(request(proxy.url, API))


def test_tls_failure(start_proxy: StartProxy, tmp_path: Path) -> None:
    """An upstream that does not speak TLS although it should."""
    server = "server { listen 127.0.0.1:PORT; }"
    with stack.nginx(tmp_path / "nginx", server) as upstream:
        upstream.wait()
        proxy = start_proxy(upstream.url.replace("http", "https"))
        assert "the TLS handshake failed" in own_error(request(proxy.url, API))


def test_untrusted_certificate(start_proxy: StartProxy, tmp_path: Path, certificate: Path) -> None:
    """An upstream whose certificate nobody vouches for."""
    server = f"""
      server {{
        listen 127.0.0.1:PORT ssl;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
      }}
    """
    with stack.nginx(tmp_path / "nginx", server) as upstream:
        upstream.wait_for_port()
        proxy = start_proxy(upstream.url.replace("http", "https"))
        assert "its TLS certificate was not accepted" in own_error(request(proxy.url, API))


def reset(_: Received, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(_: Received, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def cut_head(_: Received, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret")


def garbage(_: Received, connection: socket.socket) -> None:
    connection.sendall(b"secret garbage\r\n\r\n")


def cut_page(_: Received, connection: socket.socket) -> None:
    connection.sendall(answer(HTML, b"Content-Length: 1000", body=PAGE))


@pytest.mark.parametrize("fault", [reset, close, cut_head, garbage, cut_page])
@pytest.mark.parametrize("body", [None, b"{}", b"x" * 3_000_000])
def test_broken_answers(start_proxy: StartProxy, fault: object, body: bytes | None) -> None:
    """An upstream that breaks off before its answer is whole gives 502 without its bytes."""
    with Upstream(fault) as upstream:  # type: ignore[arg-type]
        proxy = start_proxy(upstream.url)
        got = request(proxy.url, API, method="POST" if body else "GET", body=body)
    own_error(got)
    assert b"secret" not in got.body
    assert "secret" not in proxy.text()


def test_a_cut_download_does_not_look_complete(start_proxy: StartProxy) -> None:
    """A streamed body that breaks off breaks the client's transfer, too."""
    import http.client

    def cut(_: Received, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000
        )

    with Upstream(cut) as upstream:
        proxy = start_proxy(upstream.url)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            request(proxy.url, "/api/2.0/mlflow-artifacts/artifacts/x")


@pytest.mark.parametrize(
    "head",
    [
        b"garbage",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
    ],
)
def test_malformed_requests(start_proxy: StartProxy, head: bytes) -> None:
    """mitmproxy's own 400 is JSON as well, and the connection is closed."""
    proxy = start_proxy("http://127.0.0.1:9")
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head + b"\r\n\r\n")
        data = b""
        while block := connection.recv(65536):
            data += block
    raw_head, _, body = data.partition(b"\r\n\r\n")
    assert raw_head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in raw_head.lower()
    assert json.loads(body)["error_code"] == "BAD_REQUEST"
    assert json.loads(body)["source"] == "proxy"


def test_real_not_found(external_proxy: stack.Server) -> None:
    """nginx's and Flask's own pages of a real registry become JSON."""
    for target in ("/api/nope", "/api/2.0/mlflow/nope", "/mlflow/ajax-api/2.0/mlflow/nope"):
        got = request(external_proxy.url, target)
        assert got.status == 404
        assert json.loads(got.body)["message"].endswith(f": {target}")
    got = request(external_proxy.url, "/api/2.0/mlflow/runs/get", method="DELETE")
    assert got.status == 405
    assert json.loads(got.body)["error_code"] == "ENDPOINT_NOT_FOUND"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_first_requests_of_a_starting_proxy(tmp_path: Path, scheme: str) -> None:
    """From the moment it listens it answers in JSON, and no request can end its start."""
    rules = stack.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"])
    # mitmproxy makes its certificates in the home folder.
    env = {"HOME": str(tmp_path)}
    upstream = f"{scheme}://127.0.0.1:{stack.free_port()}"
    with stack.proxy(upstream, rules, log=tmp_path / "log", env=env) as proxy:
        address = ("127.0.0.1", int(proxy.url.rpartition(":")[2]))
        answers: list[bytes] = []
        while len(answers) < 50:
            assert proxy.process.poll() is None, proxy.text()
            try:
                connection = socket.create_connection(address, timeout=10)
            except ConnectionRefusedError:
                continue
            with connection:
                connection.sendall(
                    b"GET /api/2.0/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
                answers.append(connection.recv(65536))
        assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 502 Bad Gateway"}
        assert "Traceback" not in proxy.text()
