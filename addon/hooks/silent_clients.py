"""How long nothing may happen on a client's connection.

mitmproxy closes it after `tcp_timeout` (ten minutes), whatever it waits for. That would stand above
the limits of ours, and it closes idle connections just when a load balancer in front uses them
again. So its watchdog is put off, and another looks in its place; but where somebody has set the
option, that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mitmproxy import ctx
from mitmproxy.connection import Client

from ..engine import connections
from ..protocol import bodies
from ..rules.model import Limits, Rules, Upstream
from . import answering, lean
from .timers import Timers

MARGIN = 10
"""Seconds by which a limit for the upstream comes first: then there is an answer that says so."""

OPTION = "tcp_timeout"
"""mitmproxy 11.0 has no such option, but the same limit."""

STALLED_SECONDS = 600
"""Its default."""

STALLED = "nothing has come or gone for too long"


def allowed(
    *, busy: bool, events: bool, stalled: float, limits: Limits, upstream: Upstream
) -> float | None:
    """For how many seconds a connection may be silent; None for ever.

    Args:
        busy: whether a request is in flight.
        events: whether a stream of events is.
        stalled: seconds for a client that does not go on with what is in flight.
        limits: of the rules.
        upstream: of the rules.
    """
    if not busy:
        return limits.client_idle_timeout
    if events and not upstream.event_idle_timeout:
        return None
    longest = max(upstream.response_timeout, upstream.idle_timeout)
    longest = max(longest, limits.body_timeout, limits.send_timeout)
    if events:
        longest = max(longest, upstream.event_idle_timeout)
    return max(stalled, longest + MARGIN)


def warning(tcp_timeout: float, limits: Limits, upstream: Upstream) -> str | None:
    """Say which limits have no effect, because somebody has set `tcp_timeout`; None if none.

    Args:
        tcp_timeout: the option, in seconds.
        limits: of the rules.
        upstream: of the rules.
    """
    values = {
        "upstream.response_timeout": upstream.response_timeout,
        "upstream.idle_timeout": upstream.idle_timeout,
        "upstream.event_idle_timeout": upstream.event_idle_timeout,
        "limits.body_timeout": limits.body_timeout,
        "limits.send_timeout": limits.send_timeout,
        "limits.client_idle_timeout": limits.client_idle_timeout,
    }
    beyond = [f"{name} ({value:g})" for name, value in values.items() if value >= tcp_timeout]
    if not beyond:
        return None
    return f"tcp_timeout={tcp_timeout:g} closes silent connections before {', '.join(beyond)}"


class SilentClients:
    """Looks after the connections of clients."""

    def __init__(self) -> None:
        self._timers = Timers()
        self.forget = self._timers.stop
        """A client has gone; takes its id."""

    def connected(self, client: Client, rules: Callable[[], Rules | None]) -> None:
        """A client has connected; `rules` gives those in force."""
        if set_by_user() is None and connections.put_watchdog_off(client):
            self._look(client, rules)

    def _look(self, client: Client, rules: Callable[[], Rules | None]) -> None:
        if (silent := connections.silence(client)) is None or (in_force := rules()) is None:
            return
        flows = connections.flows(client)
        limit = allowed(
            busy=connections.is_busy(client),
            events=any(
                flow.response
                and bodies.is_event_stream(flow.response.headers.get("content-type", ""))
                for flow in flows
            ),
            stalled=ctx.options.tcp_timeout if OPTION in ctx.options else STALLED_SECONDS,
            limits=in_force.limits,
            upstream=in_force.upstream,
        )
        # What is in flight now may be over soon.
        left = in_force.limits.client_idle_timeout
        if limit is not None:
            left = min(left, limit - silent)
        if left > 0:
            self._timers.start(client.id, left, partial(self._look, client, rules))
            return
        for flow in flows:
            answering.log_cut(flow, STALLED)
        connections.close(client)


def set_by_user() -> float | None:
    """`tcp_timeout`, if somebody has set it."""
    return ctx.options.tcp_timeout if lean.is_set(ctx.options, OPTION) else None
