"""Requests that two servers could read as a different number of requests.

Each hides a second request where some servers end the first one. The upstream records what reaches
it: either nothing, and the client gets JSON and a closed connection, or requests that can be read
in only one way.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import h2.events
import lab
import pytest
from support.client import RawHttp2, closing, raw, unnamed
from support.proxies import running_proxy
from support.upstream import OK, Received, Upstream, response

API = "/api/2.0/mlflow/runs/log-batch"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
END = b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
TE = b"Transfer-Encoding: chunked"
EMPTY = b"0\r\n\r\n"
FITS = b"Content-Length: %d" % len(HIDDEN)

# A head as in RFC 9112, without anything that can be read in two ways.
HEAD = re.compile(
    rb"[A-Za-z]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n([A-Za-z0-9_-]+: ?[\t -~\x80-\xff]*\r\n)+\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def put(
    *lines: bytes,
    body: bytes = b"",
    begin: bytes = b"PUT PATH HTTP/1.1",
    host: bytes = b"Host: x",
) -> bytes:
    head = [begin, *([host] if host else []), *lines]
    return b"\r\n".join([*head, b"", b""]) + body


def with_length(line: bytes, body: bytes = HIDDEN) -> bytes:
    return put(line, body=body)


def chunked(body: bytes) -> bytes:
    return put(TE, body=body)


def get(line: bytes, host: bytes = b"Host: x") -> bytes:
    return put(begin=line, host=host, body=HIDDEN)


REFUSED = {
    "both": put(b"Content-Length: %d" % (5 + len(HIDDEN)), TE, body=EMPTY + HIDDEN),
    "both, chunked first": put(TE, b"Content-Length: 4", body=chunk(HIDDEN) + EMPTY),
    "chunked twice": put(TE, TE, body=EMPTY + HIDDEN),
    "chunked, then identity": put(TE, b"Transfer-Encoding: identity", body=EMPTY + HIDDEN),
    "chunked, identity": put(TE + b", identity", body=EMPTY + HIDDEN),
    "chunked, chunked": put(TE + b", chunked", body=EMPTY + HIDDEN),
    "gzip, chunked": put(b"Transfer-Encoding: gzip, chunked", body=EMPTY + HIDDEN),
    "identity": put(b"Transfer-Encoding: identity", body=HIDDEN),
    "xchunked": put(b"Transfer-Encoding: xchunked", body=EMPTY + HIDDEN),
    "chunked with a parameter": put(TE + b";q=1", body=EMPTY + HIDDEN),
    "quoted": put(b'Transfer-Encoding: "chunked"', body=EMPTY + HIDDEN),
    "empty coding": put(b"Transfer-Encoding:", FITS, body=HIDDEN),
    "comma": put(b"Transfer-Encoding: ,chunked", body=EMPTY + HIDDEN),
    "vertical tab": put(b"Transfer-Encoding: \x0bchunked", body=EMPTY + HIDDEN),
    "folded coding": put(b"Transfer-Encoding:\r\n chunked", body=EMPTY + HIDDEN),
    "coding behind a bare CR": put(b"X: y\r" + TE, body=EMPTY + HIDDEN),
    "coding behind a bare LF": put(b"X: y\n" + TE, body=EMPTY + HIDDEN),
    "space before the colon": put(b"Transfer-Encoding : chunked", body=EMPTY + HIDDEN),
    "chunked in HTTP/1.0": put(TE, begin=b"PUT PATH HTTP/1.0", body=EMPTY + HIDDEN),
    "Connection: transfer-encoding": put(b"Connection: a, Transfer-Encoding", TE, body=EMPTY),
    "Connection: content-length": put(b"Connection: Content-Length", FITS, body=HIDDEN),
    "Connection: authorization": put(b"Connection: close, Authorization", FITS, body=HIDDEN),
    "Connection: x-forwarded-for": put(b"Connection: x", b"connection:\tX-Forwarded-For ,", FITS),
    "two lengths": put(b"Content-Length: 0", FITS, body=HIDDEN),
    "the same length twice": put(FITS, FITS, body=HIDDEN),
    "length 5, 5": with_length(b"Content-Length: 5, 5", b"12345"),
    "length +0": with_length(b"Content-Length: +0"),
    "length -1": with_length(b"Content-Length: -1"),
    "length 00": with_length(b"Content-Length: 00"),
    "length 0x0": with_length(b"Content-Length: 0x0"),
    "length 1_0": with_length(b"Content-Length: 1_0", b"0123456789"),
    "length 1 0": with_length(b"Content-Length: 1 0", b"0123456789"),
    "length, other digits": with_length("Content-Length: ٣".encode(), b"012"),
    "length, a digit for isdigit only": with_length("Content-Length: ²".encode()),
    "length with a form feed": with_length(b"Content-Length: \x0c0"),
    "length with NUL": with_length(b"Content-Length: 0\0"),
    "empty length": with_length(b"Content-Length:"),
    "folded length": with_length(b"Content-Length:\r\n 0"),
    "length with 5000 digits": with_length(b"Content-Length: " + b"9" * 5000),
    "space before the colon of a length": with_length(b"Content-Length : 0"),
    "tab before the colon of a length": with_length(b"Content-Length\t: 0"),
    "folded": put(b"X: a", b" Content-Length: 0", FITS, body=HIDDEN),
    "folded with a tab": put(b"X: a", b"\tb", FITS, body=HIDDEN),
    "folded, blank": put(b"X: a", b" ", b"Content-Length: 0", body=HIDDEN),
    "folded first": put(b"Content-Length: 0", host=b" Host: x", body=HIDDEN),
    "bare LF": put(b"X: a\nY: b", b"Content-Length: 0", body=HIDDEN),
    "bare LF everywhere": put(b"Content-Length: 0").replace(b"\r\n", b"\n") + HIDDEN,
    "bare LF at the end": put(b"Content-Length: 0")[:-2] + b"\n" + HIDDEN,
    "bare LF at the beginning": b"\n" + put(b"Content-Length: 0", body=HIDDEN),
    "bare CR": put(b"X: a\rb", b"Content-Length: 0", body=HIDDEN),
    "a request behind bare CRs": put(b"X: a\r\r" + HIDDEN[:-4].replace(b"\r\n", b"\r"), FITS),
    "CR CR LF": put(b"X: a\r", b"Content-Length: 0", body=HIDDEN),
    "NUL": put(b"X: a\0b", b"Content-Length: 0", body=HIDDEN),
    "a control character": put(b"X: a\x01b", b"Content-Length: 0", body=HIDDEN),
    "NUL in a name": put(b"X\0: a", b"Content-Length: 0", body=HIDDEN),
    "a control character in a name": put(b"\x01X: a", b"Content-Length: 0", body=HIDDEN),
    "CR in a name": put(b"X\rY: a", b"Content-Length: 0", body=HIDDEN),
    "no name": put(b": a", b"Content-Length: 0", body=HIDDEN),
    "no colon": put(b"secret", b"Content-Length: 0", body=HIDDEN),
    "two spaces": get(b"GET  PATH HTTP/1.1"),
    "tabs": get(b"GET\tPATH\tHTTP/1.1"),
    "CR for a space": get(b"GET\rPATH HTTP/1.1"),
    "space at the end": get(b"GET PATH HTTP/1.1 "),
    "space at the beginning": get(b" GET PATH HTTP/1.1"),
    "two targets": get(b"GET /smuggled HTTP/1.1 PATH HTTP/1.1"),
    "no version": get(b"GET PATH?secret"),
    "HTTP/1.9": get(b"GET PATH HTTP/1.9"),
    "HTTP/2.0": get(b"GET PATH HTTP/2.0"),
    "http/1.1": get(b"GET PATH http/1.1"),
    "prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": get(b"G(T PATH HTTP/1.1"),
    "NUL in a method": get(b"GET\0 PATH HTTP/1.1"),
    "NUL in a target": get(b"GET PATH\0 HTTP/1.1"),
    "a control character in a query": get(b"GET PATH?a\x01 HTTP/1.1"),
    "not a path": get(b"GET * HTTP/1.1"),
    "no Host": get(b"GET PATH HTTP/1.1", host=b""),
    "two Hosts": get(b"GET PATH HTTP/1.1", host=b"Host: x\r\nHost: y"),
    "two names in a Host": get(b"GET PATH HTTP/1.1", host=b"Host: x, y"),
    "a path in a Host": get(b"GET PATH HTTP/1.1", host=b"Host: x/y"),
    "another Host": get(b"GET http://y/PATH HTTP/1.1"),
    "another Host and none": get(b"GET http://y/PATH HTTP/1.1", host=b""),
    "a user": get(b"GET http://user:secret@x/PATH HTTP/1.1"),
    "another scheme": get(b"GET ftp://x:80/PATH HTTP/1.1"),
    "CONNECT": get(b"CONNECT x:80 HTTP/1.1"),
    "chunk size 0x10": chunked(b"0x10\r\n0123456789abcdef\r\n" + EMPTY + HIDDEN),
    "chunk size +5": chunked(b"+5\r\n01234\r\n" + EMPTY + HIDDEN),
    "chunk size -1": chunked(b"-1\r\n01234\r\n" + EMPTY + HIDDEN),
    "chunk size ' 5'": chunked(b" 5\r\n01234\r\n" + EMPTY + HIDDEN),
    "chunk size 1_0": chunked(b"1_0\r\n0123456789abcdef\r\n" + EMPTY + HIDDEN),
    "chunk size of 65 bits": chunked(b"10000000000000005\r\n01234\r\n" + EMPTY + HIDDEN),
    "chunk size of 84 bits": chunked(b"F" * 21 + b"\r\n01234\r\n" + EMPTY + HIDDEN),
    "no chunk size": chunked(b"\r\n01234\r\n" + EMPTY + HIDDEN),
    "a chunk line that ends with LF": chunked(b"5\n01234\r\n" + EMPTY + HIDDEN),
    "a chunk that ends with LF": chunked(b"5\r\n01234\n" + EMPTY + HIDDEN),
    "a chunk that ends with two letters": chunked(b"5\r\n01234xx" + EMPTY + HIDDEN),
    "a last chunk that ends with LF": chunked(b"5\r\n01234\r\n0\r\n\n" + HIDDEN),
    "a chunk that is too long": chunked(b"5\r\n0123456\r\n" + EMPTY + HIDDEN),
    "a chunk that is too short": chunked(b"5\r\n012\r\n" + EMPTY + HIDDEN),
    "bare LF in a chunk extension": chunked(b"2;a\nb\r\n{}\r\n" + EMPTY + HIDDEN),
    "bare CR in a chunk extension": chunked(b"2;a\rb\r\n{}\r\n" + EMPTY + HIDDEN),
    "NUL in a chunk extension": chunked(b"2;a\0b\r\n{}\r\n" + EMPTY + HIDDEN),
    "a malformed trailer": chunked(b"2\r\n{}\r\n0\r\nsecret\r\n\r\n" + HIDDEN),
    "a folded trailer": chunked(b"2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n" + HIDDEN),
    "bare LF in a trailer": chunked(b"2\r\n{}\r\n0\r\nX: a\n\n" + HIDDEN),
    "an endless chunk extension": chunked(b"2;" + b"a" * 20_000),
    "endless trailers": chunked(b"0\r\n" + b"X: a\r\n" * 3000),
}  # fmt: skip
"""Each of them gets 400."""

PASSED = {
    "a length": (put(FITS, body=HIDDEN), [HIDDEN]),
    "a length between tabs": (put(b"Content-Length:\t%d\t" % len(HIDDEN), body=HIDDEN), [HIDDEN]),
    "chunks": (chunked(chunk(HIDDEN) + EMPTY), [HIDDEN]),
    "one chunk for each byte": (chunked(b"".join(map(chunk, (b"a", b"b"))) + EMPTY), [b"ab"]),
    "CHUNKED": (put(b"TRANSFER-ENCODING:CHUNKED", body=chunk(HIDDEN) + EMPTY), [HIDDEN]),
    "chunk extensions": (chunked(b'5 ;a=b;c="d"\r\n01234\r\n0;e\r\n\r\n'), [b"01234"]),
    "leading zeros": (chunked(b"0005\r\n01234\r\n000\r\n\r\n"), [b"01234"]),
    "trailers": (chunked(b"2\r\n{}\r\n0\r\nX: a\r\nContent-Length: 9\r\n\r\n"), [b"{}"]),
    "trailers that are requests": (chunked(b"2\r\n{}\r\n0\r\nGET: /smuggled\r\n\r\n"), [b"{}"]),
    "empty lines first": (b"\r\n\r\n" + put(FITS, body=HIDDEN), [HIDDEN]),
    "a body of a GET": (put(FITS, begin=b"GET PATH HTTP/1.1", body=HIDDEN), [HIDDEN]),
    "the same Host": (put(FITS, begin=b"PUT http://X/PATH HTTP/1.1", body=HIDDEN), [HIDDEN]),
    "pipelined": (put(FITS, body=HIDDEN) + put(FITS, body=HIDDEN), [HIDDEN, HIDDEN]),
    "h2c": (put(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAAA",
                FITS, body=HIDDEN), [HIDDEN]),
    "a WebSocket of version 777": (put(b"Connection: Upgrade", b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 777", FITS, body=HIDDEN), [HIDDEN]),
}  # fmt: skip
"""Each of them is one or more requests with these bodies."""


def of(data: bytes, target: str) -> bytes:
    return data.replace(b"/PATH", target.encode()).replace(b"PATH", target.encode())


def refused(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer
    assert b"Connection: close" in head
    assert b"Content-Type: application/json" in head
    content = json.loads(body)  # And nothing follows it.
    assert (content["error_code"], content["source"]) == ("BAD_REQUEST", "proxy")


def unambiguous(received: Received) -> None:
    assert HEAD.fullmatch(received.head), received.head
    framing = received.header("content-length") + received.header("transfer-encoding")
    assert len(framing) == (1 if received.body else 0), received.head
    assert len(received.header("host")) == 1
    assert "://" not in received.target


@pytest.mark.parametrize("target", [API, FILE])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(scripted: Upstream, scripted_proxy: lab.Server, name: str, target: str) -> None:
    """An ambiguous request gets 400 in JSON, and the upstream gets no request."""
    scripted.answer = OK
    scripted.requests.clear()
    refused(raw(scripted_proxy.url, of(REFUSED[name], target) + HIDDEN + END))
    assert scripted.requests == []


@pytest.mark.parametrize("name", ["xchunked", "two lengths", "folded coding", "no colon"])
def test_refused_after_another(scripted: Upstream, scripted_proxy: lab.Server, name: str) -> None:
    """An ambiguous request is also refused on a connection that has served another one."""
    scripted.answer = OK
    scripted.requests.clear()
    both = put(FITS, body=HIDDEN) + REFUSED[name] + HIDDEN + END
    first, mark, second = raw(scripted_proxy.url, of(both, API)).partition(b"HTTP/1.1 400 ")
    assert first.startswith(b"HTTP/1.1 200 ")
    refused(mark + second)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("target", [API, FILE])
@pytest.mark.parametrize("name", PASSED)
def test_unambiguous_requests_pass(
    scripted: Upstream, scripted_proxy: lab.Server, name: str, target: str
) -> None:
    """An unambiguous request reaches the upstream with its body, and so does the next one."""
    scripted.answer = OK
    scripted.requests.clear()
    data, bodies = PASSED[name]
    answers = raw(scripted_proxy.url, of(data, target) + END)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == len(bodies) + 1, answers
    assert [(r.target, r.body) for r in scripted.requests] == [
        *(("/ajax-" + target[1:], body) for body in bodies),
        ("/end", b""),
    ]
    for received in scripted.requests:
        unambiguous(received)


@pytest.mark.parametrize("cut", range(1, 9))
def test_in_pieces(scripted: Upstream, scripted_proxy: lab.Server, cut: int) -> None:
    """The result does not depend on where one packet ends and the next begins."""
    scripted.answer = OK
    scripted.requests.clear()
    good = of(chunked(b"2;a\r\n{}\r\n0\r\nX: a\r\n\r\n"), API)
    answers = raw(scripted_proxy.url, good[:-cut], good[-cut:] + END)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert [received.body for received in scripted.requests] == [b"{}", b""]
    scripted.requests.clear()
    bad = of(chunked(b"2\r\n{}xx0\r\n\r\n"), API)
    refused(raw(scripted_proxy.url, bad[:-cut], bad[-cut:]))
    assert scripted.requests == []


@pytest.mark.parametrize("name", ["chunks", "chunk extensions", "trailers", "pipelined"])
def test_real_servers_agree(external_proxy: lab.Server, name: str) -> None:
    """nginx, with MLflow under uvicorn behind it, counts the same number of requests."""
    data, bodies = PASSED[name]
    end = END.replace(b"/end", b"/version")
    answers = raw(external_proxy.url, of(data, "/api/2.0/mlflow/runs/search") + end)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answers)
    assert len(statuses) == len(bodies) + 1
    assert statuses[-1] == b"200"


FOLLOWING = response("200 OK", b'"second"', ("Content-Type", "application/json"))
JSON = b"Content-Type: application/json"


def upstream_says(*lines: bytes, body: bytes = b"{}", begin: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([begin, JSON, *lines, b"", b""]) + body


LENGTH = b"Content-Length: 2"
EVIL = response("200 OK", b'"evil"')
BAD_HEADS = {
    "both": upstream_says(LENGTH, TE, body=chunk(b"{}") + EMPTY),
    "two lengths": upstream_says(LENGTH, b"Content-Length: 50", body=b"{}" + EVIL),
    "length 2, 2": upstream_says(b"Content-Length: 2, 2"),
    "length -1": upstream_says(b"Content-Length: -1"),
    "length +2": upstream_says(b"Content-Length: +2"),
    "length with 5000 digits": upstream_says(b"Content-Length: " + b"9" * 5000),
    "xchunked": upstream_says(b"Transfer-Encoding: xchunked", body=chunk(b"{}") + EMPTY),
    "gzip": upstream_says(b"Transfer-Encoding: gzip"),
    "identity": upstream_says(b"Transfer-Encoding: identity"),
    "gzip, chunked": upstream_says(b"Transfer-Encoding: gzip, chunked", body=chunk(b"{}") + EMPTY),
    "chunked in HTTP/1.0": upstream_says(TE, begin=b"HTTP/1.0 200 OK", body=chunk(b"{}") + EMPTY),
    "chunked in a 204": upstream_says(TE, begin=b"HTTP/1.1 204 No", body=chunk(b"{}") + EMPTY),
    "folded": upstream_says(b"X: a", b" b", LENGTH),
    "bare CR": upstream_says(b"X: a\rb", LENGTH),
    "NUL": upstream_says(b"X: a\0b", LENGTH),
    "bare CR in the reason": upstream_says(LENGTH, begin=b"HTTP/1.1 200 O\rK"),
    "space before the colon": upstream_says(b"X : a", LENGTH),
    "no colon": upstream_says(b"secret", LENGTH),
    "HTTP/1.9": upstream_says(LENGTH, begin=b"HTTP/1.9 200 OK"),
    "status -1": upstream_says(LENGTH, begin=b"HTTP/1.1 -1 OK"),
    "status 1000": upstream_says(LENGTH, begin=b"HTTP/1.1 1000 OK"),
    "101": upstream_says(b"Upgrade: x", begin=b"HTTP/1.1 101 No", body=upstream_says(LENGTH)),
}
GOOD_HEADS = {
    "bare LF": upstream_says(LENGTH).replace(b"\r\n", b"\n"),
    "trailers": upstream_says(TE, body=chunk(b"{}") + b"0\r\nX: a\r\n\r\n"),
    "a second answer": upstream_says(LENGTH) + EVIL,
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + upstream_says(LENGTH),
    "103 first": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + upstream_says(LENGTH),
}


def ask_twice(scripted: Upstream, proxy: lab.Server, target: str, first: bytes) -> bytes:
    """Return what a client gets for two requests on one connection, given the first answer."""

    def answer(received: Received, connection: socket.socket) -> bool:
        connection.sendall(FOLLOWING if received.target == "/end" else first)
        return True

    scripted.answer = answer
    request = of(get(b"GET PATH HTTP/1.1").removesuffix(HIDDEN), target) + END
    return unnamed(raw(proxy.url, request))


@pytest.mark.parametrize("target", [API, FILE])
@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_answers(
    scripted: Upstream, scripted_proxy: lab.Server, name: str, target: str
) -> None:
    """An ambiguous answer becomes 502, and the next answer is for the next request."""
    answers = ask_twice(scripted, scripted_proxy, target, BAD_HEADS[name])
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
    content = json.loads(rest[:length])
    assert (content["error_code"], content["source"]) == ("TEMPORARILY_UNAVAILABLE", "proxy")
    assert rest[length:] in (b"", closing(FOLLOWING))


@pytest.mark.parametrize("target", [API, FILE])
@pytest.mark.parametrize("name", GOOD_HEADS)
def test_odd_answers(
    scripted: Upstream, scripted_proxy: lab.Server, name: str, target: str
) -> None:
    """An unusual but unambiguous answer is passed on in its plain form."""
    answers = ask_twice(scripted, scripted_proxy, target, GOOD_HEADS[name])
    framing = b"Transfer-Encoding: chunked" if name == "trailers" else LENGTH
    body = chunk(b"{}") + EMPTY if name == "trailers" else b"{}"
    assert answers == b"\r\n".join([b"HTTP/1.1 200 OK", JSON, framing, b"", body]) + closing(
        FOLLOWING
    )


@pytest.mark.parametrize("target", [API, FILE])
@pytest.mark.parametrize(
    "body",
    [b"0x2\r\n{}\r\n", b"-2\r\n{}\r\n", b"2\r\n{}xx", b"2\n{}\r\n", b"2\r\n{}\r\n0\r\nX\r\n\r\n"],
)
def test_malformed_chunks_of_an_answer(
    scripted: Upstream, scripted_proxy: lab.Server, body: bytes, target: str
) -> None:
    """A malformed chunk cuts an answer that is already streaming, and nothing follows it."""
    first = upstream_says(TE, body=body + EMPTY)
    answers = ask_twice(scripted, scripted_proxy, target, first)
    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"0\r\n\r\n" not in answers
    assert b"second" not in answers


@pytest.fixture(scope="module")
def tls_proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[lab.Server, Path]]:
    """A proxy, and the certificate authority that its clients have to trust."""
    folder = tmp_path_factory.mktemp("tls-proxy")
    with running_proxy(folder, scripted.url, options=("--set", f"confdir={folder}")) as server:
        yield server, folder / "mitmproxy-ca-cert.pem"


def ask_http2(
    proxy: tuple[lab.Server, Path], headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes]:
    """Return status and body of an answer; status 0 if stream or connection end without one."""
    status, answer = 0, b""
    with RawHttp2(proxy[0].url, proxy[1]) as session:
        session.h2.send_headers(1, headers, end_stream=not body)
        if body:
            session.h2.send_data(1, body, end_stream=True)
        session.flush()
        for event in session.events():
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                answer += event.data
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                break
    return status, answer


def http2_request(*more: tuple[bytes, bytes], **pseudo: bytes) -> list[tuple[bytes, bytes]]:
    fields = {"method": b"PUT", "scheme": b"https", "path": API.encode(), "authority": b"x"}
    named = [(b":" + name.encode(), value) for name, value in (fields | pseudo).items()]
    return [*named, *more]


SPLIT = b"/a HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled"
DOWNGRADES = {
    "a length that is too short": http2_request((b"content-length", b"1")),
    "a length that is too long": http2_request((b"content-length", b"999")),
    "length 0": http2_request((b"content-length", b"0")),
    "two lengths": http2_request((b"content-length", b"35"), (b"content-length", b"0")),
    "length +35": http2_request((b"content-length", b"+35")),
    "length 35 and LF": http2_request((b"content-length", b"35\n")),
    "chunked": http2_request((b"transfer-encoding", b"chunked")),
    "Connection": http2_request((b"connection", b"transfer-encoding")),
    "CRLF in a value": http2_request((b"a", b"b\r\nTransfer-Encoding: chunked")),
    "CRLF CRLF in a value": http2_request((b"a", b"b\r\n\r\n" + HIDDEN)),
    "LF in a value": http2_request((b"a", b"b\nc: d")),
    "CR in a value": http2_request((b"a", b"b\rc: d")),
    "NUL in a value": http2_request((b"a", b"b\0c")),
    "CRLF in a name": http2_request((b"a: b\r\ntransfer-encoding", b"chunked")),
    "LF at the end of a name": http2_request((b"a\n", b"b")),
    "colon in a name": http2_request((b"transfer-encoding: chunked\r\na", b"b")),
    "space in a name": http2_request((b"a b", b"c")),
    "CRLF in a path": http2_request(path=SPLIT),
    "space in a path": http2_request(path=b"/a b"),
    "tab in a path": http2_request(path=b"/a\tb"),
    "NUL in a path": http2_request(path=b"/a\0b"),
    "no path": http2_request(path=b"a"),
    "a URL in a path": http2_request(path=b"http://y/"),
    "CRLF in a method": http2_request(method=b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"),
    "space in a method": http2_request(method=b"GET /smuggled"),
    "CRLF in an authority": http2_request(authority=b"x\r\nTransfer-Encoding: chunked"),
    "space in an authority": http2_request(authority=b"x y"),
    "another Host": http2_request((b"host", b"y")),
    "two Hosts": http2_request((b"host", b"x"), (b"host", b"x")),
    "CRLF in a Host": http2_request((b"host", b"x\r\na: b")),
    "CRLF in a scheme": http2_request(scheme=b"https\r\na: b"),
}


@pytest.mark.parametrize("name", DOWNGRADES)
def test_http2_to_http1(scripted: Upstream, tls_proxy: tuple[lab.Server, Path], name: str) -> None:
    """HTTP/2 requests that would be ambiguous in HTTP/1 do not reach the upstream."""
    scripted.answer = OK
    scripted.requests.clear()
    status, body = ask_http2(tls_proxy, DOWNGRADES[name], HIDDEN)
    assert status in (0, 400)
    if status:
        content = json.loads(body)
        assert (content["error_code"], content["source"]) == ("BAD_REQUEST", "proxy")
    assert scripted.requests == []


@pytest.mark.parametrize("more", [[], [(b"content-length", b"35")], [(b"host", b"x")]])
def test_http2_passes(
    scripted: Upstream, tls_proxy: tuple[lab.Server, Path], more: list[tuple[bytes, bytes]]
) -> None:
    """An HTTP/2 body is passed on as one body, with or without a Content-Length."""
    scripted.answer = OK
    scripted.requests.clear()
    assert ask_http2(tls_proxy, http2_request(*more), HIDDEN) == (200, b"{}")
    (received,) = scripted.requests
    assert received.body == HIDDEN
    unambiguous(received)
