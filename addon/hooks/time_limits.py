"""Time limits, mostly towards the upstream, which mitmproxy does not have.

It waits for a connection as long as the kernel does, and for an answer as long as the client (see
`silent_clients`). Here a timer per flow cuts the upstream's connection, and
the flow takes the way of a broken one.

Time in which we do not read, because the client does not take what was read before, is the
client's and does not count.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from functools import partial

from mitmproxy import http
from mitmproxy.connection import Client, Connection

from ..engine import connections
from ..engine.interface import RETRIED
from ..errors.replies import Problem
from ..internals.wide_reads import WideReader
from ..protocol import bodies
from ..rules.model import Upstream
from . import answering
from .timers import Timers

logger = logging.getLogger(__name__)

NO_CONNECTION = Problem("it did not answer in time", "connection_timeout")
NO_RESPONSE = Problem("it did not answer in time", "http_response_timeout")
NO_DATA = Problem("it stopped sending in the middle of an answer", "connection_read_timeout")
NOT_READING = Problem("it stopped reading in the middle of a request", "connection_write_timeout")


def idle_limit(limits: Upstream, content_type: str) -> float | None:
    """For how many seconds the body of an answer may stop; None for ever."""
    if bodies.is_event_stream(content_type):
        return limits.event_idle_timeout or None
    return limits.idle_timeout


class TimeLimits:
    """Timers for connections and flows, by their ids."""

    def __init__(self) -> None:
        self._timers = Timers()
        self.stop = self._timers.stop
        """A connection (with TLS, where there is any) was made, or was not."""
        self._expired: dict[str, Problem] = {}

    def connected(self, client: Client, seconds: float) -> None:
        """A client has so much time to begin its first request, with TLS where there is any."""
        self._timers.start(client.id, seconds, partial(connections.close, client))

    def connecting(self, client: Client, connection: Connection, limits: Upstream) -> None:
        """Begin of a connection attempt: called in the task that makes it."""
        task = asyncio.current_task()
        if task is None:
            return

        def end() -> None:
            begun = connection.timestamp_start
            # mitmproxy makes five at once for a client; one that waits for its turn has not begun.
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
        """A request body begins to flow."""
        self._check_sending(flow, limits, -1)

    def sent(self, flow: http.HTTPFlow, limits: Upstream) -> None:
        """The request is complete. One timer sees to all that follows: it looks again in time."""
        deadline = time.monotonic() + limits.response_timeout
        if flow.is_replay is None:
            check = partial(self._check_answer, flow, limits, deadline)
            seconds = min(limits.response_timeout, limits.idle_timeout)
            self._timers.start(flow.id, seconds, check)

    def problem(self, flow: http.HTTPFlow) -> Problem | None:
        """Why a flow was ended here, if it was."""
        return self._expired.get(flow.id) or self._expired.get(flow.client_conn.id)

    def is_cut(self, flow: http.HTTPFlow) -> bool:
        """Tell whether an answer was cut, here or by a reset of the upstream's connection.

        Who refuses a request before it has read all of it resets the connection, too: an error
        that has no length is taken for whole.
        """
        if flow.id in self._expired:
            return True
        server = connections.io(flow.client_conn, flow.server_conn)
        reset = server is not None and getattr(server.reader, "broken", False)
        return reset and flow.response is not None and flow.response.status_code < 400

    def forget(self, key: str) -> None:
        """A flow or a client has ended."""
        self._timers.stop(key)
        if self._expired:
            self._expired.pop(key, None)

    def _arm(self, flow: http.HTTPFlow, seconds: float, check: Callable[[], None]) -> None:
        if connections.handler(flow.client_conn) is None:
            self.stop(flow.id)  # A replayed flow: nobody waits for it.
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
        left = deadline - time.monotonic()
        if flow.response is not None:
            self._check_body(flow, limits)
        elif connections.io(flow.client_conn, flow.server_conn) is None:
            # Not even connected: that has a limit of its own.
            deadline = time.monotonic() + limits.response_timeout
            check = partial(self._check_answer, flow, limits, deadline)
            self._arm(flow, min(limits.response_timeout, limits.idle_timeout), check)
        elif left <= 0:
            self.end(flow, NO_RESPONSE)
        else:
            check = partial(self._check_answer, flow, limits, deadline)
            self._arm(flow, min(left, limits.idle_timeout), check)

    def _check_body(self, flow: http.HTTPFlow, limits: Upstream) -> None:
        """Look after an answer that has begun.

        What is held on to, such as an error, does not reach the client before its end; so that has
        to come as soon as a head has to.
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
        """Cut the upstream's connection of a flow, and say why."""
        self.stop(flow.id)
        server = connections.io(flow.client_conn, flow.server_conn)
        if server is not None:
            self._expired[flow.id] = problem
            if flow.response is not None and flow.response.stream:
                answering.log_cut(flow, problem.sentence)
            flow.metadata[RETRIED] = True  # Who was too slow once is not asked again.
            # Not closed: what is left to be written would keep the client waiting.
            server.writer.transport.abort()
