"""The limit for requests in flight."""

from __future__ import annotations

from addon.hooks.in_flight import InFlight


class Connection:
    """A transport with this number of bytes still to send."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As in asyncio's transports."""
        return self.size


def test_a_request_counts_until_its_answer_is_sent() -> None:
    """A finished request counts while its answer waits in memory."""
    requests, slow = InFlight(), Connection(1)
    requests.begin("a")
    requests.begin("b")
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


def test_what_does_not_count() -> None:
    """An answer without a client and a refused request do not count."""
    requests = InFlight()
    requests.begin("a")
    requests.end("a", None)
    requests.end("b", Connection(1))
    assert requests.count() == 0
