"""One request with its answer, between a client and a registry: its state, and its waiting.

The steps are those of mitmproxy's `HttpStream`, with its hooks in its order: head, body, answer's
head, answer's body. They are functions that take the exchange: `asking` has those of the request,
`to_registry` those of the connection, `answering` and `sending` those of the answer, and `endings`
those of errors. A step that waits for a hook or a connection passes the next step as a callback;
events that arrive meanwhile from either side wait in a queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.connection import Server

from ..routing import flow_state
from ..routing.flow_state import FlowState
from .back import Back
from .front import Front

if TYPE_CHECKING:
    from .layer import Engine

UNCOUNTED = 16 * 1024
"""Bytes of bodies that an exchange may always hold, uncounted."""


SMALL = 4 * 1024
"""Parts of a body are joined up to this size: each object costs forty bytes more than it holds."""


def keep(parts: list[bytes], data: bytes) -> None:
    """Append a part of a body to those that are held."""
    if parts and len(parts[-1]) + len(data) <= SMALL:
        parts[-1] += data
    else:
        parts.append(data)


class Asked(Enum):
    """What happens to the request's body."""

    HELD = auto()
    STREAMED = auto()
    DROPPED = auto()
    DONE = auto()


class Answered(Enum):
    """The progress of the answer."""

    NOT_YET = auto()
    AWAITED = auto()
    HELD = auto()
    STREAMED = auto()
    DONE = auto()
    FAILED = auto()


class Exchange:
    """See the head of this file.

    Args:
        engine: runs hooks and opens connections.
        front: the client's side.
        key: the front's key for this exchange.
    """

    def __init__(self, engine: Engine, front: Front, key: int) -> None:
        self.flow: http.HTTPFlow
        self.key = key
        self.engine = engine
        self.addon = engine.addon
        self.front = front
        self.upstream: Back | None = None
        self.asked = Asked.HELD
        self.body: list[bytes] = []
        """The parts of the request's body that are held."""
        self.held = 0
        """Bytes in `body`."""
        self.expects = False
        """Whether the request has an Expect header."""
        self.ended_with_head = False
        """Whether the request has no body."""
        self.answered = Answered.NOT_YET
        self.answer = bytearray()
        """The part of the answer's body that is held."""
        self.answer_ended_with_head = False
        """Whether the answer has no body."""
        self.counted = 0
        """Bytes of both bodies that the addon has counted."""
        self.gone: str | None = None
        """Why the client's side has ended, if it has."""
        self.over = False
        """Whether no further step is taken."""
        self.opening: Server | None = None
        """The connection for which it waits, if it does."""
        self.waits = False
        """Whether input has to wait for a hook or a connection."""
        self._queue: deque[Callable[[], None]] = deque()

    @property
    def is_open(self) -> bool:
        """Whether no hook has reported the end of the exchange yet."""
        return self.answered not in (Answered.DONE, Answered.FAILED) and not self.over

    # Waiting.

    def take(self, step: Callable[..., None], *values: Any) -> None:
        """Take a step now, or after those that wait.

        Args:
            step: a function of the exchange and some values.
            values: the values.
        """
        if self.waits:
            self._queue.append(partial(step, self, *values))
        elif not self.over:
            try:
                step(self, *values)
            except Exception as error:
                if not self.engine.ends_alone(self, error):
                    raise

    def hook(self, kind: Any, then: Callable[..., None], *values: Any) -> None:
        """Run a hook, then take a step."""
        if self.engine.hook(kind, self.flow, self.go_on, then, *values):
            then(self, *values)
        else:
            self.waits = True

    def go_on(self, then: Callable[..., None], *values: Any) -> None:
        """Take a step for which the others have waited, then those."""
        self.waits = False
        if self.over:
            return  # It was given up meanwhile.
        try:
            then(self, *values)
            while self._queue and not self.waits and not self.over:
                self._queue.popleft()()
        except Exception as error:
            if not self.engine.ends_alone(self, error):
                raise

    def give_up(self) -> None:
        """Stop: after an exception in the engine, its state cannot be trusted."""
        self.over = True
        self._queue.clear()
        self.close_upstream()

    # Values that are set by earlier steps.

    @property
    def state(self) -> FlowState:
        """The state of the flow; a hook may have put another one in its place."""
        return flow_state.of(self.flow)

    def response(self) -> http.Response:
        """Return the answer."""
        if (response := self.flow.response) is None:
            raise RuntimeError("there is no answer yet")
        return response

    def connected(self) -> Back:
        """Return the connection to the registry."""
        if self.upstream is None:
            raise RuntimeError("there is no connection to the registry")
        return self.upstream

    # Both bodies.

    def is_room(self) -> bool:
        """Return whether the addon has room for the bodies held here; if so, it counts them."""
        size = self.held + len(self.answer)
        if not self.addon.hold(self.flow, size - self.counted):
            return False
        self.counted = size
        return True

    def is_too_much(self, size: int) -> bool:
        """Return whether there is no room for one of the bodies, of so many bytes."""
        return size > UNCOUNTED and not self.is_room()

    def note_body(self) -> None:
        """Record how many bytes of a held body of a request have arrived."""
        if self.body:
            self.state.bytes_in = sum(map(len, self.body))

    # The connection to the registry.

    def close_upstream(self) -> None:
        """Close it, if there is one."""
        if self.upstream is not None:
            self.upstream.close()

    def let_upstream_go(self) -> None:
        """Give it back, as no message is in progress on it."""
        if self.upstream is not None:
            self.upstream.release(self)
            self.upstream = None
