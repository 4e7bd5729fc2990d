"""However a request ends: what was counted for it counts no more."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.connection import ConnectionState
from support.endings import Scene

from addon.engine import exchange, front_http2

KINDS = [
    *["client"] * 6,
    *["server"] * 5,
    *["go on"] * 6,
    *("server ends", "refuse", "kill", "silence", "silence", "fail", "client ends"),
]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 59)), min_size=8, max_size=30)


@given(
    st.booleans(),
    st.booleans(),
    st.sampled_from([4, 1000]),
    st.tuples(st.booleans(), st.booleans()),
    STEPS,
)
def test_nothing_is_left(
    http2: bool, late: bool, limit: int, stream: tuple[bool, bool], steps: list[tuple[str, int]]
) -> None:
    """Of requests and of bytes; and nobody who is there is kept from being read for nothing."""
    with (
        mock.patch.object(exchange, "UNCOUNTED", 0),
        mock.patch.object(front_http2, "BACKLOG", 2),
    ):
        scene = Scene(http2=http2, limit=limit, stream=stream)
        for kind, number in steps:
            scene.step(kind, number)
            if not late:
                scene.go_on()
        scene.go_on()
        addon, engine = scene.addon, scene.engine
        paused = [
            conn
            for conn, times in addon.paused.items()
            if times and conn.state is not ConnectionState.CLOSED
        ]
        served = [each.upstream.conn for each in engine.front.exchanges() if each.upstream]
        assert all(conn in served for conn in paused)
        scene.leave()
        scene.go_on()
    assert addon.in_flight.count() == 0
    assert addon.held.size() == 0
    assert not addon.held._flows
    assert not addon.late
