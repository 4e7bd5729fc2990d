"""When the rules are reloaded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from addon.rules import files, reload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files "a" and "b"."""
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("fresh")
    return tmp_path


@pytest.mark.parametrize(
    ("seen_at_each_check", "reads"),
    [
        ("aaa", 0),
        # A change counts after it has lasted for one interval; until then it may be half written.
        ("b", 0),
        ("bb", 1),
        ("bbbb", 1),
        ("baa", 0),
        ("bbaa", 2),
        # "-" is a missing file: an error that must be logged.
        ("-bb", 1),
        ("--", 1),
        ("--aa", 2),
    ],
)
def test_watch(
    folder: Path, seen_at_each_check: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed file is read once, after it has stayed the same for a while."""
    monkeypatch.setattr(reload, "INTERVAL", 0)
    paths = iter([folder / name for name in seen_at_each_check])
    calls = []

    async def changed() -> None:
        calls.append(1)

    async def watch() -> None:
        try:
            await reload.watch(lambda: next(paths), files.signature(folder / "a"), changed)
        except RuntimeError:  # The paths are used up.
            return

    asyncio.run(watch())
    assert len(calls) == reads


@pytest.fixture
def hangup() -> Iterator[None]:
    """Restore the handler of SIGHUP."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.usefixtures("hangup")
def test_sighup(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP reloads the rules, in a terminal too, as long as the terminal is there."""
    monkeypatch.setattr(os, "isatty", lambda _: terminal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def hang_up() -> None:
        called = asyncio.Event()
        assert reload.on_sighup(called.set)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(60):
            await called.wait()

    asyncio.run(hang_up())
