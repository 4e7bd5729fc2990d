"""`reload`: running proxies read their rules again."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..rules import last_read
from ..rules.last_read import Reading
from .completion import Add

TAKEN, REFUSED, UNKNOWN = 0, 1, 2
"""Exit codes; the highest of all proxies counts."""

SECONDS = 10.0
"""How long a proxy may take."""
_INTERVAL = 0.02


def add(command: Add) -> None:
    """Add `reload` to the commands of a parser."""
    reload = command(
        "reload",
        "make running proxies read their rules again, and say whether they took them",
        "mlflow-proxy reload",
        "mlflow-proxy reload 4711",
    )
    reload.add_argument(
        "pid",
        nargs="*",
        type=int,
        metavar="PID",
        help="process of a proxy, or the one that runs its workers; default: all of this user",
    )
    reload.set_defaults(run=_reload)


def _reload(arguments: argparse.Namespace) -> int:
    code = TAKEN
    for asked in arguments.pid or [None]:
        proxies = [pid for pid in _candidates(asked) if last_read.of(pid)]
        if not proxies:
            other = f"{asked}: no proxy, or one of another user"
            none = "no proxy of this user runs here" if asked is None else other
            print(f"reload: {none}", file=sys.stderr)
            code = UNKNOWN
        for pid in proxies:
            code = max(code, _say(pid, _ask(pid)))
    return code


def _candidates(asked: int | None) -> Sequence[int]:
    """Return a process and its children; without one, all processes of this user."""
    if asked is None:
        return sorted(pid for pid in _processes() if _is_own(pid))
    return [asked, *sorted(pid for pid in _processes() if _parent(pid) == asked)]


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))


def _is_own(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    return False


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        # The name, in parentheses, may contain anything (proc_pid_stat(5)).
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return None


def _ask(pid: int) -> Reading | None:
    """Make a proxy read its rules; return that reading, or None if none came in time."""
    # A reading that began earlier may have missed the last change of the file.
    began = time.monotonic()
    with suppress(OSError):
        os.kill(pid, signal.SIGHUP)
        while time.monotonic() < began + SECONDS:
            time.sleep(_INTERVAL)
            reading = last_read.of(pid)
            if reading is None:
                break
            if reading.began >= began:
                return reading
    return None


def _say(pid: int, reading: Reading | None) -> int:
    if reading is None:
        print(f"{pid}: no answer", file=sys.stderr)
        return UNKNOWN
    if reading.problem is None:
        print(_printable(f"{pid}: taken: {reading.path}"))
        return TAKEN
    problem = f"{pid}: refused, the old rules stay in force: {reading.problem}"
    print(_printable(problem), file=sys.stderr)
    return REFUSED


def _printable(text: str) -> str:
    """Replace control characters: another user's process may have written the text."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
