"""Reads in large portions."""

import asyncio
import platform
from types import SimpleNamespace
from typing import Any

import pytest

from addon.internals import wide_reads


def test_a_reader_returns_all_available_bytes() -> None:
    """mitmproxy asks for 64 KiB and gets up to four times as much."""

    async def read() -> tuple[int, int]:
        reader = asyncio.StreamReader()
        reader.feed_data(bytes(wide_reads.READ_SIZE + 1))
        reader.feed_eof()
        short = len(await reader.read(1))
        wide_reads.widen(SimpleNamespace(reader=reader))
        return short, len(await reader.read(65535))

    assert asyncio.run(read()) == (1, wide_reads.READ_SIZE)


def test_keep_buffers() -> None:
    """On Linux with glibc the allocator accepts the settings."""
    assert wide_reads.keep_buffers() is (platform.libc_ver()[0] == "glibc")


@pytest.mark.parametrize("io", [None, SimpleNamespace(), SimpleNamespace(reader=object())])
def test_other_kinds_of_streams_stay(io: Any) -> None:
    """Readers that are not asyncio's own (UDP, QUIC), or missing, stay unchanged."""
    before = repr(io)
    wide_reads.widen(io)
    wide_reads.pace(io, False)
    assert repr(io) == before


def test_a_pause() -> None:
    """Nothing is read during a pause."""

    async def read() -> tuple[bool, bytes]:
        reader = asyncio.StreamReader()
        io = SimpleNamespace(reader=reader)
        wide_reads.widen(io)
        wide_reads.pace(io, False)
        reader.feed_data(b"x")
        waiting = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waits = not waiting.done()
        wide_reads.pace(io, True)
        return waits, await waiting

    assert asyncio.run(read()) == (True, b"x")


def test_bytes_are_taken_as_they_arrive() -> None:
    """Bytes skip the buffer while a read waits, but not before it or in a pause."""

    async def run() -> tuple[list[tuple[str, bytes]], bytes, int]:
        reader = asyncio.StreamReader()
        taken: list[tuple[str, bytes]] = []
        io = SimpleNamespace(reader=reader)
        wide_reads.widen(io, "client", lambda connection, data: taken.append((connection, data)))
        reader.feed_data(b"before")
        first = await reader.read(100)
        waiting = asyncio.create_task(reader.read(100))
        await asyncio.sleep(0)
        reader.feed_data(b"taken")
        reader.feed_data(b"as well")
        wide_reads.pace(io, False)
        reader.feed_data(b" behind")
        return taken, first + await waiting, reader.total  # type: ignore[attr-defined]

    taken, read, total = asyncio.run(run())
    assert taken == [("client", b"taken"), ("client", b"as well")]
    assert read == b"before behind"
    assert total == len(b"beforetakenas well behind")


def test_two_reasons_for_a_pause() -> None:
    """Reading resumes only after both pauses have ended."""

    async def run() -> list[bool]:
        reader = asyncio.StreamReader()
        io = SimpleNamespace(reader=reader)
        wide_reads.widen(io)
        reader.feed_data(b"x")
        for wanted in (False, False):
            wide_reads.pace(io, wanted)
        waiting = asyncio.create_task(reader.read(1))
        seen = []
        for wanted in (True, True):
            wide_reads.pace(io, wanted)
            for _ in range(3):
                await asyncio.sleep(0)
            seen.append(waiting.done())
        return seen

    assert asyncio.run(run()) == [False, True]
