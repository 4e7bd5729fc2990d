"""Measures how many clients one process can serve.

It measures the cost of idle connections, and the speed when all clients ask again.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import lab
from bench import servers
from bench.results import Table
from bench.session import Session

COUNTS = (1_000, 5_000, 10_000)
QUICK_COUNTS = (200, 1_000)
AT_ONCE = 32
"""Requests in flight at any time: MLflow would not answer more at once."""
KEPT = 5
"""Seconds that the registry keeps an idle connection: the default of uvicorn, which MLflow uses."""
_REGISTRY = """
  keepalive_requests 1000000;
  keepalive_timeout KEPT;
  server {
    listen 127.0.0.1:PORT backlog=4096;
    default_type application/json;
    location / { return 200 'ANSWER'; }
  }
"""
_REQUEST = f"GET {servers.API} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

T = TypeVar("T")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def measure(session: Session) -> Iterator[Table]:
    """Yield memory and time by open connections, for the proxy and a bare mitmdump."""
    # The limit of this process and its children. A client needs one open file here; a server needs
    # two while the registry keeps the client's upstream connection.
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    most = (limit - 200) // 2  # The proxy accepts no more, see addon/hooks/open_files.py.
    counts = sorted({min(n, most) for n in (QUICK_COUNTS if session.quick else COUNTS)})
    ways: list[tuple[str, Callable[[Path, str], lab.Server], int]]
    ways = [("the proxy", _proxy, count) for count in counts]
    ways += [("bare mitmdump", servers.bare, count) for count in counts[:1]]
    rows: list[list[str]] = []
    raw: dict[str, list[float]] = {}
    with _registry(session.folder / "clients") as registry:
        for number, (name, start, count) in enumerate(ways):
            with start(session.folder / f"clients-{number}", registry.url) as server:
                seen = asyncio.run(_observe(server, count))
            raw[f"{name}, {count}"] = seen
            idle, each, rate = seen
            rows.append([name, f"{count:,}", f"{idle:.0f} MiB", f"{each:.1f} MiB", f"{rate:.0f}"])
    head = [
        "",
        "open connections",
        "resident memory",
        "for 1,000 of them",
        "requests/s of one core",
    ]
    yield Table("clients that keep their connections open", head, rows, raw)


def _proxy(folder: Path, upstream: str) -> lab.Server:
    """Start the proxy with room for more clients than the shipped rules admit."""
    rules = servers.write_rules(folder / "rules.yaml", limits={"connections": COUNTS[-1]})
    return lab.proxy(upstream, rules, log=folder / "log", options=("-q",)).wait("/livez")


def _registry(folder: Path) -> lab.Server:
    config = _REGISTRY.replace("ANSWER", servers.ANSWER).replace("KEPT", f"{KEPT}s")
    return lab.nginx(folder, config).wait()


async def _observe(server: lab.Server, count: int) -> list[float]:
    """Open connections, send one request on each, leave them idle, then send one on each again.

    By then the registry has closed their upstream connections.

    Returns:
        Resident memory in MiB while they are idle; the part of it for 1,000 connections; requests
        per second of CPU time when all ask again.
    """
    async with AsyncExitStack() as opened:
        connections: list[Connection] = []

        async def connect(_: object) -> None:
            host, _, port = server.url.removeprefix("http://").partition(":")
            connection = await asyncio.open_connection(host, int(port))
            opened.callback(connection[1].close)
            await _ask(connection)
            connections.append(connection)

        await connect(None)
        before = server.memory_now()
        await _for_all(range(count - 1), connect)
        await asyncio.sleep(KEPT + 2)
        idle = server.memory_now()
        begin = core_seconds(server)
        await _for_all(connections, _ask)
        rate = count / (core_seconds(server) - begin)
    return [idle / 2**20, (idle - before) / 2**20 / count * 1000, rate]


def core_seconds(server: lab.Server) -> float:
    """Return a server's CPU time in seconds: other load on the machine does not count."""
    text = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def _for_all(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do some work for each item, a few at a time."""
    left = iter(items)

    async def take() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(take())


async def _ask(connection: Connection) -> None:
    reader, writer = connection
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(len(servers.ANSWER))
