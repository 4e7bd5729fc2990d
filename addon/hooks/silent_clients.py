"""How long a client's connection may be silent.

mitmproxy closes a silent connection after `tcp_timeout` (ten minutes), even while an answer is
awaited. That would override the limits in the rules, and would close idle connections just when a
load balancer in front uses them again. So its watchdog is switched off and replaced, unless the
user has set the option.
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
"""Upstream limits end so many seconds earlier, so that the client gets an answer about them."""

OPTION = "tcp_timeout"
"""mitmproxy 11.0 has no such option, but the same limit."""

STALLED_SECONDS = 600
"""The default of `tcp_timeout`."""

STALLED = "no bytes in either direction for too long"


def allowed(
    *, busy: bool, events: bool, stalled: float, limits: Limits, upstream: Upstream
) -> float | None:
    """Return for how many seconds a connection may be silent; None for no limit.

    Args:
        busy: whether a request is in flight.
        events: whether an event stream is in flight.
        stalled: seconds for a client that stalls while a request is in flight.
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
    """Return a warning about limits without effect under this `tcp_timeout`; None if all work.

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
    """Closes silent connections of clients."""

    def __init__(self) -> None:
        self._timers = Timers()
        self.forget = self._timers.stop
        """Drop the timer of a client that has gone, by its id."""

    def connected(self, client: Client, rules: Callable[[], Rules]) -> None:
        """Watch a client that has connected; `rules` returns the rules in force."""
        if set_by_user() is None and connections.put_watchdog_off(client):
            self._look(client, rules)

    def _look(self, client: Client, rules: Callable[[], Rules]) -> None:
        if (silent := connections.silence(client)) is None:
            return
        in_force = rules()
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
        # Requests in flight now may be over soon.
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
    """Return `tcp_timeout` in seconds if it was set, otherwise None."""
    return ctx.options.tcp_timeout if lean.is_set(ctx.options, OPTION) else None
