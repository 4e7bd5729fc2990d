"""Turns limit how many bytes are read at once, and lose none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from support.exchanges import Scene, scenes
from support.permissive import Permissive
from support.plays import Play
from support.sans_io import World
from support.websocket import ASKING, SWITCH
from support.wire import cut

from addon.engine import http2_connection
from addon.engine.frames import FRAMES_AT_ONCE
from addon.engine.layer import Engine
from addon.engine.readers import CHUNKS_AT_ONCE
from addon.engine.turns import REST, Slots, Turns
from addon.routing import flow_state

HEAD = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Direct:
    """Hooks that run at once.

    Args:
        answers: whether the hooks answer all requests.
    """

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    def call(self, name: str, flow: http.HTTPFlow) -> None:
        """See `inline_hooks.Dispatcher`."""
        if name == "requestheaders" and self._answers:
            flow.response = http.Response.make(418)


class Bench:
    """An engine with the shortest possible turns; a test sees its commands and replies by hand.

    Args:
        http2: whether the client speaks HTTP/2.
        hooks: hooks that run at once; by default, hooks complete after a turn for others.
    """

    def __init__(self, *, http2: bool = False, hooks: Direct | None = None) -> None:
        world = World(lambda context, addon: SimpleNamespace(context=context), Play((), ()))
        self.client = world.client
        self.client.alpn = b"h2" if http2 else b"http/1.1"
        self.addon = Permissive()
        self.addon.slots = Slots(0)
        top: Any = SimpleNamespace(dispatcher=hooks, hand_down_to=lambda _: None)
        vars(self.addon)["top_layer"] = lambda _: top if hooks else None
        self.server: Server | None = None
        self.engine = Engine(Context(self.client, world.layer.context.options), self.addon)
        self.engine.address = ("registry.test", 80)
        self._waiting: list[Any] = []
        self.give(events.Start())

    def give(self, event: events.Event) -> dict[Any, bytes]:
        """Handle an event; return the bytes written to each connection until the turn ends."""
        wanted = [*self.engine.handle_event(event)]
        sent: dict[Any, bytes] = {}
        for command in wanted:
            if isinstance(command, commands.SendData):
                sent[command.connection] = sent.get(command.connection, b"") + command.data
            elif isinstance(command, commands.RequestWakeup):
                self._waiting.append(command)
            elif isinstance(command, commands.OpenConnection):
                self.server = command.connection
                self.server.state = ConnectionState.OPEN
                self._add(sent, self.give(events.OpenConnectionCompleted(command, None)))
            elif isinstance(command, commands.CloseConnection):
                command.connection.state = ConnectionState.CLOSED
            elif isinstance(command, commands.StartHook) and command.blocking:
                self._add(sent, self.give(events.HookCompleted(command)))
        return sent

    @staticmethod
    def _add(sent: dict[Any, bytes], more: dict[Any, bytes]) -> None:
        for conn, data in more.items():
            sent[conn] = sent.get(conn, b"") + data

    def turns(self, conn: Any, data: bytes) -> list[dict[Any, bytes]]:
        """Return the bytes written in each turn that some received bytes take."""
        return [self.give(events.DataReceived(conn, data)), *self.later()]

    def later(self) -> list[dict[Any, bytes]]:
        """Return the bytes written in each pending turn."""
        sent = []
        while self._waiting:
            sent.append(self.give(events.Wakeup(self._waiting.pop(0))))
        return sent


def test_requests() -> None:
    """Each turn serves one request, and all are served."""
    bench = Bench(hooks=Direct(answers=True))
    turns = bench.turns(bench.client, HEAD * 9)
    assert [turn.get(bench.client, b"").count(b" 418 ") for turn in turns] == [1] * 9


@pytest.mark.parametrize(
    ("state", "answers"), [(ConnectionState.CAN_WRITE, 8), (ConnectionState.CLOSED, 0)]
)
def test_a_client_that_closes_meanwhile(state: ConnectionState, answers: int) -> None:
    """Requests sent before a half-close are answered; a closed connection gets nothing."""
    bench = Bench(hooks=Direct(answers=True))
    bench.give(events.DataReceived(bench.client, HEAD * 9))
    bench.client.state = state
    bench.give(events.ConnectionClosed(bench.client))
    sent = b"".join(turn.get(bench.client, b"") for turn in bench.later())
    assert sent.count(b" 418 ") == answers
    assert bench.client.state is ConnectionState.CLOSED
    assert not bench.engine.at_work


def test_pings() -> None:
    """One turn reads only a few HTTP/2 frames."""
    bench = Bench(http2=True)
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    for number in range(20):
        client.ping(b"%08d" % number)
    turns = bench.turns(bench.client, client.data_to_send())
    answers = [turn.get(bench.client, b"") for turn in turns]
    assert all(answer.count(b"\0\0\x08\x06\x01") <= FRAMES_AT_ONCE for answer in answers)
    assert all(b"%08d" % number in b"".join(answers) for number in range(20))


def registry_sends(head: bytes) -> tuple[Bench, Server]:
    """Start a request whose answer from the registry begins with a head."""
    bench = Bench()
    bench.turns(bench.client, HEAD)
    assert bench.server is not None
    bench.turns(bench.server, head)
    return bench, bench.server


def test_chunks() -> None:
    """One turn reads a limited number of chunks of an answer."""
    bench, server = registry_sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    flow = bench.engine.flows()[0]
    assert flow.response is not None
    chunks = 5 * CHUNKS_AT_ONCE
    turns = bench.turns(server, b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
    assert len(turns) > 5
    (answer,) = [turn[bench.client] for turn in turns if bench.client in turn]
    assert answer.endswith(b"x" * chunks + b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_interim_answers(count: int) -> None:
    """The final answer is found after any number of interim ones."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    bench, server = registry_sends(b"")
    turns = bench.turns(server, b"HTTP/1.1 100 Continue\r\n\r\n" * count + ok)
    assert b"".join(turn.get(bench.client, b"") for turn in turns).endswith(b"ok")
    # Turns with only interim answers, and one with the final answer and its body.
    assert len(turns) == (count - 1) // 64 + 2


