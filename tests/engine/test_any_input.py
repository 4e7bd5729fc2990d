"""The engine handles any input in any portions: no exceptions, nothing left open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.connection import ConnectionState
from support.exchanges import Scene, scenes
from support.plays import Play
from support.sans_io import World
from support.wire import cut

from addon.engine.layer import Engine

# In `responseheaders` the body is always the registry's, whatever length an addon sets.
ACTS = [
    *((hook, "kill") for hook in ("requestheaders", "request", "responseheaders", "response")),
    *((hook, "answer") for hook in ("requestheaders", "request", "response")),
    ("response", "fill"),
]
HOOKS = ["requestheaders", "request", "responseheaders", "response", "error"]


def mangled(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """Return data with some bytes replaced."""
    for place, other in changes:
        at = place % (len(data) + 1)
        data = data[:at] + other + data[at + 1 :]
    return data


CHANGES: Any = st.lists(
    st.tuples(st.integers(0, 999), st.sampled_from([b"", b"\r\n", b"\0", b"0", b"\r\n\r\n", b" "])),
    max_size=3,
)


@given(
    scenes(),
    CHANGES,
    CHANGES,
    st.lists(st.integers(0, 2), max_size=40),
    st.booleans(),
    st.none() | st.sampled_from(ACTS),
    st.sampled_from([(), (("body_size_limit", "9"),), (("stream_large_bodies", "9"),)]),
)
def test_all_connections_are_closed(
    scene: Scene,
    ours: list[tuple[int, bytes]],
    theirs: list[tuple[int, bytes]],
    turns: list[int],
    late: bool,
    act: tuple[str, str] | None,
    options: Any,
) -> None:
    """No event raises; once the client has gone, flows have ended and connections are closed."""
    said = [
        replace(said, portions=tuple(mangled(portion, theirs) for portion in said.portions))
        for said in scene.play.said
    ]
    play = replace(
        scene.play,
        client=tuple(mangled(portion, ours) for portion in scene.play.client),
        said=tuple(said),
        turns=tuple(turns),
        late=late,
        act=act,
        options=(*scene.play.options, *options),
    )
    world = World(Engine, play).run()
    world.leave()
    if world.client.state is not ConnectionState.CLOSED:
        # The client has shut down its side, and its answer has begun and does not end.
        assert world.sent
        world.lose()
    engine: Engine = world.layer
    assert not engine.at_work
    assert not engine.flows()
    assert not engine._upstreams
    assert not engine.registries._opening
    connections = (world.client, *world.upstreams)
    assert all(conn.state is ConnectionState.CLOSED for conn in connections)
    assert all(answer.status for answer in world.answers())
    for seen in world.seen:
        names = [name for name, _ in seen.hooks]
        assert names[0] == "requestheaders"
        assert names == sorted(set(names), key=HOOKS.index)
        assert ("error" in names) is not ("response" in names)
        assert not seen.flow.live


@given(scenes(odd=False), st.lists(st.integers(0, 2999)), st.lists(st.integers(0, 299)))
def test_portions(scene: Scene, ours: list[int], theirs: list[int]) -> None:
    """The outcome is the same however the bytes on both sides are cut."""
    whole = in_portions(scene.play, [], [])
    assert in_portions(scene.play, ours, theirs) == whole


def in_portions(play: Play, ours: list[int], theirs: list[int]) -> Any:
    """Return everything that clients, hooks and upstreams see."""
    said = [
        replace(said, portions=tuple(cut(b"".join(said.portions), theirs))) for said in play.said
    ]
    client = cut(b"".join(play.client), ours)
    world = World(Engine, replace(play, client=tuple(client), said=tuple(said))).run()
    asked = [seen.requests() for seen in world.seen]
    hooks = [seen.hooks for seen in world.seen]
    closed = [world.upstreams.index(c) if c in world.upstreams else -1 for c in world.closed]  # type: ignore[arg-type]
    return world.answers(), asked, hooks, closed, [c.state for c in world.upstreams]
