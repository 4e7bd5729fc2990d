"""Reading in large portions."""

import asyncio
import platform
from types import SimpleNamespace

from mitmproxy.test import tflow

from addon import wide_reads


def test_a_reader_gives_all_it_has() -> None:
    """mitmproxy asks for 64 KiB and gets four times as much, if it is there."""

    async def read() -> tuple[int, int]:
        client = tflow.tclient_conn()
        reader = asyncio.StreamReader()
        handler = SimpleNamespace(transports={client: SimpleNamespace(reader=reader)})
        server = SimpleNamespace(connections={client.id: handler})
        reader.feed_data(bytes(wide_reads.READ_SIZE + 1))
        reader.feed_eof()
        short = len(await reader.read(1))
        assert wide_reads.widen(server, client, client)
        return short, len(await reader.read(65535))

    assert asyncio.run(read()) == (1, wide_reads.READ_SIZE)


def test_keep_buffers() -> None:
    """On Linux with glibc the allocator takes the settings."""
    assert wide_reads.keep_buffers() is (platform.libc_ver()[0] == "glibc")


def test_a_changed_mitmproxy_is_no_error() -> None:
    """Without a reader to be found nothing breaks."""
    client = tflow.tclient_conn()
    for server in (None, SimpleNamespace(), SimpleNamespace(connections={})):
        assert not wide_reads.widen(server, client, client)


def test_other_kinds_of_streams_stay() -> None:
    """What is not asyncio's own reader (UDP, QUIC) is left alone."""
    client = tflow.tclient_conn()
    reader = object()
    handler = SimpleNamespace(transports={client: SimpleNamespace(reader=reader)})
    assert wide_reads.widen(SimpleNamespace(connections={client.id: handler}), client, client)
    assert type(reader) is object
