"""Log only once an error that asyncio would report over and over.

While a process has no open files left, each attempt to accept a client fails, and asyncio reports
it up to a hundred times a second, each time with a traceback (`_accept_connection` in
asyncio/selector_events.py). asyncio tries again every second, so the error needs no handling.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from .spell import Spell

logger = logging.getLogger(__name__)

NO_RESOURCE = "socket.accept() out of system resource"
"""The message of that report."""

Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], Any]


class LoopErrors:
    """The addon that wraps the event loop's exception handler."""

    name = "mlflow-loop-errors"

    def __init__(self) -> None:
        self._behind: Handler | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spell = Spell(_over)

    def running(self) -> None:
        """Become the exception handler of the running loop."""
        self._loop = loop = asyncio.get_running_loop()
        self._behind = loop.get_exception_handler()
        loop.set_exception_handler(self._report)

    def done(self) -> None:
        """Restore the loop's handler, unless another one has been set since."""
        if self._loop is not None and self._loop.get_exception_handler() == self._report:
            self._loop.set_exception_handler(self._behind)
        self._loop = None

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") == NO_RESOURCE:
            if self._spell.happens():
                reason = getattr(context.get("exception"), "strerror", None)
                logger.error("clients cannot be accepted and have to wait: %s", reason)
        elif self._behind is not None:
            self._behind(loop, context)
        else:
            loop.default_exception_handler(context)


def _over(_: int) -> None:
    logger.warning("clients are accepted again")
