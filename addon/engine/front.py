"""The interface between an exchange and the client's side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mitmproxy import http
from mitmproxy.proxy import events


@dataclass
class SilentBodies(events.Event):
    """End the requests whose bodies have been silent for so many seconds."""

    seconds: float


@dataclass
class UntakenAnswers(events.Event):
    """End the HTTP/2 streams of which the client has taken nothing for so many seconds."""

    seconds: float


@dataclass
class GiveWay(events.Event):
    """Close the connection if it is idle, to make room for another."""


STOPPED_READING = "the client stopped reading in the middle of an answer"


class Front(Protocol):
    """A client's connection, HTTP/1 or HTTP/2."""

    def silence(self, waited: float) -> float | None:
        """Return for how many seconds an awaited body has been silent.

        Args:
            waited: seconds for which the proxy has waited for bytes of the client; 0 if it does
                not.

        Returns:
            The longest time; None if no body is awaited.
        """

    def end_silent(self, seconds: float, waited: float) -> None:
        """End the requests whose bodies have been silent for so long."""

    def give_way(self) -> None:
        """Close the idle connection."""

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last request."""

    def behind_what_is_there(self, then: Callable[[], None]) -> None:
        """Call a function at once, or once it is clear that no received bytes end the exchange."""

    def go_on(self, key: int) -> None:
        """Tell the client to send its body (100 Continue)."""

    def head(self, key: int, response: http.Response) -> None:
        """Send the head of an answer whose body follows."""

    def data(self, key: int, data: bytes) -> None:
        """Send a part of that body."""

    def answer(self, key: int, response: http.Response) -> None:
        """Send a whole answer."""

    def finish(self, key: int) -> None:
        """End a complete answer; the rest of the request, if any, is dropped."""

    def refuse(self, key: int, response: http.Response) -> None:
        """Send a whole answer to a request that is refused."""

    def abort(self, key: int) -> None:
        """End without an answer or in the middle of one, so that the client sees the failure."""
