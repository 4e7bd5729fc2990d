"""mitmproxy's options body_size_limit and stream_large_bodies, for large bodies."""

from __future__ import annotations

from enum import Enum, auto

from mitmproxy import http
from mitmproxy.utils import human

from ..protocol import framing
from ..protocol.headers import read


class Verdict(Enum):
    """How to treat a body."""

    HOLD = auto()
    STREAM = auto()
    REFUSE = auto()


class Sizes:
    """The limits in force.

    Args:
        most: body_size_limit, such as "1m"; None for no limit.
        held: stream_large_bodies; None for no limit.
    """

    def __init__(self, most: str | None, held: str | None) -> None:
        self._most = human.parse_size(most)
        self._held = human.parse_size(held)
        self.are_limited = self._most is not None or self._held is not None

    def judge(self, size: int | None) -> Verdict:
        """Return how to treat a body of so many bytes (None if unknown)."""
        if size is None:
            return Verdict.HOLD
        if self._most is not None and size > self._most:
            return Verdict.REFUSE
        if self._held is not None and size > self._held:
            return Verdict.STREAM
        return Verdict.HOLD

    def judge_head(self, message: http.Message) -> Verdict:
        """Return how to treat the body of a message, given the length that it announces."""
        return self.judge(framing.announced(read(message.headers.fields)))
