"""The kernel's buffers, in the output of ss."""

from __future__ import annotations

import os
import shutil
import socket

import pytest
from soak import kernel

LINES = """\
ESTAB 5 0 127.0.0.1:8080 127.0.0.1:5 users:(("mitmdump",pid=71,fd=9)) \
skmem:(r768,rb131072,t0,tb2626560,f3328,w512,o16,bl0,d0)
ESTAB 0 0 127.0.0.1:5 127.0.0.1:8080 users:(("curl",pid=72,fd=5)) \
skmem:(r9000,rb131072,t0,tb2626560,f1000,w0,o0,bl0,d0)
CLOSE-WAIT 0 0 127.0.0.1:8080 127.0.0.1:6 users:(("mitmdump",pid=71,fd=10)) \
skmem:(r0,rb131072,t100,tb2626560,f0,w0,o0,bl0,d3)
LISTEN 0 4096 127.0.0.1:8080 0.0.0.0:* users:(("mitmdump",pid=71,fd=7))
"""


@pytest.mark.parametrize(("process", "size"), [(71, 4724), (72, 10_000), (7, 0)])
def test_total(process: int, size: int) -> None:
    """Only the process's own connections count, with all that they hold."""
    assert kernel.total(LINES, process) == size


@pytest.mark.skipif(shutil.which("ss") is None, reason="there is no ss")
def test_a_connection_that_is_not_read() -> None:
    """The kernel's buffers grow by the bytes that a process does not read."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0],
    ):
        before = kernel.buffers(os.getpid())
        client.sendall(bytes(50_000))
        assert kernel.buffers(os.getpid()) - before >= 50_000