def websocket() -> Bench:
    """Return an engine whose client has begun a WebSocket."""
    bench = Bench()
    bench.turns(bench.client, b"GET / HTTP/1.1\r\nHost: a.test\r\n" + ASKING.encode() + b"\r\n")
    assert bench.server is not None
    flow_state.of(bench.engine.flows()[0]).websocket_key = b"dGhlIHNhbXBsZSBub25jZQ=="
    bench.turns(bench.server, SWITCH)
    return bench


@pytest.mark.parametrize(
    ("frame", "written"),
    [(b"\x81\x81\0\0\0\0x", b"\x81\x81"), (b"\x89\x80\0\0\0\0", b"\x89\x80")],
    ids=["messages", "pings"],
)
def test_frames_of_a_websocket(frame: bytes, written: bytes) -> None:
    """One turn reads a few frames or one message; none is lost."""
    bench = websocket()
    turns = bench.turns(bench.client, frame * 20)
    counts = [turn.get(bench.server, b"").count(written) for turn in turns]
    assert sum(counts) == 20
    assert max(counts) <= FRAMES_AT_ONCE


def test_bytes_that_come_before_the_turn_of_a_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    """If bytes come while a WebSocket waits for its turn, no more are read until it has it."""
    bench = websocket()
    paused: list[bool] = []
    monkeypatch.setattr(bench.addon, "pace", lambda _client, _conn, wanted: paused.append(wanted))
    message = b"\x81\x81\0\0\0\0x"
    # The hook of a message ends its turn: there are no more bytes yet.
    bench.give(events.DataReceived(bench.client, message))
    bench.give(events.DataReceived(bench.client, message))
    assert paused[-2:] == [False, False]
    sent = b"".join(turn.get(bench.server, b"") for turn in bench.later())
    assert sent.count(b"\x81\x81") == 2
    assert paused[-2:] == [True, True]


def test_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that resets many requests gets ENHANCE_YOUR_CALM, and its connection ends."""
    # A slow machine would give it time for more.
    monkeypatch.setattr(http2_connection, "RESETS_PER_SECOND", 0)
    bench = Bench(http2=True)
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    for number in range(http2_connection.RESETS + 50):
        client.send_headers(2 * number + 1, fields, end_stream=True)
        client.reset_stream(2 * number + 1)
    turns = bench.turns(bench.client, client.data_to_send())
    sent = b"".join(turn.get(bench.client, b"") for turn in turns)
    assert sent.count(b"\0\0\0\x0b") == 1  # ENHANCE_YOUR_CALM
    assert bench.server is None
    assert not bench.engine.at_work


def test_a_cancelled_request_opens_no_connection() -> None:
    """A reset that comes with its request stops it; a request without one goes upstream."""
    for gives_up in (True, False):
        bench = Bench(http2=True, hooks=Direct(answers=False))
        client = h2.connection.H2Connection(h2.config.H2Configuration())
        client.initiate_connection()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
        client.send_headers(1, fields, end_stream=True)
        if gives_up:
            client.reset_stream(1)
        bench.turns(bench.client, client.data_to_send())
        assert (bench.server is None) is gives_up


@given(scenes(odd=False), st.lists(st.integers(0, 2999)))
def test_the_length_of_turns_does_not_matter(scene: Scene, ours: list[int]) -> None:
    """The outcome does not depend on how much one turn reads."""
    client = tuple(cut(b"".join(scene.play.client), ours))
    assert outcome(replace(scene.play, client=client), 0) == outcome(scene.play, 1e9)


def outcome(play: Play, seconds: float) -> Any:
    """Return what client, hooks and upstreams see."""

    def make(context: Context, addon: Permissive) -> Engine:
        addon.slots = Slots(seconds)
        return Engine(context, addon)

    world = World(make, play).run()
    asked = [seen.requests() for seen in world.seen]
    return world.answers(), asked, [seen.hooks for seen in world.seen]


# Units.


def test_slots() -> None:
    """Others get a multiple of a turn's time, however many connections wait."""
    slots = Slots(1)
    assert slots.wait(10) == REST
    assert slots.wait(10) == REST + 1 + REST
    assert slots.wait(10.5) == REST + 2 * (1 + REST) - 0.5
    assert slots.wait(100) == REST


def test_a_pause() -> None:
    """Nothing continues before the event loop has run other callbacks."""
    woken: list[Callable[[], None]] = []
    gone_on: list[bool] = []
    turns = Turns(Slots(0), lambda _, then: woken.append(then))
    turns.begin()
    assert turns.is_over
    turns.rest(lambda: gone_on.append(turns.resting))
    assert turns.resting
    assert not gone_on
    woken.pop()()
    assert gone_on == [False]
