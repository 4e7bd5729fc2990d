"""However a request ends, nothing stays counted for it."""

from __future__ import annotations

from random import Random
from unittest import mock

import pytest
from mitmproxy.connection import ConnectionState
from support.endings import Scene

from addon.engine import downloads, exchange

KINDS = [
    *["client"] * 6,
    *["server"] * 5,
    *["go on"] * 6,
    *("server ends", "refuse", "kill", "silence", "silence", "fail", "client ends"),
]


@pytest.mark.parametrize("seeds", [range(at, at + 250) for at in range(0, 1250, 250)], ids=str)
@pytest.mark.parametrize("http2", [False, True])
def test_nothing_stays_counted(http2: bool, seeds: range) -> None:
    """All flows end, nothing stays counted, and no open connection stays paused needlessly."""
    for seed in seeds:
        # Not with hypothesis: it likes repetitions, which a connection does not survive for long.
        play(Random(seed), http2=http2)


def play(random: Random, *, http2: bool) -> None:
    """Run one connection from beginning to end."""
    late, stream = random.random() < 0.5, (random.random() < 0.5, random.random() < 0.5)
    with (
        mock.patch.object(exchange, "UNCOUNTED", 0),
        mock.patch.object(downloads, "BACKLOG", 2),
    ):
        scene = Scene(http2=http2, limit=random.choice([4, 1000]), stream=stream)
        scene.go_on()
        for kind in ("client", *random.choices(KINDS, k=25)):
            scene.step(kind, random.randrange(60))
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
    assert addon.in_flight.held() == 0
    assert not addon.late
    assert addon.has_failed or not any(flow.live for flow in scene.flows)
