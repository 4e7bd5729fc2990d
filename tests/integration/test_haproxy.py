"""The shipped HAProxy configuration, in front of scripted workers."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import lab
import pytest
from support.client import read_all, request
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

from addon.rules.model import Rules
from addon.workers.haproxy_config import SHIPPED, config

API = "/api/2.0/mlflow/runs/get"
RULES = Rules()
CLIENTS = 10_000


def directive(name: str) -> str:
    """The value of a directive, which must be in the file exactly once."""
    (value,) = re.findall(rf"(?m)^ *{name} (.+)$", SHIPPED.read_text(encoding="utf-8"))
    return str(value)


def seconds(text: str) -> float:
    """Convert a time from HAProxy's notation to seconds."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "h": 3600}[unit]


UPSTREAM = RULES.upstream.connect_timeout + RULES.upstream.response_timeout


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("timeout server", UPSTREAM, 2 * UPSTREAM),
        ("timeout client", UPSTREAM, 2 * UPSTREAM),
        ("timeout http-keep-alive", RULES.upstream.idle_timeout, 2 * UPSTREAM),
        ("timeout http-request", RULES.limits.head_timeout, UPSTREAM),
        # Otherwise a worker that is busy for longer than `inter` would count as down.
        ("timeout check", 2, RULES.drain.grace),
        ("timeout tunnel", UPSTREAM, 24 * 3600),
        ("hard-stop-after", 1, RULES.drain.timeout),
    ],
)
def test_times(name: str, least: float, most: float) -> None:
    """HAProxy waits longer than the shipped rules, so that clients get the proxy's errors."""
    assert least < seconds(directive(name)) <= most


def test_files() -> None:
    """The file limit allows two open files for each of 10,000 clients."""
    assert 2 * CLIENTS < int(directive("fd-hard-limit")) < 10 * CLIENTS


def test_the_end_of_a_worker_is_noticed_in_time() -> None:
    """HAProxy notices the end of a worker in less than half of the worker's grace period."""
    words = directive("default-server").split()
    checks = dict(zip(words[1::2], words[2::2], strict=True))
    falls = int(checks["fall"])
    noticed = seconds(checks["inter"]) + (falls - 1) * seconds(checks["fastinter"])
    assert 2 * noticed < RULES.drain.grace
    # A worker is busy when it starts: a down worker is checked often, and one success is enough.
    assert (words[0], falls, checks["rise"]) == ("check", 2, "1")
    assert seconds(checks["downinter"]) < 1


class Workers:
    """Two upstreams in place of workers."""

    def __init__(self, *upstreams: Upstream) -> None:
        self.upstreams = upstreams

    @property
    def addresses(self) -> list[str]:
        return [each.url.removeprefix("http://") for each in self.upstreams]

    def served(self) -> list[list[Received]]:
        """The client requests that each worker has received."""
        return [[r for r in each.requests if r.target == API] for each in self.upstreams]

    def last(self) -> Received:
        """Return the only request, and forget it."""
        ((got,),) = filter(None, self.served())
        for each in self.upstreams:
            each.requests.clear()
        return got


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Upstream(OK) as one, Upstream(OK) as other:
        yield Workers(one, other)


@pytest.fixture
def balancer(workers: Workers, tmp_path: Path) -> Iterator[lab.Server]:
    """HAProxy in front of the workers."""
    with lab.haproxy(tmp_path, config("127.0.0.1:PORT", workers.addresses)) as server:
        yield server.wait("/readyz/local")


def test_forwarding_headers(balancer: lab.Server, workers: Workers) -> None:
    """Forwarding headers that a client sends are replaced, in any spelling."""
    host, _, port = balancer.url.removeprefix("http://").partition(":")
    # All of 127.0.0.0/8 is this machine.
    with socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0)) as client:
        names = [*(f"X-Forwarded-{each}" for each in ("For", "PROTO", "Host", "new"))]
        names += ["Forwarded", "X_Forwarded_For", "X-Real-IP"]
        lies = "".join(f"{name}: lie\r\n" for name in names)
        head = f"GET {API} HTTP/1.1\r\nHost: x\r\n{lies}Connection: close\r\n\r\n"
        client.sendall(head.encode())
        assert read_all(client).startswith(b"HTTP/1.1 200 ")
    got = workers.last()
    assert got.header("X-Forwarded-For") == ["127.0.0.2"]
    assert got.header("X-Forwarded-Proto") == ["http"]
    assert b"lie" not in got.head


