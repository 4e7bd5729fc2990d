"""How a reading of the rules ended, as other processes see it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from addon.rules import last_read
from addon.rules.last_read import NAME, LastRead, Reading

FIRST = Reading(1.5, "/etc/rules.yaml", None)
SECOND = Reading(2.5, "/etc/rules.yaml", "mounts: 7: expected a list\n\u00fc")


@pytest.fixture
def shown() -> Iterator[LastRead]:
    """The last reading of this process."""
    shown = LastRead()
    yield shown
    shown.close()


def test_the_last_reading_counts(shown: LastRead) -> None:
    """Each replaces the one before, and none is left at the end."""
    assert last_read.of(os.getpid()) is None
    for reading in (FIRST, SECOND):
        shown.put(reading)
        assert last_read.of(os.getpid()) == reading
    shown.close()
    assert last_read.of(os.getpid()) is None


def seen_by(user: int) -> bool:
    """Return whether another process sees a reading of this one."""
    reader = os.fork()
    if reader == 0:
        os.setuid(user)
        os._exit(last_read.of(os.getppid()) is None)
    return os.waitpid(reader, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_only_the_same_user_sees_a_reading(shown: LastRead) -> None:
    """Other processes of the same user see a reading, and those of other users do not."""
    shown.put(FIRST)
    assert seen_by(os.geteuid())
    if os.geteuid() == 0:
        assert not seen_by(65534)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'{"began": "x", "path": "", "problem": null}', b'{"began": 1}'],
)
def test_a_file_without_a_reading(content: bytes) -> None:
    """Content that is not a reading, or only half of one, counts as none."""
    other = os.memfd_create(NAME)
    try:
        os.write(other, content)
        assert last_read.of(os.getpid()) is None
    finally:
        os.close(other)


def test_no_process() -> None:
    """A process that has ended is no proxy."""
    assert last_read.of(2**22 + 1) is None
