"""The limits for requests in flight, and for bodies and heads held in memory."""

from __future__ import annotations

from asyncio import WriteTransport

from addon.hooks.in_flight import InFlight


class Connection(WriteTransport):
    """A transport with this number of bytes still to send."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As in asyncio's transports."""
        return self.size


def _begun(*keys: str) -> InFlight:
    requests = InFlight()
    for key in keys:
        requests.begin(key)
    return requests


def test_a_request_counts_until_its_answer_is_sent() -> None:
    """A finished request counts while its answer waits in memory."""
    requests, slow = _begun("a", "b"), Connection(1)
    assert "a" in requests
    assert requests.reaches(2)
    assert not requests.reaches(3)
    requests.end("a", slow)
    assert "a" not in requests
    assert requests.reaches(2)
    requests.end("b", Connection(0))
    assert not requests.reaches(2)
    assert requests.count() == 1
    slow.size = 0
    assert requests.count() == 0


def test_uncounted_requests() -> None:
    """An answer without a client and a refused request do not count."""
    requests = _begun("a")
    requests.end("a", None)
    requests.end("b", Connection(1))
    assert requests.hold("b", 1000, 100)
    assert (requests.count(), requests.held()) == (0, 0)


def test_one_limit_for_all_bodies() -> None:
    """Bytes over the limit are not counted. Returned bytes make room."""
    requests = _begun("a", "b")
    assert requests.hold("a", 60, 100)
    assert not requests.hold("b", 41, 100)
    assert requests.hold("b", 40, 100)
    assert not requests.hold("a", 1, 100)
    requests.begin("a")
    assert requests.hold("a", -10, 100)
    assert requests.hold("b", 10, 100)
    assert requests.held() == 100
    requests.end("a", None)
    requests.end("a", None)
    assert requests.held() == 50


def test_a_head_is_counted_again_as_it_grows() -> None:
    """The bytes of a client's head replace those counted before; none drop it."""
    requests = _begun("a")
    assert requests.hold_head("client", 60, 100)
    assert requests.hold_head("client", 90, 100)
    assert not requests.hold_head("client", 101, 100)
    assert not requests.hold("a", 11, 100)
    assert requests.held() == 90
    requests.hold_head("client", 0, 0)
    requests.hold_head("client", 0, 0)
    assert requests.held() == 0
    assert requests.count() == 1


def test_held_bytes_count_until_they_are_sent() -> None:
    """Bytes that wait for a slow client count as held until the client takes them."""
    requests, slow = _begun("a", "b"), Connection(70)
    requests.hold("a", 90, 100)
    requests.end("a", slow)
    assert not requests.hold("b", 40, 100)
    assert requests.hold("b", 30, 100)
    slow.size = 0
    assert requests.hold("b", 70, 100)
    requests.end("b", Connection(0))
    assert requests.held() == 0


def test_the_list_of_answers_does_not_grow() -> None:
    """Finished answers are forgotten at the limit."""
    requests = InFlight()
    for number in range(1000):
        assert not requests.reaches(100)
        requests.begin(str(number))
        requests.end(str(number), Connection(0))
    assert len(requests._unsent) <= 100
