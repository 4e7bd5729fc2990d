"""Secrets appear in no log, no error body and no health document, wherever a peer puts them.

Each place where a client or an upstream can put a secret gets its own word (`$place`, see
`canaries`), and the tests provoke every outcome of a request. Add each new place where the proxy
publishes something to `PUBLISHED`.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h2.events
import lab
import pytest
from support import faults, websocket
from support.canaries import Canaries
from support.client import RawHttp2, connect, read_all, request, unnamed
from support.probe import probe
from support.upstream import OK as KEPT_ALIVE
from support.upstream import Answer, Received, Upstream, silent
from support.waiting import eventually

from addon.cli.run import QUIET


def access_log(proxy: lab.Server) -> Path:
    """Return the path of a proxy's access log."""
    return proxy.log.with_name("access.log")


def metrics(proxy: lab.Server) -> str:
    """Return a proxy's page of metrics, found by its option."""
    (option,) = (part for part in proxy.command if part.startswith("mlflow_metrics="))
    return str(request(f"http://127.0.0.1:{option.partition('=')[2]}", "/metrics").body)


PUBLISHED: dict[str, Callable[[lab.Server], str]] = {
    "log": lab.Server.text,
    "metrics": metrics,
    "access log": lambda proxy: access_log(proxy).read_text(encoding="ascii"),
    **{
        path: lambda proxy, path=path: str(request(proxy.url, path))  # type: ignore[misc]
        for path in ("/livez", "/readyz", "/health/mlflow", "/health/mlflow/detailed")
    },
}
"""All that the proxy publishes apart from answers to clients."""


@dataclass(frozen=True)
class Proxy:
    """A running proxy, the upstream behind it, and the words that were sent through both."""

    server: lab.Server
    upstream: Upstream
    words: Canaries
    lines: bool
    """Whether its log has mitmproxy's own lines of level info."""

    def send(self, template: str, *, cut: bool = False) -> bytes:
        """Send bytes, and read what comes back until the proxy closes."""
        with self.connect() as connection:
            connection.sendall(self.words.put(template))
            if cut:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def connect(self) -> socket.socket:
        """Connect to the proxy."""
        return connect(self.server.url, timeout=20)

    @contextlib.contextmanager
    def expecting(self, line: str) -> Iterator[None]:
        """Wait for a log line about what happens meanwhile, and check that it has no words.

        Args:
            line: a part of the line; ignored if the log has no such lines.
        """
        before = len(self.server.text())
        yield
        if self.lines:
            eventually(lambda: line in self.server.text()[before:])
        assert not self.words.found(self.server.text()[before:])


