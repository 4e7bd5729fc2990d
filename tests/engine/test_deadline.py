"""The time limit for an HTTP/1 head, with a clock that the test moves."""

from __future__ import annotations

import pytest
from support.clock import Clock

from addon.engine.deadline import Deadline


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    return Clock(monkeypatch)


def test_deadline(clock: Clock) -> None:
    """The limit is reported once its time has come, and only one call waits for it."""
    limit = Deadline(clock.wake_up, clock.note)
    limit.check()
    assert clock.calls == []
    limit.ends = clock.now + 10
    limit.check()
    limit.check()
    assert len(clock.calls) == 1
    clock.pass_until(1009)
    assert clock.late == []
    clock.pass_until(1011)
    assert clock.late == [1010]


def test_deadline_of_the_next_head(clock: Clock) -> None:
    """The call for a head that is complete goes on to watch the next one."""
    limit = Deadline(clock.wake_up, clock.note)
    limit.ends = clock.now + 10
    limit.check()
    limit.ends = None
    clock.pass_until(1005)
    limit.ends = clock.now + 10
    limit.check()
    assert len(clock.calls) == 1
    clock.pass_until(1014)
    assert clock.late == []
    clock.pass_until(1016)
    assert clock.late == [1015]


def test_no_head(clock: Clock) -> None:
    """After the last head nothing is reported, and no call is left."""
    limit = Deadline(clock.wake_up, clock.note)
    limit.ends = clock.now + 10
    limit.check()
    limit.ends = None
    clock.pass_until(1100)
    assert (clock.late, clock.calls) == ([], [])
