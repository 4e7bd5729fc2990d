"""Rare cases of one request and its answer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.plays import Play, Said
from support.sans_io import World

from addon.engine.exchange import SMALL, Exchange, keep
from addon.engine.layer import Engine

HEAD = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run(play: Play) -> World:
    """Run a play to its end and close the client's connection."""
    world = World(Engine, play).run()
    world.leave()
    return world


def hooks(world: World) -> list[list[str]]:
    """Return the names of each flow's hooks."""
    return [[name for name, _ in seen.hooks] for seen in world.seen]


@pytest.mark.parametrize("answer", [OK, b"nonsense\r\n\r\n", b""])
def test_a_streamed_request_is_killed(answer: bytes) -> None:
    """If an addon kills a flow after its body has passed, no more of it goes to the registry."""
    world = run(
        Play(
            (HEAD + b"abc",),
            (Said((answer,), "close"),),
            stream=(True, False),
            act=("request", "kill"),
        )
    )
    assert hooks(world) == [["requestheaders", "request", "error"]]
    assert not world.answers()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified"])
def test_an_answer_of_an_addon_without_a_body(status: bytes, stream: bool) -> None:
    """An addon's content for an answer without a body does not go out as the next answer."""
    method = b"HEAD" if status.startswith(b"200") else b"GET"
    request = method + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    answer = b"HTTP/1.1 " + status + b"\r\n\r\n"
    play = Play((request * 2,), (Said((answer,)),) * 2, stream=(False, stream))
    world = run(replace(play, act=("response", "fill")))
    assert [each.line for each in world.answers()] == [b"HTTP/1.1 " + status] * 2


def test_a_hook_that_ends_after_an_exception() -> None:
    """An exchange that was given up takes no step any more, also none that had to wait."""
    taken: list[str] = []
    engine: Any = SimpleNamespace(addon=None)
    front: Any = None
    exchange = Exchange(engine, front, 1)
    exchange.waits = True
    exchange.take(lambda _: taken.append("queued"))
    exchange.give_up()
    exchange.go_on(lambda _: taken.append("after the hook"))
    assert taken == []


@pytest.mark.parametrize("scheme", [b"http", b"HTTP", b"Http"])
def test_schemes_in_any_case(scheme: bytes) -> None:
    """A scheme is case-insensitive (RFC 3986, section 3.1)."""
    head = b"GET " + scheme + b"://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
    world = run(Play((head,), (Said((OK,)),)))
    assert [request.line for request in world.seen[0].requests()] == [b"GET /x HTTP/1.1"]
    assert [answer.body for answer in world.answers()] == [b"ok"]


@pytest.mark.parametrize(("method", "has_body"), [(b"HEAD", False), (b"PUT", True)])
def test_a_malformed_body(method: bytes, has_body: bool) -> None:
    """The 400 has a body, except for HEAD: there it would be read as the next answer."""
    head = method + b" / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    world = run(Play((head + b"x\r\n",), (Said((OK,)),)))
    (answer,) = world.answers()
    assert answer.line.startswith(b"HTTP/1.1 400")
    assert bool(answer.body) is has_body


@pytest.mark.parametrize(
    ("size", "count", "parts"), [(1, 3 * SMALL, 3), (SMALL, 3, 3), (SMALL + 1, 3, 3), (3000, 4, 4)]
)
def test_small_parts_of_a_body_are_joined(size: int, count: int, parts: int) -> None:
    """A body in tiny parts takes little more memory than its bytes, and keeps their order."""
    held: list[bytes] = []
    sent = [bytes([number % 251]) * size for number in range(count)]
    for data in sent:
        keep(held, data)
    assert len(held) == parts
    assert b"".join(held) == b"".join(sent)
