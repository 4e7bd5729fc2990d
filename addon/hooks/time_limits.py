"""Time limits, mostly for the upstream, that mitmproxy does not have.

mitmproxy waits for a connection as long as the kernel does, and for an answer as long as the client
does (see `silent_clients`). Here a timer per flow cuts the upstream's connection, and the flow is
then handled like any flow with a broken connection.

Time in which the proxy does not read, because the client does not take the bytes read before, does
not count against the upstream.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial

from mitmproxy import http
from mitmproxy.connection import Client, Connection

from ..engine import connections
from ..errors.replies import Problem
from ..internals.wide_reads import WideReader
from ..protocol import bodies
from ..routing import flow_state
from ..rules.model import Upstream
from . import answering
from .timers import Timers

NO_CONNECTION = Problem("it did not answer in time", "connection_timeout")
NO_RESPONSE = Problem("it did not answer in time", "http_response_timeout")
NO_DATA = Problem("it stopped sending in the middle of an answer", "connection_read_timeout")
NOT_READING = Problem("it stopped reading in the middle of a request", "connection_write_timeout")


def idle_limit(limits: Upstream, content_type: str) -> float | None:
    """Return for how many seconds the body of an answer may pause; None for no limit."""
    if bodies.is_event_stream(content_type):
        return limits.event_idle_timeout or None
    return limits.idle_timeout


class TimeLimits:
    """Timers for connections and flows, by id."""

    def __init__(self) -> None:
        self._timers = Timers()
        self.stop = self._timers.stop
        """Stop the timer: a connection (and its TLS, if any) was made, or has failed."""
        self._expired: dict[str, Problem] = {}

    def connected(self, client: Client, seconds: float) -> None:
        """Limit the time until a client begins its first request, including TLS, if any."""
        self._timers.start(client.id, seconds, partial(connections.close, client))

    def connecting(self, client: Client, connection: Connection, limits: Upstream) -> None:
        """Limit the time of a connection attempt; called in the task that makes it."""
        task = asyncio.current_task()
        if task is None:
            return

        def end() -> None:
            if task.done():
                return  # Cancelled before its turn, so no hook has stopped this timer.
            begun = connection.timestamp_start
            # mitmproxy opens five at once per client; one that waits for its turn has not begun.
            left = begun + limits.connect_timeout - time.time() if begun else math.inf
            if left > 0:
                seconds = min(left, limits.connect_timeout)
                self._timers.start(connection.id, seconds, end)
                return
            self._expired[client.id] = NO_CONNECTION
            task.cancel(NO_CONNECTION.sentence)

        self._expired.pop(client.id, None)
        self._timers.start(connection.id, limits.connect_timeout, end)

    def sending(self, flow: http.HTTPFlow, limits: Upstream) -> None:
        """Limit pauses of an upstream that reads a streamed request body."""
        self._check_sending(flow, limits, -1)

    def sent(self, flow: http.HTTPFlow, limits: Upstream) -> None:
        """The request is complete: one timer checks the answer and re-arms itself as needed."""
        deadline = time.monotonic() + limits.response_timeout
        if flow.is_replay is None:
            check = partial(self._check_answer, flow, limits, deadline)
            seconds = min(limits.response_timeout, limits.idle_timeout)
            self._timers.start(flow.id, seconds, check)

    def problem(self, flow: http.HTTPFlow) -> Problem | None:
        """Return why a time limit ended the flow; None if none did."""
        return self._expired.get(flow.id) or self._expired.get(flow.client_conn.id)

    def is_cut(self, flow: http.HTTPFlow) -> bool:
        """Return whether an answer was cut, by a time limit or a reset of the upstream.

        A server that refuses a request before reading all of it also resets the connection, so an
        error without a length counts as whole.
        """
        if flow.id in self._expired:
            return True
        server = connections.io(flow.client_conn, flow.server_conn)
        reset = server is not None and getattr(server.reader, "broken", False)
        return reset and flow.response is not None and flow.response.status_code < 400

    def forget(self, key: str) -> None:
        """Drop the timer and the problem of a flow or a client that has ended."""
        self._timers.stop(key)
        if self._expired:
            self._expired.pop(key, None)

    def _arm(self, flow: http.HTTPFlow, seconds: float, check: Callable[[], None]) -> None:
        if connections.handler(flow.client_conn) is None:
            self.stop(flow.id)  # A replayed flow: no client waits for it.
        else:
            self._timers.start(flow.id, seconds, check)

    def _check_sending(self, flow: http.HTTPFlow, limits: Upstream, read_before: int) -> None:
        if flow.response is not None:
            self._check_body(flow, limits)  # An answer before the end of the request.
            return
        client = connections.io(flow.client_conn, flow.client_conn)
        server = connections.io(flow.client_conn, flow.server_conn)
        read = client.reader.total if client and isinstance(client.reader, WideReader) else 0
        stuck = server is not None and server.writer.transport.get_write_buffer_size() > 0
        if stuck and read == read_before:
            self.end(flow, NOT_READING)
        else:
            check = partial(self._check_sending, flow, limits, read if stuck else -1)
            self._arm(flow, limits.idle_timeout, check)

    def _check_answer(self, flow: http.HTTPFlow, limits: Upstream, deadline: float) -> None:
        if flow.response is not None:
            self._check_body(flow, limits)
            return
        if connections.io(flow.client_conn, flow.server_conn) is None:
            # Not even connected: that has its own limit.
            deadline = time.monotonic() + limits.response_timeout
        if (left := deadline - time.monotonic()) <= 0:
            self.end(flow, NO_RESPONSE)
        else:
            check = partial(self._check_answer, flow, limits, deadline)
            self._arm(flow, min(left, limits.idle_timeout), check)

    def _check_body(self, flow: http.HTTPFlow, limits: Upstream) -> None:
        """Check an answer that has begun.

        A held answer, such as an error, reaches the client only at its end; so its end has the same
        deadline as a head.
        """
        server = connections.io(flow.client_conn, flow.server_conn)
        if server is None or not isinstance(server.reader, WideReader):
            return
        response = flow.response
        held = response is not None and response.stream is False
        content_type = response.headers.get("content-type", "") if response else ""
        if (limit := idle_limit(limits, "" if held else content_type)) is None:
            return
        left = limit - server.reader.waited()
        if response is not None and held:
            took = time.time() - response.timestamp_start
            left = min(left, limits.response_timeout - took)
        if left <= 0:
            self.end(flow, NO_DATA)
        else:
            self._arm(flow, left, partial(self._check_body, flow, limits))

    def end(self, flow: http.HTTPFlow, problem: Problem) -> None:
        """Cut the upstream's connection of a flow, and remember why."""
        self.stop(flow.id)
        server = connections.io(flow.client_conn, flow.server_conn)
        if server is not None:
            self._expired[flow.id] = problem
            if flow.response is not None and flow.response.stream:
                answering.log_cut(flow, problem.sentence)
            flow_state.of(flow).retried = True  # No retry with an upstream that is too slow.
            # Abort, not close: bytes left to write would keep the client waiting.
            server.writer.transport.abort()
