"""Detects the dialects of the upstreams: at start, and again when their answers change.

Upstreams are asked through the proxy's own listeners, so that TLS, names and time limits are those
of a client's request. If a dialect is not clear, the rules decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from .diagnosis import advice
from .dialect import (
    PREFIXES,
    Ask,
    Finding,
    find,
    is_place,
)

logger = logging.getLogger(__name__)

Address = tuple[str, int] | tuple[str, int, str]
"""Host and port of an upstream, and the mount if it is a mount's own."""

AT_ONCE = 5.0
"""Seconds for which requests wait for the first answers."""
AGAIN = 5.0
"""Seconds between two questions, however many answers raise a doubt."""
PREFIXES_AT_ONCE = 4
"""Prefixes of clients that are tried, at most; one that serves nothing is removed again."""
SOON, LONGEST = 1.0, 60.0
"""Seconds until an unreachable upstream is asked again: the first pause, and the longest."""


class DialectWatch:
    """Detects dialects.

    Args:
        changed: called when `findings` has changed.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.findings: dict[Address, Finding] = {}
        """The last known dialect of each upstream."""
        self.unclear: set[Address] = set()
        """Upstreams whose last answers were not clear, or that were not asked yet."""
        self._changed = changed
        self._complaints: dict[Address, str] = {}
        """The last warning about each upstream whose dialect is not known."""
        self._prefixes: dict[Address, list[str]] = {}
        """Prefixes that clients use; only if the rules have no base path."""
        self._doubts: dict[Address, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.unasked: dict[Address, asyncio.Event] = {}
        """Upstreams that have not been asked yet."""

    async def all_answers(self) -> None:
        """Wait for all upstreams (see `first_answers`)."""
        await asyncio.gather(*map(self.first_answers, [*self.unasked]))

    async def first_answers(self, address: Address) -> None:
        """Wait until an upstream has been asked, at most `AT_ONCE` seconds."""
        if (asked := self.unasked.get(address)) is None:
            return
        try:
            await asyncio.wait_for(asked.wait(), AT_ONCE)
        except TimeoutError:
            self.unasked.pop(address, None)

    def start(self, upstreams: Mapping[Address, Ask], base_paths: Mapping[Address, str]) -> None:
        """Watch these upstreams in place of the previous ones.

        Args:
            upstreams: how to ask each of them.
            base_paths: their base paths in the rules, if they have any.
        """
        self.stop()
        self.findings = {}
        self.unasked = {address: asyncio.Event() for address in upstreams}
        self.unclear, self._complaints = set(upstreams), {}
        # A base path in the rules is final.
        self._prefixes = {address: [] for address in upstreams if not base_paths.get(address)}
        self._doubts = {address: asyncio.Event() for address in upstreams}
        self._tasks = [
            asyncio.create_task(self._follow(address, ask, base_paths.get(address, "")))
            for address, ask in upstreams.items()
        ]

    def stop(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        for address in [*self.unasked]:
            self._was_asked(address)
        self.unclear.clear()

    def is_unknown(self, address: Address) -> bool:
        """Return whether the rules decide for an upstream, because its dialect is not known."""
        return address in self.unclear and address not in self.findings

    def learn(self, address: Address, found: Finding) -> None:
        """Accept a finding from a client's request, if the upstream's own answers are not clear."""
        if address in self.unclear:
            self._accept(address, found)

    def hint(self, address: Address, prefix: str) -> None:
        """Note a prefix below which a client has asked for the API."""
        known, found = self._prefixes.get(address), self.findings.get(address)
        if known is None or prefix in known or len(known) >= PREFIXES_AT_ONCE:
            return
        if (address in self.unclear or (found and found.prefixes)) and is_place(prefix):
            known.append(prefix)
            self.doubt(address)

    def doubt(self, address: Address) -> None:
        """Ask an upstream again, because an answer does not fit its known dialect."""
        if (doubt := self._doubts.get(address)) is not None:
            doubt.set()

    async def _follow(self, address: Address, ask: Ask, base_path: str) -> None:
        pause = SOON
        while True:
            asked = time.monotonic()
            try:
                asked_below = (*self._prefixes.get(address, ()),)
                found = await asyncio.to_thread(find, ask, base_path, prefixes=asked_below)
                self._forget_prefixes(address, {*asked_below} - {*found.prefixes})
            except Exception:
                logger.exception("dialect of %s", shown(address))
                found = Finding(None, base_path, "an internal error", reachable=True)
            self._take(address, found)
            await self._reason_to_ask(self._doubts[address], None if found.reachable else pause)
            pause = min(2 * pause, LONGEST) if not found.reachable else SOON
            await asyncio.sleep(asked + AGAIN - time.monotonic() if found.reachable else 0)

    def _forget_prefixes(self, address: Address, absent: set[str]) -> None:
        if address in self._prefixes:
            kept = [prefix for prefix in self._prefixes[address] if prefix not in absent]
            self._prefixes[address] = kept

    async def _reason_to_ask(self, doubt: asyncio.Event, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(doubt.wait(), seconds)
        doubt.clear()

    def _take(self, address: Address, found: Finding) -> None:
        if found.dialect is not None:
            self.unclear.discard(address)
            self._accept(address, found)
        else:
            # The old finding is kept: it may still be right, and clients were served with it.
            self.unclear.add(address)
            complaint = " ".join((found.why, *found.prefixes))
            known = self.findings.get(address)
            if (known is None or found.prefixes) and self._complaints.get(address) != complaint:
                self._complaints[address] = complaint
                advised = advice(found, of_mount=len(address) > 2)
                hint = f"; {advised}" if advised else ""
                logger.warning("%s; the rules decide%s", say(address, found), hint)
        self._was_asked(address)

    def _was_asked(self, address: Address) -> None:
        if (asked := self.unasked.pop(address, None)) is not None:
            asked.set()

    def _accept(self, address: Address, found: Finding) -> None:
        before = self.findings.get(address)
        if before and (before.dialect, before.base_path) == (found.dialect, found.base_path):
            return
        self.findings[address] = found
        self._complaints.pop(address, None)
        self._changed()
        # No warning if this changes nothing.
        plain = before is None and found.dialect == "standard" and not found.base_path
        logger.log(logging.INFO if plain else logging.WARNING, "%s", say(address, found))


def shown(address: Address) -> str:
    """Return an upstream as people read it."""
    host, port, *mount = address
    return f"{host}:{port} of mount {mount[0]}" if mount else f"{host}:{port}"


def say(address: Address, found: Finding) -> str:
    """Return what is known about an upstream's dialect, in a line."""
    if found.dialect is None:
        return f"upstream {shown(address)}: its dialect is not clear: {found.why}"
    place = f"{found.base_path}{PREFIXES[found.dialect]}"
    return f"upstream {shown(address)}: it is used through {place} ({found.why})"
