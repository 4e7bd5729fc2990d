"""The access log of a running proxy: one line per request, however the request ends."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.events
import lab
import pytest
from support.client import RawHttp2, connect, read_all, read_until, request
from support.upstream import OK, Answer, Received, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/get"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
BIG = 3_000_000
PAGE = b"<html><body><h1>Not Found</h1></body></html>"
NATIVE = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No run"}'


@dataclass
class Scene:
    """A proxy, its upstream and what the clients received."""

    proxy: lab.Server
    upstream: Upstream
    seen: dict[str, Any] = field(default_factory=dict)
    """Request ids and body lengths that clients received, by the name of the request."""

    def ask(self, name: str, target: str = API, answer: Answer = OK, **how: Any) -> None:
        """Send a request with its name as the request id."""
        self.upstream.answer = answer
        got = request(self.proxy.url, target, headers={"X-Request-Id": name}, **how)
        self.seen[name] = len(got.body)

    def begin(self, name: str, head: str, answer: Answer = OK) -> socket.socket:
        """Send a request on a new connection, with its name as the request id."""
        self.upstream.answer = answer
        connection = connect(self.proxy.url)
        head = head.replace("\n", f"\nHost: x\r\nX-Request-Id: {name}\r\n", 1)
        connection.sendall(head.encode("latin-1"))
        return connection


def reset(_: Received, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def broken(data: bytes) -> Answer:
    return lambda _, connection: connection.sendall(data)


def plain(scene: Scene) -> None:
    """Send requests that get a normal answer."""
    scene.ask("passes", f"/mlflow{API};s=secret?token=secret")
    scene.ask("posted", method="POST", body=b'{"a": 1}')
    scene.ask("head", method="HEAD", answer=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    scene.ask("upload", FILE, method="PUT", body=b"x" * BIG)
    scene.ask("chunks", FILE, method="PUT", body=iter([b"x" * BIG, b"y"]))
    scene.ask("download", FILE, response("200 OK", b"x" * BIG))
    scene.ask("in-chunks", FILE, response("200 OK", b"x" * BIG, framing="chunked"))
    scene.ask("livez", "/livez")
    scene.ask("method", method="PURGE")


def errors(scene: Scene) -> None:
    """Send requests that get an error from the upstream or from the proxy."""
    html = ("Content-Type", "text/html")
    scene.ask("page", answer=response("404 Not Found", PAGE, html))
    scene.ask("native", answer=response("404 Not Found", NATIVE))
    scene.ask("login", answer=response("200 OK", b"<title>Sign in</title>", html))
    scene.ask("reset", answer=reset)
    scene.ask("cut-page", answer=broken(b"HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\n<"))
    scene.ask("upload-that-is-refused", FILE, method="DELETE", body=b"x" * 99)
    got = request(scene.proxy.url, FILE, method="DELETE", headers={"X-Request-Id": "not fit"})
    scene.seen["own id"] = got.headers["X-Request-Id"]


def hostile(scene: Scene) -> None:
    """Send malformed and hostile requests."""
    for name, line in {
        "broken-UTF-8": "GET /api/2.0/mlflow/\xff\"'{}/\xc3\xa9?x HTTP/1.1\r\n\r\n",
        "control": 'GET /a%0a%00"/%1b[1m HTTP/1.1\r\n\r\n',
        "connect": "CONNECT x.example:443 HTTP/1.1\r\n\r\n",
        "two-hosts": "GET /x HTTP/1.1\r\nHost: y\r\n\r\n",
    }.items():
        with scene.begin(name, line) as connection:
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    with connect(scene.proxy.url) as connection:
        connection.sendall(b"secret\r\n\r\n")
        got = read_all(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    scene.seen["no request"] = json.loads(body)["request_id"]
    assert head.startswith(b"HTTP/1.1 400 ")


def broken_off(scene: Scene) -> None:
    """Send transfers that the client or the upstream aborts."""
    length = f"Content-Length: {BIG}\r\n\r\n"
    with scene.begin("held-upload", f"PUT {API} HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"):
        pass
    begun = scene.upstream.begun
    with scene.begin("streamed-upload", f"PUT {FILE} HTTP/1.1\r\n{length}abc"):
        eventually(lambda: scene.upstream.begun > begun)

    def endless(_: Received, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 100_000)

    with scene.begin("client-gone", f"GET {FILE} HTTP/1.1\r\n\r\n", endless) as connection:
        connection.recv(65536)
    head = f"HTTP/1.1 200 OK\r\n{length}abc".encode()
    with scene.begin("upstream-gone", f"GET {FILE} HTTP/1.1\r\n\r\n", broken(head)) as connection:
        read_all(connection)


def kept_alive(scene: Scene) -> None:
    """Send requests on one connection; the upstream resets its connection after the first."""
    head = f"GET {API} HTTP/1.1\r\n"
    with scene.begin("first", f"{head}\r\n") as connection:
        read_until(connection, b"\r\n\r\n{}")

        def stale(_: Received, broken: socket.socket) -> None:
            scene.upstream.answer = OK
            reset(_, broken)

        scene.upstream.answer = stale
        connection.sendall(f"{head}Host: x\r\nX-Request-Id: retried\r\n\r\n".encode())
        read_until(connection, b"\r\n\r\n{}")
        refused = f"DELETE {FILE} HTTP/1.1\r\nHost: x\r\nX-Request-Id: refused\r\n\r\n"
        connection.sendall(refused.encode())
        read_until(connection, b'"}')


def over_http2(scene: Scene) -> None:
    """Send several streams on one HTTP/2 connection."""
    pseudo = [(":scheme", "https"), (":authority", "localhost"), (":path", FILE)]
    scene.upstream.answer = response("200 OK", b"x" * 50_000)
    with RawHttp2(scene.proxy.url, None) as client:
        client.h2.send_headers(1, [(":method", "PUT"), *pseudo, ("x-request-id", "http2")])
        for _ in range(3):
            client.h2.send_data(1, b"x" * 10_000)
        client.h2.send_data(1, b"", end_stream=True)
        client.flush()
        ended = (event for event in client.events() if isinstance(event, h2.events.StreamEnded))
        assert next(ended).stream_id == 1

        def held(_: Received, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\n<")
            arrived.set()
            connection.recv(1)

        scene.upstream.answer, arrived = held, threading.Event()
        pseudo[-1] = (":path", API)
        headers = [(":method", "GET"), *pseudo, ("x-request-id", "held-answer")]
        client.h2.send_headers(3, headers, end_stream=True)
        client.flush()
        assert arrived.wait(10)
        time.sleep(0.1)  # Time for the proxy to read it.
        client.h2.reset_stream(3)
        pseudo[-1] = (":path", "/a b")
        headers = [(":method", "GET"), *pseudo, ("x-request-id", "http2-path")]
        client.h2.send_headers(5, headers, end_stream=True)
        client.flush()
        with contextlib.suppress(StopIteration):
            next(ended)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Send all requests to a proxy, stop it and collect its access log."""
    folder = tmp_path_factory.mktemp("access_log")
    log = folder / "access.log"
    rules = lab.write_rules(
        folder / "rules.yaml", external=["127.0.0.1"], artifacts={"delete": False}
    )
    option = ("--set", f"mlflow_access_log={log}")
    with (
        Upstream() as upstream,
        lab.proxy(upstream.url, rules, log=folder / "log", options=option) as proxy,
    ):
        scene = Scene(proxy.wait_for_port(), upstream)
        for send in (plain, errors, hostile, broken_off, kept_alive, over_http2):
            send(scene)
        # One more than in the table: the client that goes away.
        eventually(lambda: len(log.read_bytes().splitlines()) >= len(EXPECTED) + 1)
        log.rename(folder / "access.log.1")
        scene.ask("rotated")
        proxy.stop()
        text = proxy.text()
        assert "Traceback" not in text, text
        scene.seen["rotated lines"] = log.read_text(encoding="ascii")
        scene.seen["lines"] = (folder / "access.log.1").read_text(encoding="ascii")
    return scene


