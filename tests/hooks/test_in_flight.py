"""How many requests are served at once."""

from __future__ import annotations

from addon.hooks.in_flight import InFlight


class Connection:
    """Holds so many bytes back."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As asyncio's transports."""
        return self.size


def test_until_the_last_byte_is_written() -> None:
    """A request that is over counts while its answer waits in memory."""
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
    """A client that has gone reads nothing, and what was refused was never served."""
    requests = InFlight()
    requests.begin("a")
    requests.end("a", None)
    requests.end("b", Connection(1))
    assert requests.count() == 0
