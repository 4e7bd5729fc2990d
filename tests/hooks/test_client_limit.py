"""How many clients may be connected at once."""

from __future__ import annotations

from typing import Any

import pytest

from addon.hooks import open_files
from addon.hooks.client_limit import ClientLimit, Connected
from addon.rules.model import Limits


class Connection:
    """Holds so many bytes back."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As asyncio's transports."""
        return self.size


@pytest.mark.parametrize(
    ("wanted", "files", "expected"),
    [
        (10_000, None, 10_000),
        (10_000, 2**20, 10_000),
        (10_000, 20_200, 10_000),
        (10_000, 20_199, 9_999),
        (10_000, 1024, 412),
        (100, 1024, 100),
        # Of few files half are for other things.
        (10_000, 64, 16),
        (10_000, 3, 1),
        (1, 1024, 1),
    ],
)
def test_in_force(wanted: int, files: int | None, expected: int) -> None:
    """Each client may need two open files, and some are for other things."""
    assert open_files.clients(wanted, files) == expected


def test_those_who_are_there() -> None:
    """Whoever was turned away counts for nothing, also when it leaves."""
    clients = Connected()
    assert clients.admit("a", 2)
    assert clients.admit("b", 2)
    assert not clients.admit("c", 2)
    clients.leave("c", None)
    assert not clients.admit("d", 2)
    clients.leave("a", None)
    assert clients.admit("e", 2)


def test_one_gives_way() -> None:
    """Until it has left there is one more."""
    clients = Connected()
    assert clients.admit("a", 1)
    clients.admit_for_another("b")
    clients.leave("a", None)
    assert not clients.admit("c", 1)
    clients.leave("b", None)
    assert clients.admit("c", 1)


def test_until_the_last_byte_is_written() -> None:
    """A connection that mitmproxy has forgotten counts until its client has taken everything."""
    clients, slow = Connected(), Connection(1)
    clients.admit("a", 1)
    clients.leave("a", slow)
    assert not clients.admit("b", 1)
    slow.size = 0
    assert clients.admit("b", 1)


@pytest.mark.parametrize(
    ("limits", "files", "warned"),
    [
        *((Limits(), files, warned) for files, warned in ((20_000, False), (1_000, True))),
        *(
            (Limits(connections=9_999), n, warned)
            for n, warned in ((20_198, False), (20_000, True))
        ),
        (Limits(connections=100, flows=1_000), 500, False),
    ],
)
def test_few_files(
    limits: Limits, files: int, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The log says so if that is less than was asked for, or than there may be requests."""
    monkeypatch.setattr(open_files, "allowed", lambda: files)
    limit = ClientLimit()
    limit.use(limits)
    limit.use(limits)
    assert len(caplog.records) == warned
