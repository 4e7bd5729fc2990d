"""Whose work a sampling profiler has met: the addon's, or that of what it runs in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import stack

HOOKS, HTTP_LAYER, OTHERS = "hooks", "http layer", "others"

_ADDON = f"{stack.ROOT / 'addon'}/"
# What stands where mitmproxy's own code would be: the HTTP engine with the grammar it reads by,
# its hook dispatch, its reads from sockets.
_IN_ITS_PLACE = tuple(
    f"{_ADDON}{name}" for name in ("engine/", "framing.py", "inline_hooks.py", "wide_reads.py")
)
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)")
# Frames of a process that waits, and of one that starts.
_WAITING = re.compile(r"^(\w+\.)*(select|poll|epoll_wait) \(")
_STARTING = re.compile(
    r"frozen importlib|/mitmproxy/(optmanager|addons/script)\.py|AddonManager\.(add|register) \("
)
_IN_THE_LOOP = re.compile(r"^(\w+\.)*_run_once \(")


def read(lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Parse what `py-spy record --format raw --full-filenames` writes.

    Yields:
        Frames from the outermost to the innermost, and how often they were met.
    """
    for line in lines:
        frames, _, count = line.rpartition(" ")
        if frames:
            yield frames.split(";"), int(count)


def is_request(frames: list[str]) -> bool:
    """Tell whether the event loop was at work, and not with the start."""
    return (
        any(map(_IN_THE_LOOP.search, frames))
        and not _WAITING.search(frames[-1])
        and not any(map(_STARTING.search, frames))
    )


def owner(frames: list[str]) -> str:
    """Tell whose work it was: of the innermost frame that is not the standard library's."""
    for frame in reversed(frames):
        match = _FRAME.fullmatch(frame)
        file = match["file"] if match else ""
        if file.startswith(_IN_ITS_PLACE):
            return HTTP_LAYER
        if file.startswith(_ADDON):
            return HOOKS
        if "/site-packages/" in file:
            return OTHERS
    return OTHERS


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Share of each owner in the work for requests, 0 to 1; and how many samples that were.

    Raises:
        ValueError: there was no such work.
    """
    counts = Counter({HOOKS: 0, HTTP_LAYER: 0, OTHERS: 0})
    for frames, count in read(lines):
        if is_request(frames):
            counts[owner(frames)] += count
    total = counts.total()
    if not total:
        raise ValueError("the profiler has met no work")
    return {name: count / total for name, count in counts.items()} | {"samples": total}
