"""Passes ended requests to the access log and the metrics, if they are on."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..errors.replies import Refusal
from . import request_lines
from .access_log import AccessLog, line
from .measured import Ended, State

if TYPE_CHECKING:
    from .metrics import Metrics
    from .metrics_listener import MetricsListener


class Reports:
    """The access log and the metrics.

    Args:
        state: returns the state of the proxy, for the metrics.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self.wanted = False
        """Whether either of them is on."""
        self._state = state
        self._access_log: AccessLog | None = None
        self._line: Callable[[Ended], str] = line
        self._metrics: Metrics | None = None
        self._listener: MetricsListener | None = None
        self._address = ""
        self.started = False
        """Whether the event loop runs."""

    def write_to(self, path: str) -> None:
        """Write the access log to a file, "" for none; at a terminal it is for people.

        Raises:
            ValueError: the file cannot be opened; the old one stays.
        """
        old = self._access_log
        if path == (old.path if old else ""):
            return
        try:
            self._access_log = log = AccessLog(path) if path else None
        except OSError as error:
            raise ValueError(error.strerror) from None
        self._line = line
        if log is not None and log.at_terminal:
            self._line = partial(request_lines.line, colour=request_lines.has_colours())
        if old is not None:
            old.close()
        self._update()

    def listen_on(self, address: str) -> None:
        """Serve metrics at an address (see `metrics_listener.parse_address`), "" for none.

        Raises:
            ValueError: the address cannot be used; the old one stays.
        """
        if address == self._address:
            return
        # Loaded only if needed: the library takes a tenth of the start time.
        from .metrics import Metrics
        from .metrics_listener import MetricsListener

        old, metrics = self._listener, self._metrics or Metrics(self._state)
        try:
            listener = MetricsListener(address, metrics.page) if address else None
        except socket.gaierror as error:
            raise ValueError(error.strerror) from None
        except OSError as error:
            # The text of asyncio's or socket's own repeats the address.
            raise ValueError(os.strerror(error.errno or 0)) from None
        if old is not None:
            old.close()
        self._listener, self._address = listener, address
        self._metrics = metrics if address else None
        if listener is not None and self.started:
            listener.start()
        self._update()

    def start(self) -> None:
        """Start the listener, now that the event loop runs."""
        self.started = True
        if self._listener is not None:
            self._listener.start()

    def add(self, ended: Ended) -> None:
        """Report a request that has ended."""
        if self._access_log is not None:
            self._access_log.add(self._line(ended))
        if self._metrics is not None:
            self._metrics.count(ended)

    def count_refused(self, why: Refusal) -> None:
        """Count a refusal that happened before there was any request."""
        if self._metrics is not None:
            self._metrics.count_refused(why)

    def close(self) -> None:
        """Close both."""
        self.started = False
        if self._access_log is not None:
            self._access_log.finish()
            self._access_log = None
        self.listen_on("")
        self._update()

    def _update(self) -> None:
        self.wanted = self._access_log is not None or self._metrics is not None
