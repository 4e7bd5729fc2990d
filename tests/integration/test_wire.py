"""The bytes on the wire, in and out, for every combination of protocols."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support.client import http2, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Received, Upstream

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/"
BIG = b"0123456789abcdef" * 200_000
MD5 = hashlib.md5(BIG).hexdigest()


@pytest.mark.parametrize(
    "rest",
    [
        "mlflow/runs/get?run_id=1&run_id=2&empty=&bare&=x",
        "mlflow/x/a%2Fb%20c+d;e=f/%C3%A4/",
        "mlflow/x?",
        "mlflow-artifacts/artifacts/a//b/./c%23%3f",
        "mlflow/\udcff\udcfe",
    ],
)
def test_targets_keep_their_bytes(
    scripted: Upstream, scripted_proxy: lab.Server, rest: str
) -> None:
    """A target changes only in its prefix, whether the body is streamed or not."""
    scripted.answer = OK
    scripted.requests.clear()
    for body in (None, b"small", iter([b"in ", b"chunks"])):
        request(scripted_proxy.url, f"/mlflow/api/2.0/{rest}", method="PUT", body=body)
        assert scripted.requests[-1].target == f"/ajax-api/2.0/{rest}"
    assert [r.body for r in scripted.requests] == [b"", b"small", b"in chunks"]


def test_headers_reach_the_upstream(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """Credentials, cookies and other headers arrive as they were sent, in the same order."""
    headers = [
        ("Authorization", "Bearer a.b.c"),
        ("X-API-Key", "key"),
        ("Cookie", "a=1; b=2"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("Accept-Encoding", "br;q=0.5"),
        ("Content-Type", "application/json"),
    ]
    scripted.answer = OK
    scripted.requests.clear()
    request(scripted_proxy.url, "/api/2.0/mlflow/x", headers=headers)
    (received,) = scripted.requests
    for name, _ in headers:
        assert received.header(name) == [v for n, v in headers if n == name]
    assert received.header("host") == [scripted.url.removeprefix("http://")]


@pytest.mark.parametrize("mode", ["length", "chunks"])
def test_uploads_are_rewritten_before_they_stream(
    scripted: Upstream, scripted_proxy: lab.Server, mode: str
) -> None:
    """A large upload arrives whole under the new path."""
    scripted.answer = OK
    scripted.requests.clear()
    body = BIG if mode == "length" else iter([BIG[:1000], BIG[1000:]])
    answer = request(scripted_proxy.url, ARTIFACT + "x", method="PUT", body=body)
    (received,) = scripted.requests
    assert answer.status == 200
    assert received.target == "/ajax-" + ARTIFACT[1:] + "x"
    assert hashlib.md5(received.body).hexdigest() == MD5


def test_events_are_not_held(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """A server-sent event reaches the client before the stream ends."""
    received_by_client = threading.Event()

    def answer(_: Received, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        assert received_by_client.wait(30)
        connection.sendall(b"data: 2\n\n")

    scripted.answer = answer
    connection = http.client.HTTPConnection(scripted_proxy.url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/ajax-api/3.0/mlflow/assistant/sessions/1/stream")
    response = connection.getresponse()
    assert response.readline() == b"data: 1\n"
    received_by_client.set()
    assert response.read() == b"\ndata: 2\n\n"
    connection.close()


def test_keep_alive_after_errors_and_refusals(start_proxy: StartProxy) -> None:
    """One connection serves a refused upload, a converted error and a good answer in turn."""
    page = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    with Upstream(page) as upstream:
        proxy = start_proxy(upstream.url, artifacts={"enabled": False})
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
        sockets = set()
        for method, target, body, status in (
            ("PUT", ARTIFACT + "x", BIG, 503),
            ("GET", "/api/2.0/mlflow/x", None, 404),
            ("HEAD", "/api/2.0/mlflow/x", None, 404),
            # The proxy's answer to HEAD has no body either: it would look like the next answer.
            ("HEAD", ARTIFACT + "x", None, 503),
            ("HEAD", "/livez", None, 200),
            ("GET", "/livez", None, 200),
            ("PUT", ARTIFACT + "y", iter([BIG]), 503),
            ("GET", "/livez", None, 200),
        ):
            connection.request(method, target, body)
            sockets.add(id(connection.sock))
            response = connection.getresponse()
            assert response.status == status
            assert response.headers["Content-Type"] == "application/json"
            response.read()
        assert len(sockets) == 1
        assert len(upstream.requests) == 2


STORE = """
  server {
    listen 127.0.0.1:PORT ssl LISTEN;
    ssl_certificate CERT; ssl_certificate_key CERT;
    location = /ajax-api/2.0/mlflow/echo {
      default_type application/json;
      return 200 '{"target": "$request_uri", "auth": "$http_authorization"}';
    }
    location /ajax-api/2.0/mlflow-artifacts/ {
      root FOLDER; dav_methods PUT; create_full_put_path on;
    }
  }