@pytest.fixture(scope="module")
def lines(scene: Scene) -> dict[str, dict[str, Any]]:
    """The log lines by request id."""
    return {line["request_id"]: line for line in map(json.loads, scene.seen["lines"].splitlines())}


FIELDS = [
    *("time", "request_id", "client", "method", "path", "sent_path", "rule", "upstream_status"),
    *(
        "status",
        "error_source",
        "converted",
        "probe",
        "bytes_in",
        "bytes_out",
        "ttfb_ms",
        "duration_ms",
    ),
]
SENT_API, SENT_FILE = f"/ajax-{API[1:]}", f"/ajax-{FILE[1:]}"

PASSED = {"method": "GET", "path": API, "sent_path": SENT_API, "rule": "rest-to-ajax"} | {
    "upstream_status": 200,
    "status": 200,
    "error_source": None,
    "converted": False,
    "probe": False,
    "bytes_in": 0,
    "bytes_out": 2,
}
STREAMED = PASSED | {"path": FILE, "sent_path": SENT_FILE}
PUT = STREAMED | {"method": "PUT"}
UNSENT = {"sent_path": None, "upstream_status": None}
OURS = {"upstream_status": None, "error_source": "proxy", "bytes_out": None}
REFUSED = PASSED | OURS | UNSENT
DELETE = REFUSED | {"method": "DELETE", "path": FILE, "status": 503}
GONE = UNSENT | {"status": None, "error_source": "client", "bytes_in": 3, "bytes_out": 0}

