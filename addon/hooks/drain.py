"""Shut down after SIGTERM without losing a request.

mitmproxy stops at once, and cuts requests in flight
(https://github.com/mitmproxy/mitmproxy/issues/3895). Here it takes three steps:

1. /readyz answers 503, and answers ask clients to close their connections. New clients are still
   served: load balancers need some time to notice. Without a load balancer there is no such time:
   `docker stop` would kill the process in the middle of it.
2. After that grace period the listeners and the connections that wait for a request are closed.
3. Requests in flight finish, or a deadline cuts them; then mitmproxy stops, with exit code 0.

A second SIGTERM stops at once, and so does Ctrl-C at any time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import Any

from mitmproxy import ctx

from ..engine import connections
from ..registry.health_service import HealthService
from ..rules.model import Drain as Limits
from . import sd_notify
from .connected import Connected
from .rules_in_force import RulesInForce

logger = logging.getLogger(__name__)

INTERVAL = 0.1
"""Seconds between two checks for open connections."""

QUIET = 0.5
"""After so many seconds without any event, a client is not about to send a request."""


class Drain:
    """The addon that shuts the proxy down.

    Args:
        rules: the rules in force; their limits count when the signal arrives.
        health: knows whether a load balancer asks for /readyz.
        connected: the connections that it waits for.
    """

    name = "mlflow-drain"

    def __init__(self, rules: RulesInForce, health: HealthService, connected: Connected) -> None:
        self._rules = rules
        self._health = health
        self._connected = connected
        self.begun = False
        self._task: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None

    def running(self) -> None:
        """Replace mitmproxy's handler of the signal."""

        def begin() -> None:
            if self.begun:
                self._end = asyncio.create_task(self._end_at_once())
            else:
                self.begun = True
                sd_notify.send("STOPPING=1")
                limits, watched = self._rules.get().rules.drain, self._health.is_watched()
                self._task = asyncio.create_task(self._run(limits, watched=watched))

        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)
        except (NotImplementedError, RuntimeError):
            # Windows, or not the main thread: the program that embeds mitmproxy stops it.
            logger.debug("no signals here: this proxy cannot drain")

    async def _run(self, limits: Limits, *, watched: bool) -> None:
        grace = limits.grace if watched else 0
        logger.warning(
            "draining: %g seconds of grace%s, then up to %g for what is in flight",
            grace,
            "" if watched else " (no load balancer asks for /readyz)",
            limits.timeout,
        )
        try:
            await asyncio.sleep(grace)
            ctx.options.update(server=False)
            async with asyncio.timeout(limits.timeout):
                await asyncio.sleep(INTERVAL)  # A client accepted just now has no record yet.
                while self._in_flight():
                    await asyncio.sleep(INTERVAL)
            logger.warning("drained")
        except TimeoutError:
            handlers = connections.handlers()
            logger.warning("the time to drain is over: %d connection(s) are cut", len(handlers))
            await _close_all()
        except Exception:
            logger.exception("draining has failed")
        finally:
            ctx.master.shutdown()

    async def _end_at_once(self) -> None:
        await _close_all()
        ctx.master.shutdown()

    def _in_flight(self) -> bool:
        """Close connections that wait for a request; return whether any connection was left."""
        handlers = connections.handlers()
        for handler in handlers:
            if not _in_use(handler):
                connections.close(handler.client)
        return bool(handlers or self._connected.waiting())


async def _close_all() -> None:
    """Close the connections of all clients.

    mitmproxy cancels open connections when it stops, which Python 3.11 reports as an error.
    """
    for handler in connections.handlers():
        connections.close(handler.client)
    await asyncio.sleep(INTERVAL)


def _in_use(handler: Any) -> bool:
    """Return whether a client has begun a request, or may be about to."""
    if time.time() - handler.timeout_watchdog.last_activity < QUIET:
        return True
    return connections.is_busy(handler.client)