"""


@pytest.fixture(scope="module", params=["", "http2"])
def tls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> Iterator[tuple[lab.Server, Path]]:
    """A proxy in front of nginx with TLS, with or without HTTP/2, and their folder."""
    folder = tmp_path_factory.mktemp("tls")
    servers = STORE.replace("CERT", str(certificate)).replace("FOLDER", str(folder / "files"))
    with lab.nginx(folder / "nginx", servers.replace("LISTEN", request.param)) as upstream:
        url = upstream.wait_for_port().url.replace("http://", "https://")
        settings = (f"confdir={folder}", f"ssl_verify_upstream_trusted_ca={certificate}")
        options = ("--set", settings[0], "--set", settings[1])
        with running_proxy(folder, url, options=options) as proxy:
            yield proxy, folder


@pytest.mark.parametrize("client", ["http1", "http2"])
def test_tls_on_both_sides(tls: tuple[lab.Server, Path], client: str) -> None:
    """HTTP/1.1 and HTTP/2 clients can use a TLS upstream with or without HTTP/2."""
    proxy, folder = tls
    url = proxy.url.replace("http://127.0.0.1", "https://localhost")
    ca = folder / "mitmproxy-ca-cert.pem"
    echo, artifact = "/mlflow/api/2.0/mlflow/echo?a=%2F&a", f"{ARTIFACT}{client}/file.bin"
    headers = {"Authorization": "Bearer t"}
    if client == "http1":
        answer = request(url, echo, headers=headers, ca=ca)
        body = answer.body
        put = [request(url, artifact, method="PUT", body=BIG, ca=ca).status]
        put.append(request(url, artifact + "2", method="PUT", body=iter([BIG]), ca=ca).status)
        got = request(url, artifact, ca=ca).body
        missing = request(url, "/api/2.0/mlflow/nope", ca=ca)
        error = (missing.status, missing.body)
    else:
        with http2(ca) as session:
            response = session.get(url + echo, headers=headers)
            assert response.http_version == "HTTP/2"
            body = response.content
            put = [session.put(url + artifact, content=BIG).status_code]
            # Without Content-Length, the proxy has to frame the body for HTTP/1 upstream.
            put.append(session.put(url + artifact + "2", content=iter([BIG])).status_code)
            put.append(session.put(url + artifact + "3", content=iter([b"small"])).status_code)
            got = session.get(url + artifact).content
            missing2 = session.get(url + "/api/2.0/mlflow/nope")
            error = (missing2.status_code, missing2.content)
    assert b'"target": "/ajax-api/2.0/mlflow/echo?a=%2F&a"' in body
    assert b'"auth": "Bearer t"' in body
    assert set(put) == {201}
    assert got == BIG
    stored = folder / "files" / "ajax-api/2.0/mlflow-artifacts/artifacts" / client
    assert (stored / "file.bin").read_bytes() == BIG
    assert (stored / "file.bin2").read_bytes() == BIG
    if client == "http2":
        assert (stored / "file.bin3").read_bytes() == b"small"
    assert error[0] == 404
    assert b"RESOURCE_NOT_FOUND" in error[1]


def test_http2_api_body_without_a_length(start_proxy: StartProxy, tmp_path: Path) -> None:
    """A held HTTP/2 body of unknown length is framed for an HTTP/1 upstream."""
    with Upstream() as upstream:
        proxy = start_proxy(upstream.url, options=("--set", f"confdir={tmp_path}"))
        url = proxy.url.replace("http://127.0.0.1", "https://localhost")
        with http2(tmp_path / "mitmproxy-ca-cert.pem") as session:
            for _ in range(2):
                answer = session.post(url + "/api/2.0/mlflow/runs/create", content=iter([b"{}"]))
                assert answer.status_code == 200
    assert [r.body for r in upstream.requests] == [b"{}", b"{}"]


def test_an_upstream_at_an_ipv6_address(start_proxy: StartProxy) -> None:
    """The Host for an upstream at an IPv6 address has brackets, as in a URL."""
    with Upstream(host="::1") as upstream:
        proxy = start_proxy(upstream.url, external=("[::1]",))
        assert request(proxy.url, "/api/2.0/mlflow/x").status == 200
        (received,) = upstream.requests
    assert received.header("host") == [f"[::1]:{upstream.port}"]
    assert received.target == "/ajax-api/2.0/mlflow/x"


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://proxy/", "proxy:80", 200),
        ("http://proxy:80/", "Proxy", 200),
        ("http://proxy/", "proxy:", 200),
        ("http://[::1]/", "[::1]:80", 200),
        ("http://proxy:8080/", "proxy:8080", 200),
        ("http://proxy/", "proxy:443", 400),
        ("https://proxy/", "proxy:80", 400),
        ("http://proxy/", "proxy:8080", 400),
        ("http://proxy:80/", "proxy2", 400),
        ("http://[::1]/", "[::]:1", 400),
    ],
)
def test_default_ports(
    scripted: Upstream, scripted_proxy: lab.Server, target: str, host: str, status: int
) -> None:
    """Target and Host may differ only by the default port of the scheme."""
    scripted.answer = OK
    got = request(scripted_proxy.url, target, headers={"Host": host}, skip_host=True)
    assert got.status == status


def test_the_server_as_a_whole(scripted: Upstream, start_proxy: StartProxy) -> None:
    """OPTIONS * is passed on unchanged to a registry with a base path."""
    scripted.answer = OK
    scripted.requests.clear()
    proxy = start_proxy(scripted.url, upstream={"base_path": "/mlops/mlflow"})
    assert request(proxy.url, "*", method="OPTIONS").status == 200
    assert [received.target for received in scripted.requests] == ["*"]
