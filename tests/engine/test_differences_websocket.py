"""The same as `test_differences`, for what follows the handshake of a WebSocket."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from support.permissive import Permissive
from support.plays import End, Play, Said
from support.sans_io import World
from support.websocket import ASKING, KEY, SWITCH
from support.wire import cut
from wsproto.connection import Connection, ConnectionType

from addon.engine.layer import Engine
from addon.routing import flow_state

HANDSHAKE = f"GET / HTTP/1.1\r\nHost: a.test\r\n{ASKING}\r\n".encode()
FRAMES = [
    *((0x81, b"text"), (0x82, b"\xff" * 200), (0x82, b""), (0x89, b"ping"), (0x8A, b"pong")),
    *((0x01, b"be"), (0x02, b"gin"), (0x00, b"more"), (0x80, b"end"), (0x88, b"\x03\xe8bye")),
    *((0x88, b""), (0x81, b"\xff"), (0x83, b"?"), (0xC1, b"?")),
]
"""The first byte and the payload of frames; those at the end are malformed."""
ENDS: Any = st.sampled_from(["open", "open", "close", "reset"])


def frame(first: int, payload: bytes, mask: int) -> bytes:
    """Return a frame; a `mask` of 0x80 adds four zero bytes, as a client must."""
    size = len(payload)
    length = bytes([mask | size]) if size < 126 else bytes([mask | 126]) + size.to_bytes(2)
    return bytes([first]) + length + bytes(mask // 32) + payload


class Switching(World):
    """A client that has asked for a WebSocket, and its registry."""

    def _hook(self, hook: Any) -> None:
        super()._hook(hook)
        flow_state.of(hook.flow).websocket_key = KEY.encode()


def outcome(make: Any, play: Play) -> Any:
    """Return what the hooks saw, what both sides got, and which connections are open."""
    world = Switching(make, play)
    world.run()
    (seen,) = world.seen
    data = seen.flow.websocket
    assert data is not None
    to_server = b"".join(sent for _, sent in seen.asked).partition(b"\r\n\r\n")[2]
    return (
        [name for name, _ in seen.hooks],
        [(message.type, message.from_client, message.content) for message in data.messages],
        (data.closed_by_client, data.close_code, data.close_reason),
        world.sent.partition(b"\r\n\r\n")[2],
        unmasked(to_server),
        [conn.state is ConnectionState.OPEN for conn in (world.client, *world.upstreams)],
    )


def unmasked(data: bytes) -> list[Any]:
    """Return the events that a server reads; masks are random."""
    server = Connection(ConnectionType.SERVER)
    server.receive_data(data)
    return [repr(event) for event in server.events()]


def engine(context: Context, addon: Permissive) -> Engine:
    return Engine(context, addon)


def own(context: Context, _: Permissive) -> HttpLayer:
    return HttpLayer(context, HTTPMode.transparent)


@given(
    st.lists(st.sampled_from(FRAMES), max_size=6),
    st.lists(st.sampled_from(FRAMES), max_size=6),
    st.lists(st.integers(0, 999), max_size=6),
    st.lists(st.integers(0, 999), max_size=6),
    st.lists(st.integers(0, 2), max_size=20),
    ENDS,
    ENDS,
)
def test_websockets(
    ours: list[tuple[int, bytes]],
    theirs: list[tuple[int, bytes]],
    our_cuts: list[int],
    their_cuts: list[int],
    turns: list[int],
    our_end: End,
    their_end: End,
) -> None:
    """The engine does what mitmproxy's own layer does, however frames are cut."""
    client = cut(b"".join(frame(*one, 0x80) for one in ours), our_cuts)
    server = cut(b"".join(frame(*one, 0) for one in theirs), their_cuts)
    said = Said((SWITCH, *server), their_end)
    play = Play((HANDSHAKE, *client), (said,), our_end, turns=(0, 1, *turns))
    assert outcome(engine, play) == outcome(own, play)