@pytest.fixture(scope="module", params=["run.sh", "info"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A proxy with strict rules; with run.sh's options, and with mitmproxy's own log lines."""
    assert QUIET == ("--set", "flow_detail=0", "--set", "termlog_verbosity=warn")
    lines = request.param == "info"
    folder = tmp_path_factory.mktemp(request.param)
    rules = lab.write_rules(
        folder / "rules.model.yaml",
        external=["127.0.0.1"],
        artifacts={"write": False},
        allowed_hosts=["127.0.0.1", "localhost"],
        limits={"api_body": 1000},
        upstream={"external_hosts": ["127.0.0.1"], "response_timeout": 2},
    )
    options = [*QUIET[: 2 if lines else 4]]
    words = Canaries()
    with (
        Upstream() as upstream,
        lab.proxy(
            upstream.url,
            rules,
            log=folder / "log",
            before=["-s", Path(faults.__file__)],
            options=[
                *(*options, "--set", f"confdir={folder}"),
                *("--set", f"mlflow_access_log={folder / 'access.log'}"),
                *("--set", f"mlflow_metrics={lab.free_port()}"),
            ],
            env={
                "MLFLOW_TRACKING_TOKEN": words.put("$environment").decode(),
                # The script comes first and imports the addon, which must be this one.
                "PYTHONPATH": str(lab.ROOT),
            },
        ) as server,
    ):
        running = Proxy(server.wait("/livez"), upstream, words, lines)
        yield running
        for place, read in PUBLISHED.items():
            assert not words.found(read(server)), place
        # Connections that a shutdown cuts are reported after the last hook.
        with running.connect() as handshake, running.connect() as upload:
            handshake.sendall(words.put(f"{HELLO}$shutdown_hello"))
            upload.sendall(words.put(f"{POST}Content-Length: 1000\r\n\r\n$shutdown_body"))
            server.stop()
        for place in (server.text(), PUBLISHED["access log"](server)):
            assert not words.found(place)


HEADERS = """\
Authorization: Bearer $bearer\r
Authorization: Basic $(user:$basic)\r
Proxy-Authorization: Basic $(user:$proxy_basic)\r
Cookie: session=$cookie\r
X-Api-Key: $api_key\r
X-$header_name: 1\r
X-Forwarded-For: $forwarded\r
X-Request-Id: $unfit_id with a space\r
Referer: https://user:$referer_user@x.example/?code=$referer\r
User-Agent: $agent\r
Accept: $accept\r
Connection: close\r
"""
QUERY = "?token=$query&X-Amz-Signature=$signature"
API = "/mlflow/api/2.0/mlflow/runs/get;jsessionid=$parameter" + QUERY
MATRIX = "/mlflow/api/2.0;session=$matrix/mlflow/runs/get" + QUERY
ENCODED = "/mlflow/api/2.0/mlflow/runs%3Btoken=$encoded_parameter/get%3Ftoken=$encoded_query"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin" + QUERY
HOST = "Host: 127.0.0.1\r\n"


def sized(body: str, *, chunked: bool = False) -> str:
    """Return a body with the header that describes its length."""
    length = len(Canaries().put(body))
    if chunked:
        return f"Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
    return f"Content-Length: {length}\r\n\r\n{body}"


ANSWER_HEADERS = "Set-Cookie: s=$set_cookie\r\nX-Token: $token\r\nConnection: close\r\n"
PAGE = "<title>Sign in</title><p>$page</p>"
OK = f"HTTP/1.1 200 OK\r\n{ANSWER_HEADERS}Content-Length: 2\r\n\r\n{{}}"


def answer(status: str, body: str, *headers: str) -> str:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{ANSWER_HEADERS}{lines}\r\n{body}"


@dataclass(frozen=True)
class Outcome:
    """A request with words wherever a client can put them, and its outcome."""

    status: int
    target: str = API
    method: str = "GET"
    headers: str = f"{HOST}X-HTTP-Method-Override: $override\r\n"
    body: str = "\r\n"
    answer: str | Answer = OK
    says: str = ""
    """Text that its answer contains."""


def reset(_: Received, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


LOGIN = "Location: https://u:$idp_user@idp.example/auth;s=$idp_parameter?code=$code#$idp_fragment"

OUTCOMES = {
    "passes": Outcome(200),
    "streams": Outcome(200, FILE, headers=HOST),
    "user info of slashes": Outcome(
        404, "//u:$slashes_user@x/a.txt", answer=answer("404 Not Found", "")
    ),
    "user info, encoded": Outcome(
        404, "/%2Fu:$encoded_user%40x" + API, answer=answer("404 Not Found", "")
    ),
    "is posted": Outcome(200, method="POST", body=sized('{"token": "$json"}')),
    "is queried": Outcome(200, "/graphql", "POST", body=sized('{"query": "{a(b: \\"$field\\")}"}')),
    "not found": Outcome(404, answer=answer("404 Not Found", ""), says="not found"),
    "not found, matrix": Outcome(404, MATRIX, answer=answer("404 Not Found", "")),
    "not found, encoded": Outcome(404, ENCODED, answer=answer("404 Not Found", "")),
    "fails": Outcome(500, answer=answer("500 Oops", "down")),
    "login page": Outcome(401, answer=answer("200 OK", PAGE), says="ask for a login"),
    "login page, encoded": Outcome(401, ENCODED, answer=answer("200 OK", PAGE)),
    "login redirect": Outcome(401, answer=answer("302 Found", "", LOGIN), says="idp.example/auth"),
    "switched off": Outcome(503, FILE, "PUT", body=sized("password=$form"), says="DISABLED"),
    "ambiguous": Outcome(400, f"{API}#$fragment", says="a fragment"),
    "ambiguous path": Outcome(400, "/api/2.0/mlflow/x#$path_fragment", says="a fragment"),
    "foreign origin": Outcome(
        403, method="POST", headers=f"{HOST}Origin: https://$origin.example\r\n", says="web pages"
    ),
    "foreign host": Outcome(403, headers="Host: $host.example\r\n", says="that Host"),
    "foreign host with user": Outcome(400, headers="Host: u:$host_user@$host.example\r\n"),
    "absolute form": Outcome(400, "http://$authority.example" + API),
    "user info": Outcome(400, "http://u:$user_info@127.0.0.1" + API),
    "too large": Outcome(413, method="POST", body=sized("$large" * 100)),
    "too large, in chunks": Outcome(413, method="POST", body=sized("$chunks" * 100, chunked=True)),
    "head too large": Outcome(431, headers=HOST + "X-Long: " + "$long" * 4000 + "\r\n"),
    "unknown method": Outcome(502, method="$method", answer=reset),
    "reset": Outcome(502, answer=reset, says="closed the connection"),
    "silent": Outcome(504, answer=silent, says="did not answer in time"),
    "garbage": Outcome(502, answer="$upstream_garbage\r\n\r\n", says="not valid HTTP"),
    "bad status": Outcome(502, answer="HTTP/1.1 $upstream_status X\r\n\r\n", says="not valid HTTP"),
    "cut head": Outcome(502, answer="HTTP/1.1 200 OK\r\nSet-Cookie: $upstream_cut"),
    "no colon": Outcome(502, answer=answer("200 OK", "", "no colon $upstream_line")),
    "bad name": Outcome(502, answer=answer("200 OK", "", "$upstream_name x: 1")),
    "bad length": Outcome(502, answer=answer("200 OK", "", "Content-Length: $upstream_length")),
    "bad coding": Outcome(502, answer=answer("200 OK", "", "Transfer-Encoding: $upstream_coding")),
    "bad chunk": Outcome(
        502, answer=answer("404 No", "$upstream_chunk\r\n", "Transfer-Encoding: chunked")
    ),
    "cut page": Outcome(502, answer=answer("404 No", "$upstream_page", "Content-Length: 1000")),
    **{
        # A new path for each, as the results for known paths are cached.
        f"fault in {name}": Outcome(
            500,
            API.replace("/get", f"/{name}"),
            headers=f"{HOST}X-Fault: {name}\r\n",
            says="Internal",
        )
        for name in ("protocol.target.read", "routing.rewrite.rewrite")
    },
    "fault in an answer": Outcome(
        500,
        headers=f"{HOST}X-Fault: errors.upstream.convert\r\n",
        answer=answer("404 Not Found", PAGE),
        says="Internal",
    ),
}
PASSING = {"passes", "streams", "is posted", "is queried"}
"""Outcomes whose answer is the upstream's own document."""


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes(proxy: Proxy, name: str) -> None:
    """No outcome of a request puts secrets into the log or into the proxy's own answers."""
    outcome = OUTCOMES[name]
    told = outcome.answer
    if isinstance(told, str):
        sent = proxy.words.put(told)

        def tell(_: Received, connection: socket.socket) -> None:
            connection.sendall(sent)

        told = tell
    proxy.upstream.answer = told
    line = f"{outcome.method} {outcome.target} HTTP/1.1\r\n"
    with proxy.expecting("RuntimeError" if "X-Fault" in outcome.headers else ""):
        got = proxy.send(line + outcome.headers + HEADERS + outcome.body)
    head, _, body = got.decode("latin-1").partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {outcome.status} "), got
    assert outcome.says in body
    if name not in PASSING:
        assert not proxy.words.found(body)


POST = f"POST {API} HTTP/1.1\r\n{HOST}"
GET = f"GET {API} HTTP/1.1\r\n{HOST}"

HELLO = "\x16\x03\x01\x00\x20\x01\x00\x00\x1c"
"""The beginning of a record with a ClientHello of 28 bytes."""

REFUSED = "answered 400 to a malformed request"

# The bytes to send, and a log line that proves that the case was reached.
MALFORMED = {
    "request line": ("GARBAGE $line\r\n\r\n", REFUSED),
    "secret alone": ("$alone\r\n\r\n", REFUSED),
    "version": (f"GET {API} HTTP/$version\r\n\r\n", REFUSED),
    "no colon": (f"{GET}no colon $no_colon\r\n\r\n", REFUSED),
    "folded first": (f"GET {API} HTTP/1.1\r\n $first\r\n\r\n", REFUSED),
    "folded": (f"{GET}X: a\r\n $folded\r\n\r\n", REFUSED),
    "header name": (f"{GET}bad $name: x\r\n\r\n", REFUSED),
    "length": (f"{GET}Content-Length: $length\r\n\r\n", "answered 400"),
    "coding": (f"{GET}Transfer-Encoding: $coding\r\n\r\n", "answered 400"),
    "chunk": (f"{POST}Transfer-Encoding: chunked\r\n\r\n$chunk\r\n", ""),
    "end of chunk": (f"{POST}Transfer-Encoding: chunked\r\n\r\n1\r\nx$rest\r\n", ""),
    "connect": ("CONNECT $connect.example:443 HTTP/1.1\r\n\r\n", "answered 400 to CONNECT"),
    "connect with user": (
        "CONNECT u:$connect_user@x.example:443 HTTP/1.1\r\n\r\n",
        REFUSED,
    ),
    "unreadable authority": (
        "GET http://u:$false_user@x.example:y/ HTTP/1.1\r\n\r\n",
        REFUSED,
    ),
    "HTTP/2 without TLS": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n$preface", "answered 400"),
    "upgrade to HTTP/2": (
        f"GET {API} HTTP/1.0\r\n{HOST}Upgrade: h2c\r\nHTTP2-Settings: $settings\r\n\r\n",
        "client disconnect",
    ),
    "body longer than it says": (
        f"{POST}Content-Length: 2\r\n\r\n{{}}$overlong {FILE} HTTP/1.0\r\n\r\n",
        "answered 503 to (other method) /api/2.0/mlflow-artifacts",
    ),
    "ClientHello": (f"{HELLO}$hello".ljust(43), "Cannot parse ClientHello [...]"),
}
CUT = {
    "line": (f"GET {API}", "client disconnect"),
    "head": (f"{GET}Cookie: $cut_cookie", "client disconnect"),
    "body": (f"{POST}Content-Length: 1000\r\n\r\n$cut_body", "client disconnect"),
    "ClientHello": (f"{HELLO}$cut_hello", "disconnected during the handshake. [...]"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests(proxy: Proxy, name: str) -> None:
    """Neither the log nor the answer repeats a malformed request."""
    proxy.upstream.answer = KEPT_ALIVE
    sent, line = MALFORMED[name]
    with proxy.expecting(line):
        got = proxy.send(sent)
    assert not proxy.words.found(got.decode("latin-1"))


@pytest.mark.parametrize("name", CUT)
def test_cut_requests(proxy: Proxy, name: str) -> None:
    """The log does not repeat a request that the client has cut off."""
    sent, line = CUT[name]
    with proxy.expecting(line):
        assert proxy.send(sent, cut=True) == b""


def test_trailers(proxy: Proxy) -> None:
    """The log does not repeat trailers, which mitmproxy does not support and may fail on."""
    with proxy.expecting("client disconnect"), proxy.connect() as connection:
        body = "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: $trailer\r\n\r\n"
        connection.sendall(proxy.words.put(POST + body))


def test_unasked_data(proxy: Proxy) -> None:
    """The log does not show data that an upstream sends after its answer."""
    proxy.upstream.answer = KEPT_ALIVE + proxy.words.put("$behind")
    with proxy.connect() as connection, proxy.expecting("Unexpected data from server"):
        connection.sendall(proxy.words.put(GET + "\r\n"))
        answer = b""
        while not answer.endswith(KEPT_ALIVE[-6:]):
            answer += connection.recv(100)
        assert unnamed(answer) == KEPT_ALIVE


def test_websocket(proxy: Proxy) -> None:
    """The log does not show messages, pings and extensions of a WebSocket."""
    accept = websocket.accept(base64.b64encode(b"0123456789abcdef").decode())
    proxy.upstream.answer = proxy.words.put(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: $extension\r\n\r\n"
    )
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: $(0123456789abcdef)\r\n"
    )
    with proxy.connect() as connection:
        with proxy.expecting("Ignoring unknown WebSocket extension [...]"):
            connection.sendall(proxy.words.put(f"{GET}{upgrade}Sec-WebSocket-Version: 13\r\n\r\n"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
        with proxy.expecting("Received WebSocket ping from client [...]"):
            # Text and ping, with a mask of zeros that leaves them unchanged.
            connection.sendall(proxy.words.put("\x81\x92\0\0\0\0$text\x89\x92\0\0\0\0$ping"))


def test_server_name(proxy: Proxy) -> None:
    """The log does not show the server name of a failed TLS handshake, at any level."""
    name = proxy.words.put("$sni.example").decode()
    with (
        proxy.connect() as connection,
        proxy.expecting("does not trust the proxy's certificate [...]"),
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(connection, server_hostname=name)


ENDS = (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)
HTTP2 = {
    "upper case": ({"X-$upper": "1"}, "HTTP/2 protocol error"),
    "pseudo header": ({":$pseudo": "1"}, "HTTP/2 protocol error"),
    "name": ({"bad $bad_name": "1"}, ""),
    "value": ({"x": "a\n$bad_value"}, ""),
    "connection": ({"connection": "$connection"}, "HTTP/2 protocol error"),
    "path": ({":path": "/a b$bad_path"}, ""),
    "user of a path": ({":path": "http://u:$path_user@x" + API}, ""),
    "user of slashes": ({":path": "//u:$slashes@x" + API}, ""),
    "scheme": ({":scheme": "$scheme"}, "answered 400 to GET /mlflow/api"),
    "authority": ({":authority": "u:$other_user@x"}, "Invalid HTTP/2 request headers"),
    "length": ({"content-length": "$other_length"}, "HTTP/2 protocol error"),
}


@pytest.mark.parametrize("name", HTTP2)
def test_http2(proxy: Proxy, name: str) -> None:
    """The log does not repeat a malformed HTTP/2 request."""
    proxy.upstream.answer = KEPT_ALIVE
    wrong, line = HTTP2[name]
    pseudo = {":method": "GET", ":scheme": "https", ":path": API, ":authority": "localhost"}
    headers = pseudo | {"cookie": "$other_cookie"} | wrong
    sent = [(proxy.words.put(name), proxy.words.put(value)) for name, value in headers.items()]
    with RawHttp2(proxy.server.url, None) as client, proxy.expecting(line):
        client.h2.send_headers(1, sent, end_stream=True)
        client.flush()
        assert any(isinstance(event, ENDS) for event in client.events())


def test_http2_garbage(proxy: Proxy) -> None:
    """The log does not show malformed HTTP/2 frames or the content of unknown frames."""
    for frame, line in (
        ("\0\0\x12\xfa\0\0\0\0\0$frame", ""),
        ("\0\0\x12\x04\0\0\0\0\1$false_settings", "HTTP/2 protocol error"),
    ):
        with RawHttp2(proxy.server.url, None) as client, proxy.expecting(line):
            client.socket.sendall(proxy.words.put(frame))


CREDENTIALS = [
    {"MLFLOW_TRACKING_TOKEN": "$probe_token"},
    {"MLFLOW_TRACKING_USERNAME": "$probe_user", "MLFLOW_TRACKING_PASSWORD": "$probe_password"},
    # A token from a file may end in a line break, which no header may have.
    {"MLFLOW_TRACKING_TOKEN": "$probe_line\n"},
]
PROBED: dict[str, Answer] = {
    "good": KEPT_ALIVE,
    "refusing": b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "HTML": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "garbage": b"$probe_garbage\r\n\r\n",
    "silence": reset,
}


@pytest.mark.parametrize("name", PROBED)
@pytest.mark.parametrize("option", ["--json", "--write"])
@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_probe_script(credentials: dict[str, str], option: str, name: str) -> None:
    """The probe script prints neither its credentials nor what a server answers."""
    words = Canaries()
    env = {key: words.put(value).decode() for key, value in credentials.items()}
    told = PROBED[name]
    sent = words.put(told.decode()) if isinstance(told, bytes) else told
    with Upstream(sent) as upstream:
        run = probe(upstream.url, option, **env)
        sends = any(r.header("authorization") for r in upstream.requests)
    assert sends == ("probe_line" not in str(credentials))
    assert run.stdout or run.stderr
    assert "Traceback" not in run.stderr
    assert not words.found(run.stdout + run.stderr)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:$password@127.0.0.1:1/?token=$token#$fragment",
        "http://u:$password/x@127.0.0.1:1",
        "http://u:$password@[127.0.0.1:1",
        "u:$password@127.0.0.1:1",
    ],
)
def test_probe_script_with_a_secret_in_the_url(url: str) -> None:
    """The probe script does not print a URL with a password, even if the URL is malformed."""
    words = Canaries()
    run = probe(words.put(url).decode())
    assert run.returncode in (2, 3)
    assert "Traceback" not in run.stderr
    assert not words.found(run.stdout + run.stderr)
