"""When the rules are reloaded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from addon.rules import reload


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
            await reload.watch(lambda: next(paths), reload.signature(folder / "a"), changed)
        except RuntimeError:  # The paths are used up.
            return

    asyncio.run(watch())
    assert len(calls) == reads


def test_signature(folder: Path) -> None:
    """A change in place, a file renamed over it and a new target of a link all change it."""
    link = folder / "link"
    link.symlink_to("a")
    found = {reload.signature(link)}
    (folder / "a").write_text("other")
    os.utime(folder / "a", ns=(1, 2))
    found.add(reload.signature(link))
    os.utime(folder / "a", ns=(1, 3))
    found.add(reload.signature(link))
    link.unlink()
    link.symlink_to("b")
    os.utime(folder / "b", ns=(1, 3))
    found.add(reload.signature(link))
    assert len(found) == 4
    assert reload.signature(link) == reload.signature(link) != reload.signature(folder / "b")


@pytest.mark.parametrize("name", ["none", "a/below a file", "zero\0byte"])
def test_no_file(folder: Path, name: str) -> None:
    """A missing file is not an error; it may appear later."""
    assert reload.signature(folder / name) is None


@pytest.fixture
def hangup() -> Iterator[None]:
    """Restore the handler of SIGHUP."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.usefixtures("hangup")
def test_sighup(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP reloads the rules; in a terminal it ends the process, as usual."""
    monkeypatch.setattr(os, "isatty", lambda _: terminal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def hang_up() -> bool:
        called = asyncio.Event()
        reload.on_sighup(called.set)
        if terminal:
            return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(60):
            return await called.wait()

    assert asyncio.run(hang_up()) is not terminal