# None in bytes_out means the number of bytes that the client received, if that is known.
EXPECTED: dict[str, dict[str, Any]] = {
    "passes": PASSED | {"path": f"/mlflow{API}"},
    "posted": PASSED | {"method": "POST", "bytes_in": 8},
    "head": PASSED | {"method": "HEAD", "bytes_out": 0},
    "upload": PUT | {"bytes_in": BIG},
    "chunks": PUT | {"bytes_in": BIG + 1},
    "download": STREAMED | {"bytes_out": BIG},
    "in-chunks": STREAMED | {"bytes_out": BIG},
    "livez": PASSED | UNSENT | {"path": "/livez", "rule": None, "bytes_out": None},
    "method": PASSED | {"method": "(other method)"},
    "page": PASSED
    | {"upstream_status": 404, "status": 404, "error_source": "upstream"}
    | {"converted": True, "bytes_out": None},
    "native": PASSED
    | {"upstream_status": 404, "status": 404, "error_source": "upstream", "bytes_out": len(NATIVE)},
    "login": PASSED
    | {"status": 401, "error_source": "upstream", "converted": True, "bytes_out": None},
    "reset": PASSED | OURS | {"status": 502},
    "cut-page": PASSED | OURS | {"upstream_status": 404, "status": 502},
    "upload-that-is-refused": DELETE,
    "own id": DELETE,
    "broken-UTF-8": PASSED
    | {
        "path": "/api/2.0/mlflow/\\xff\"'{}/\xe9",
        "sent_path": "/ajax-api/2.0/mlflow/\\xff\"'{}/\xe9",
    },
    "control": REFUSED | {"path": '/a%0a%00"/%1b[1m', "rule": None, "status": 400},
    "connect": REFUSED | {"method": "CONNECT", "path": "", "rule": None, "status": 400},
    "two-hosts": REFUSED | {"path": "/x", "rule": None, "status": 400},
    "no request": REFUSED | {"method": None, "path": None, "rule": None, "status": 400},
    "held-upload": PASSED | GONE | {"method": "PUT"},
    "streamed-upload": PUT | GONE | {"sent_path": SENT_FILE},
    # The proxy still holds the head of the answer, so the client has received nothing.
    "held-answer": PASSED
    | {"upstream_status": 404, "status": None, "error_source": "client", "bytes_out": 0},
    "upstream-gone": STREAMED | {"error_source": "upstream", "bytes_out": 3},
    "first": PASSED,
    "retried": PASSED,
    "refused": DELETE,
    "http2": PUT | {"bytes_in": 30_000, "bytes_out": 50_000},
    "http2-path": REFUSED | {"path": "/a", "rule": None, "status": 400},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_lines(scene: Scene, lines: dict[str, dict[str, Any]], name: str) -> None:
    """The line of each request has the expected fields: path, rule, statuses, error, bytes."""
    line = lines[scene.seen[name] if name in ("own id", "no request") else name]
    expected = EXPECTED[name]
    if expected["bytes_out"] is None:
        got = scene.seen.get(name)
        expected = expected | {"bytes_out": got if isinstance(got, int) else line["bytes_out"]}
    assert list(line) == FIELDS
    assert {key: line[key] for key in expected} == expected
    assert line["client"] == "127.0.0.1"
    if line["status"] is None:
        assert line["ttfb_ms"] is None
    else:
        assert 0 <= line["ttfb_ms"] <= line["duration_ms"]


def test_a_client_that_goes_away(lines: dict[str, dict[str, Any]]) -> None:
    """The line of an aborted download has the number of bytes that were sent."""
    line = lines["client-gone"]
    assert (line["status"], line["error_source"]) == (200, "client")
    assert 0 < line["bytes_out"] < 100_000_000


def test_one_line_per_request(scene: Scene, lines: dict[str, dict[str, Any]]) -> None:
    """Each request has exactly one line, in ASCII and without secrets."""
    text = scene.seen["lines"]
    assert text.isascii()
    assert len(text.splitlines()) == len(lines)
    assert Counter(line["path"] for line in lines.values())["/livez"] == 1
    assert "secret" not in text
    starts = [line["time"] for line in lines.values()]
    assert all(time.strptime(start[:-5], "%Y-%m-%dT%H:%M:%S") for start in starts)


def test_rotation_and_shutdown(scene: Scene) -> None:
    """After a rename, lines go to a new file; no line is lost when the proxy stops."""
    (line,) = map(json.loads, scene.seen["rotated lines"].splitlines())
    assert (line["request_id"], line["status"]) == ("rotated", 200)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A log file that cannot be opened stops the proxy at start, with one message."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[])
    missing = tmp_path / "missing" / "access.log"
    with lab.proxy(
        "http://127.0.0.1:9",
        rules,
        log=tmp_path / "log",
        options=["--set", f"mlflow_access_log={missing}"],
    ) as proxy:
        assert proxy.process.wait(20) == 1
        text = proxy.text()
    assert f"mlflow_access_log: {missing}: No such file or directory" in text
    assert "Traceback" not in text
