"""What an exchange asks of a client's side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mitmproxy import http
from mitmproxy.proxy import events


@dataclass
class SilentBodies(events.Event):
    """Requests have to end whose bodies have not gone on for so many seconds."""

    seconds: float


@dataclass
class UntakenAnswers(events.Event):
    """Streams of HTTP/2 have to end whose clients have taken nothing for so many seconds."""

    seconds: float


@dataclass
class GiveWay(events.Event):
    """A connection has to end if it is idle, in favour of another."""


STOPPED_READING = "the client stopped reading in the middle of an answer"


class Front(Protocol):
    """A client's connection, by whichever version of HTTP."""

    def silence(self, waited: float) -> float | None:
        """Tell for how many seconds a body that is awaited has not gone on.

        Args:
            waited: seconds for which the client has had its turn to send; 0 if it has not.

        Returns:
            The longest time; None if no body is awaited.
        """

    def end_silent(self, seconds: float, waited: float) -> None:
        """End the requests whose bodies have not gone on for so long."""

    def give_way(self) -> None:
        """Close the connection, on which nothing is under way."""

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """Call a function: at once, or when it is clear that what has come ends no exchange."""

    def go_on(self, key: int) -> None:
        """Tell the client to send its body (100 Continue)."""

    def head(self, key: int, response: http.Response) -> None:
        """Send the head of an answer whose body follows."""

    def data(self, key: int, data: bytes) -> None:
        """Send a part of that body."""

    def answer(self, key: int, response: http.Response) -> None:
        """Send a whole answer."""

    def finish(self, key: int) -> None:
        """The answer is complete, and nobody waits for what is left of the request."""

    def refuse(self, key: int, response: http.Response) -> None:
        """Send a whole answer to a request that cannot be understood."""

    def abort(self, key: int) -> None:
        """End without an answer, or in the middle of one, so that the client sees it."""
