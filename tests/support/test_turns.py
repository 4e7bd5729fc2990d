"""Turns for tests in several processes."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.turns import turn
from support.waiting import eventually


def is_shut(door: Path) -> bool:
    with door.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_turns(tmp_path: Path) -> None:
    """An exclusive turn waits for the current turns to end, and all later turns wait for it."""
    order: list[str] = []

    def take(name: str, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with turn(tmp_path, alone=False):
            take("beside", alone=False)
            waiting = [pool.submit(take, "alone", True)]
            eventually(lambda: is_shut(tmp_path / "door"))
            waiting.append(pool.submit(take, "after", False))
            order.append("first")
        for each in waiting:
            each.result()
    assert order == ["beside", "first", "alone", "after"]