def test_tls(workers: Workers, certificate: Path, tmp_path: Path) -> None:
    """For a client that uses https, workers get X-Forwarded-Proto: https."""
    listen = f"127.0.0.1:PORT ssl crt {certificate}"
    with lab.haproxy(tmp_path, config(listen, workers.addresses)) as server:
        url = server.wait_for_port().url.replace("http:", "https:")
        eventually(lambda: request(url, API, ca=certificate).status == 200)
    got = workers.last()
    assert got.header("X-Forwarded-Proto") == ["https"]


def test_large_heads(balancer: lab.Server, workers: Workers) -> None:
    """A head within the limit reaches a worker; so does a larger one, for the proxy's own error."""
    for size in (RULES.limits.request_head, 70_000):
        assert request(balancer.url, API, headers={"X-Large": "x" * size}).status == 200
        assert len(workers.last().head) > size


def test_the_least_busy_worker(balancer: lab.Server, workers: Workers) -> None:
    """The worker with the fewest requests gets the next one, because uploads differ in length."""
    gates = [socket.socketpair() for _ in workers.upstreams]
    for upstream, gate in zip(workers.upstreams, gates, strict=True):

        def wait(received: Received, client: socket.socket, gate: socket.socket = gate[1]) -> bool:
            if received.target == API:
                gate.recv(1)
            client.sendall(OK)
            return True

        upstream.answer = wait

    def begun() -> list[int]:
        return [len(each) for each in workers.served()]

    with ThreadPoolExecutor(8) as pool:

        def ask(times: int) -> list[Future[int]]:
            before = sum(begun())
            asked = [pool.submit(lambda: request(balancer.url, API).status) for _ in range(times)]
            eventually(lambda: sum(begun()) == before + times)
            return asked

        try:
            asked = ask(6)
            assert begun() == [3, 3]
            gates[0][0].send(b"xxx")
            eventually(lambda: sum(each.done() for each in asked) == 3)
            asked += ask(2)
            assert begun() == [5, 3]
        finally:
            for gate in gates:
                gate[0].send(b"x" * 8)
        assert {each.result() for each in asked} == {200}


def test_a_worker_that_is_about_to_end(balancer: lab.Server, workers: Workers) -> None:
    """A failed /readyz/local takes a worker out; a failed /readyz does not."""
    for upstream, path in zip(workers.upstreams, ("/readyz/local", "/readyz"), strict=True):

        def answer(received: Received, client: socket.socket, path: str = path) -> bool:
            down = received.target == path
            client.sendall(response("503 Service Unavailable", b"") if down else OK)
            return True

        upstream.answer = answer

    def shares() -> list[int]:
        before = workers.served()
        for _ in range(4):
            assert request(balancer.url, API).status == 200
        return [len(now) - len(then) for now, then in zip(workers.served(), before, strict=True)]

    eventually(lambda: shares() == [0, 4], 30)


def test_a_worker_that_is_gone(tmp_path: Path) -> None:
    """Until HAProxy notices that a worker is gone, it sends refused requests to the other one."""
    with Upstream(OK) as stays, contextlib.ExitStack() as goes:
        workers = Workers(goes.enter_context(Upstream(OK)), stays)
        with lab.haproxy(tmp_path, config("127.0.0.1:PORT", workers.addresses)) as server:
            server.wait("/readyz/local")
            goes.close()
            for _ in range(10):
                assert request(server.url, API, method="POST", body=b"{}").status == 200
    assert [len(each) for each in workers.served()] == [0, 10]
