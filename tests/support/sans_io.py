"""Drives a layer of mitmproxy without sockets: client, upstreams, hooks, and their turns.

Commands have the same effect as in mitmproxy's `ConnectionHandler` (mitmproxy/proxy/server.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.mode_specs import ProxyMode

from .permissive import Permissive
from .plays import End, Play, Said
from .wire import Message, read_answers, read_requests

UPSTREAM = ("registry.test", 80)
PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain"
NUMBER = "n"
"""A header with a request's number, for requests that may overtake others."""
SOON = 60
"""The longest timer that runs, in seconds; the time limit for a head is an hour here."""


@dataclass
class Seen:
    """One flow, as hooks and upstreams saw it."""

    flow: http.HTTPFlow
    number: int
    """The number of its request."""
    hooks: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[tuple[Server, bytes]] = field(default_factory=list)

    def requests(self) -> list[Message]:
        """Return the requests that upstreams received; more than one if it was repeated."""
        sent: dict[Server, bytes] = {}
        for conn, data in self.asked:
            sent[conn] = sent.get(conn, b"") + data
        return [request for data in sent.values() for request in read_requests(data)]


class World:
    """The surroundings of one layer: client, upstreams and hooks.

    Args:
        make: creates the layer from a context and an addon.
        play: the script.
    """

    def __init__(self, make: Callable[[Context, Permissive], Any], play: Play) -> None:
        self.play = play
        self.addon = Permissive()
        self.sent = b""
        """Bytes sent to the client."""
        self.seen: list[Seen] = []
        self.upstreams: list[Server] = []
        self.closed: list[Connection] = []
        """Connections in the order in which the layer closed them."""
        self.client = Client(
            peername=("client.test", 1),
            sockname=("proxy.test", 2),
            timestamp_start=time.time(),
            state=ConnectionState.OPEN,
            proxy_mode=ProxyMode.parse("reverse:http://registry.test"),
        )
        self.client.alpn = play.alpn
        context = Context(self.client, _options(play))
        context.server = Server(address=UPSTREAM)
        self.layer = make(context, self.addon)
        self._ours = deque(play.client)
        self._theirs: deque[tuple[Server, bytes | End]] = deque()
        self._replies: deque[events.Event] = deque()
        self._timers: list[Any] = []
        self._received: dict[Server, bytes] = {}
        self._answered: dict[Server, int] = {}
        self._attempts: dict[int, int] = {}
        self._end: End = play.client_end
        self._ended: set[Connection] = set()

    def run(self) -> World:
        """Run the play to its end; leave the client's connection as it is then."""
        self._give(events.Start())
        turns = deque(self.play.turns)
        moves = (self._client_moves, self._upstream_moves, self._reply)
        while True:
            first = turns.popleft() % 3 if turns else 2
            if not any(moves[(first + i) % 3]() for i in range(3)):
                if not self._timers:
                    return self
                timer = self._timers.pop(0)
                self._give(events.Wakeup(timer))

    def leave(self) -> None:
        """Close the client's connection, if it is open, and run to the end."""
        self._ours.clear()
        self._end = "close"
        self.run_on()

    def lose(self) -> None:
        """Lose the client's connection, as by an error or mitmproxy's idle timeout."""
        self.client.state = ConnectionState.CLOSED
        self._clean_up()
        self.run_on()

    def run_on(self) -> None:
        """Run all remaining moves, in no given order."""
        while self._client_moves() or self._upstream_moves() or self._reply() or self._ring():
            pass

    def answers(self) -> list[Message]:
        """Return the answers that the client has received."""
        methods = [seen.flow.request.data.method for seen in self.seen]
        closed = self.client in self.closed and not self.addon.was_reset
        return read_answers(self.sent, methods, ended=closed)

    # Moves: each returns whether it did something.

    def _client_moves(self) -> bool:
        if self._ours and self.client.state & ConnectionState.CAN_READ:
            if data := self._ours.popleft():
                self._give(events.DataReceived(self.client, data))
            return True
        if self._ours or self._end == "open" or self.client in self._ended:
            return False
        self._end_of(self.client, self._end)
        return True

    def _upstream_moves(self) -> bool:
        while self._theirs:
            conn, said = self._theirs.popleft()
            if not conn.state & ConnectionState.CAN_READ or conn in self._ended:
                continue
            if isinstance(said, bytes):
                if said:
                    self._give(events.DataReceived(conn, said))
            else:
                if said == "reset":
                    self.addon.cut.add(conn)
                self._end_of(conn, said)
            return True
        return False

    def _reply(self) -> bool:
        if not self._replies:
            return False
        self._handle(self.layer.handle_event(self._replies.popleft()))
        return True

    def _ring(self) -> bool:
        if not self._timers:
            return False
        self._give(events.Wakeup(self._timers.pop(0)))
        return True

    # Events for the layer.

    def _give(self, event: events.Event) -> None:
        self._handle(self.layer.handle_event(event))
        while not self.play.late and self._reply():
            pass

    def _end_of(self, conn: Connection, end: End) -> None:
        """Report that the other side or the layer has closed a connection."""
        if conn in self._ended:
            return
        self._ended.add(conn)
        if end == "reset" or conn.state is not ConnectionState.OPEN:
            conn.state = ConnectionState.CLOSED
        else:
            conn.state = ConnectionState.CAN_WRITE
        self._give(events.ConnectionClosed(conn))
        self._clean_up()

    def _clean_up(self) -> None:
        """Close all upstream connections once the client has gone."""
        if self.client.state is not ConnectionState.CLOSED:
            return
        self.client.timestamp_end = time.time()
        for conn in self.upstreams:
            if conn.state is not ConnectionState.CLOSED:
                self._end_of(conn, "reset")

    # Commands from the layer.

    def _handle(self, wanted: Any) -> None:
        gone: list[Connection] = []
        for command in wanted:
            if isinstance(command, commands.SendData):
                self._send(command.connection, command.data)
            elif isinstance(command, commands.OpenConnection):
                self._open(command)
            elif isinstance(command, commands.CloseConnection):
                conn = command.connection
                if getattr(command, "half_close", False):
                    conn.state &= ~ConnectionState.CAN_WRITE
                else:
                    conn.state = ConnectionState.CLOSED
                if conn.state is ConnectionState.CLOSED and conn not in self.closed:
                    self.closed.append(conn)
                    gone.append(conn)
            elif isinstance(command, commands.StartHook):
                self._hook(command)
            elif isinstance(command, commands.RequestWakeup):
                if command.delay <= 0:
                    self._replies.append(events.Wakeup(command))
                elif command.delay <= SOON:
                    self._timers.append(command)
        for conn in gone:
            self._end_of(conn, "close")
            self._clean_up()

    def _hook(self, hook: Any) -> None:
        self._replies.append(events.HookCompleted(hook, None))
        flow = hook.flow
        if not isinstance(flow, http.HTTPFlow):
            return
        if not self.seen or all(seen.flow is not flow for seen in self.seen):
            number = int(flow.request.headers.get(NUMBER, len(self.seen)))
            self.seen.append(Seen(flow, number))
        seen = next(seen for seen in self.seen if seen.flow is flow)
        seen.hooks.append((hook.name, snapshot(flow)))
        if self.play.spares:
            flow.request.trailers = None
            if "content-length" not in flow.request.headers:
                flow.request.headers["transfer-encoding"] = "chunked"
        if self.play.act is not None and self.play.act[0] == hook.name:
            if self.play.act[1] == "kill" and flow.killable:
                flow.kill()
            elif self.play.act[1] == "answer":
                flow.response = http.Response.make(418, b"tea", {"X-By": "hook"})
            elif self.play.act[1] == "fill" and flow.response is not None:
                flow.response.content = b"filled"
        elif hook.name == "requestheaders":
            flow.request.stream = self.play.stream[0]
        elif hook.name == "responseheaders" and flow.response is not None:
            flow.response.stream = self.play.stream[1]

    def _said(self, requests: list[Message]) -> tuple[Seen, Said]:
        """Return the current flow and its upstream's answer.

        Args:
            requests: those on the same connection.
        """
        numbers = [each.values(NUMBER.encode()) for each in requests]
        seen, said = self.seen[-1], self.play.said
        if numbers and numbers[0]:
            seen = next(seen for seen in self.seen if seen.number == int(numbers[0][0]))
        return seen, said[seen.number] if seen.number < len(said) else Said((PLAIN_ANSWER,))

    def _open(self, command: commands.OpenConnection) -> None:
        conn = command.connection
        if self._said([])[1].refuses:
            conn.error = "no connection"
        else:
            conn.state = ConnectionState.OPEN
            conn.timestamp_start = time.time()
            self.upstreams.append(conn)
        self._replies.append(events.OpenConnectionCompleted(command, conn.error))

    def _send(self, conn: Connection, data: bytes) -> None:
        if not conn.state & ConnectionState.CAN_WRITE:
            return
        if not isinstance(conn, Server):
            self.sent += data
            return
        received = self._received[conn] = self._received.get(conn, b"") + data
        requests = read_requests(received)
        seen, said = self._said(requests)
        seen.asked.append((conn, data))
        there = sum(request.complete or said.early for request in requests)
        while self._answered.get(conn, 0) < there:
            self._answered[conn] = self._answered.get(conn, 0) + 1
            attempt = self._attempts[seen.number] = self._attempts.get(seen.number, 0) + 1
            again = Said((PLAIN_ANSWER,))
            wanted = said if attempt == 1 else again
            self._theirs.extend((conn, portion) for portion in wanted.portions)
            if wanted.end != "open":
                self._theirs.append((conn, wanted.end))


def snapshot(flow: http.HTTPFlow) -> Any:
    """Return what a hook sees of request and response, and whether there is an error."""
    request, response = flow.request.data, flow.response and flow.response.data
    return (
        (request.method, request.path, request.http_version, request.headers.fields),
        request.content or b"",
        response and (response.status_code, response.headers.fields),
        response and (response.content or b""),
        flow.error is not None,
    )


class _Loader:
    def __init__(self, options: Options) -> None:
        self.add_option = options.add_option


def _options(play: Play) -> Options:
    options = Options()
    Proxyserver().load(_Loader(options))
    known = {key: value for key, value in play.options if key in options}
    options.update(**known)
    return options
