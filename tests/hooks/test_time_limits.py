"""The upstream's time limits: when each applies, and what it ends.

tests/integration/test_time_limits.py has the limits of requests and answers, with sockets.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from mitmproxy.test import taddons, tflow

from addon.hooks import time_limits
from addon.hooks.time_limits import NO_CONNECTION, NO_DATA, NO_RESPONSE, TimeLimits
from addon.routing import flow_state
from addon.rules.model import Upstream

LIMITS = Upstream(connect_timeout=0.01, response_timeout=0.01, idle_timeout=0.01)


@pytest.mark.parametrize(
    ("content_type", "events", "expected"),
    [
        ("application/json", 0, 120),
        ("", 5, 120),
        ("text/event-stream", 0, None),
        ("Text/Event-Stream; charset=utf-8", 5, 5),
    ],
)
def test_idle_limit(content_type: str, events: float, expected: float | None) -> None:
    """Event streams have a limit of their own, or none."""
    assert time_limits.idle_limit(Upstream(event_idle_timeout=events), content_type) == expected


@pytest.mark.parametrize("begun", [True, False])
def test_a_connection_that_is_not_made(begun: bool) -> None:
    """The limit counts from the start of the attempt, because mitmproxy lets some attempts wait."""
    flow, limits = tflow.tflow(), TimeLimits()
    client, connection = flow.client_conn, tflow.tserver_conn()
    connection.timestamp_start = time.time() if begun else None
    steps = []

    async def attempt() -> None:
        limits.connecting(client, connection, LIMITS)
        if not begun:
            await asyncio.sleep(0.1)  # Ten times the limit.
            connection.timestamp_start = time.time()
        steps.append("begun")
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError, match="it did not answer in time"):
        asyncio.run(attempt())
    assert steps == ["begun"]
    assert limits.problem(flow) == NO_CONNECTION
    with taddons.context():
        assert not limits.is_cut(flow)
    assert limits.problem(tflow.tflow()) is None


def test_a_connection_that_is_made() -> None:
    """Its timer is stopped, and the problem of an earlier attempt is forgotten."""
    flow, limits = tflow.tflow(), TimeLimits()
    client, connection = flow.client_conn, tflow.tserver_conn()
    connection.timestamp_start = time.time()
    limits._expired[client.id] = NO_CONNECTION

    async def attempt() -> None:
        limits.connecting(client, connection, LIMITS)
        limits.stop(connection.id)
        await asyncio.sleep(0.1)  # Ten times the limit.

    asyncio.run(attempt())
    assert limits.problem(flow) is None


def test_a_connection_that_is_given_up() -> None:
    """One whose turn has not come when its client goes leaves no timer behind."""
    flow, limits = tflow.tflow(), TimeLimits()
    client, connection = flow.client_conn, tflow.tserver_conn()
    connection.timestamp_start = None

    async def attempt() -> None:
        limits.connecting(client, connection, LIMITS)
        await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.create_task(attempt())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.1)  # Ten times the limit.

    asyncio.run(run())
    assert not limits._timers._due
    assert limits.problem(flow) is None


def test_problems_of_flows_take_precedence() -> None:
    """A flow's problem is forgotten when the flow ends, a client's when the client leaves."""
    flow, limits = tflow.tflow(), TimeLimits()
    limits._expired |= {flow.id: NO_RESPONSE, flow.client_conn.id: NO_CONNECTION}
    assert limits.problem(flow) == NO_RESPONSE
    assert limits.is_cut(flow)
    limits.forget(flow.id)
    assert limits.problem(flow) == NO_CONNECTION
    limits.forget(flow.client_conn.id)
    assert limits.problem(flow) is None


def test_without_a_client() -> None:
    """A replayed flow has no connection to cut and must not restart its timer for ever."""
    flow, limits = tflow.tflow(), TimeLimits()

    async def run() -> None:
        limits.sending(flow, LIMITS)
        limits.sent(flow, LIMITS)
        await asyncio.sleep(0.1)
        assert not limits._timers._due
        flow.is_replay = "request"
        limits.sent(flow, LIMITS)
        assert not limits._timers._due
        limits.end(flow, NO_DATA)

    with taddons.context():
        asyncio.run(run())
        assert limits.problem(flow) is None
        assert not limits.is_cut(flow)
        assert not flow_state.of(flow).retried
