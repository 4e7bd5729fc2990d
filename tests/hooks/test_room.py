"""Room for a request's body in the connection to a slow registry, with real sockets."""

from __future__ import annotations

import asyncio
import socket

from addon.hooks import room


def test_no_connection() -> None:
    """A connection that is not open yet can take more bytes."""
    room.widen(None)
    assert room.is_there(None)


def test_a_slow_registry() -> None:
    """There is no room while more than a few bytes wait, and there is again afterwards."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        _, writer = await asyncio.open_connection(sock=ours)
        transport = writer.transport
        room.widen(transport)
        assert transport.get_write_buffer_limits() == (room.LITTLE, room.MUCH)
        writer.write(bytes(8 * 2**20))
        assert not room.is_there(transport)
        async with asyncio.timeout(30):
            while not room.is_there(transport):
                await asyncio.get_running_loop().sock_recv(theirs, 2**20)
        assert transport.get_write_buffer_size() <= room.LITTLE
        transport.abort()
        theirs.close()

    asyncio.run(run())
