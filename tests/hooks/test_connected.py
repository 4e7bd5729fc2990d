"""Which connections count as clients."""

from __future__ import annotations

import asyncio

import pytest
from mitmproxy.test import tflow

from addon.hooks.connected import Connected


class Slow(asyncio.WriteTransport):
    """A transport with this number of bytes still to send."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        """As in asyncio's transports."""
        return self.size


A, B = tflow.tclient_conn(), tflow.tclient_conn()


def test_connected_clients_count() -> None:
    """A client that was never counted changes nothing when it leaves."""
    connected = Connected()
    assert not connected.reaches(1)
    connected.begin(A, None)
    connected.end(B)
    assert connected.reaches(1)
    assert not connected.reaches(2)
    connected.end(A)
    assert not connected.reaches(1)


def test_a_closed_connection_counts_until_its_last_byte() -> None:
    """A connection that mitmproxy has closed counts until the client has received everything."""
    connected, slow = Connected(), Slow(1)
    connected.begin(A, slow)
    assert connected.transport(A) is slow
    connected.end(A)
    assert connected.transport(A) is None
    assert connected.reaches(1)
    assert [one.client for one in connected.waiting()] == [A]
    slow.size = 0
    assert not connected.waiting()
    assert not connected.reaches(1)


@pytest.mark.parametrize(("size", "waits"), [(0, False), (1, True)])
def test_waiting(size: int, waits: bool) -> None:
    """Connected clients can have bytes to send, too. Clients without a transport never do."""
    connected = Connected()
    connected.begin(A, Slow(size))
    connected.begin(B, None)
    assert [one.client for one in connected.waiting()] == [A] * waits
