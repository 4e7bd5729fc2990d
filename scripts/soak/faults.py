"""The faults. Each lasts some seconds, and is over when its function returns."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import lab
from soak.load import FILES, Client
from soak.servers import Site, write_rules


def nothing(there: Site) -> int:
    """Do nothing, for comparison."""
    time.sleep(1 if there.short else 4)
    return 0


def rolling_restart(there: Site) -> int:
    """Restart one proxy after the other, as a deployment does."""
    for number, proxy in enumerate(there.proxies):
        os.kill(proxy.process.pid, signal.SIGTERM)
        if (code := proxy.process.wait(90)) != 0:
            raise RuntimeError(f"a proxy ended with exit code {code}:\n{proxy.tail()}")
        there.proxies[number] = there.start_proxy(number)
        time.sleep(1)  # Until HAProxy has noticed, too.
    return len(there.proxies)


def changed_rules(there: Site) -> int:
    """Change the rules under the proxies, with a mistake in every second version."""
    times = 2 if there.short else 6
    for number in range(times):
        if number % 2:
            there.rules.write_text("mounts: 7\n")
        else:
            write_rules(there, errors={"vocabulary": "mlflow" if number % 4 else "default"})
        time.sleep(1.5)
    write_rules(there)
    time.sleep(1.5)
    return times + 1


def registry_restart(there: Site) -> int:
    """Kill the registry with all its connections, and start it again."""
    times = 1 if there.short else 3
    for _ in range(times):
        there.registry.process.kill()
        there.registry.stop()
        time.sleep(0.5)
        port = urlsplit(there.registry.url).port
        there.registry = lab.external(there.folder / "nginx", there.mlflow.url, port=port)
        there.registry.wait("/health")
        time.sleep(1)
    return times


def registry_freeze(there: Site) -> int:
    """Freeze the registry under load, for longer than the time limits."""
    group = os.getpgid(there.registry.process.pid)
    os.killpg(group, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(group, signal.SIGCONT)
    return 1


def aborted_uploads(there: Site) -> int:
    """Run clients that leave in the middle of an upload."""
    times = 10 if there.short else 40
    for number in range(times):
        name = f"soak/aborted/{number}"
        with _connected(there) as client:
            head = f"PUT {FILES}{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
            client.sendall(head.encode() + bytes(random.randrange(400_000)))  # noqa: S311
        time.sleep(0.05)
    time.sleep(1)
    _, listing = Client(there.proxies[0].url).ask(
        "GET", f"{FILES.removesuffix('/')}?path=soak/aborted"
    )
    if json.loads(listing).get("files"):
        raise RuntimeError(f"parts of aborted uploads are there: {listing[:300]!r}")
    return times


def deaf_clients(there: Site) -> int:
    """Run clients that ask for files and do not read them."""
    name = "soak/large"
    Client(there.proxies[0].url).get_right("PUT", FILES + name, bytes(30 * 2**20))
    with contextlib.ExitStack() as held:
        for _ in range(20):
            client = held.enter_context(_connected(there))
            client.sendall(f"GET {FILES}{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(2 if there.short else 5)
    return 20


def hostile_clients(there: Site) -> int:
    """Send bytes that are not requests, or two requests in one."""
    shapes = (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 200_000,
        b"POST /api/2.0/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/2.0/smuggled HTTP/1.1\r\n\r\n",
        b"POST /api/2.0/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api/2.0/mlflow/../../%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
        b"\r\n" * 1000,
    )
    times = 14 if there.short else 70
    for number in range(times):
        with contextlib.suppress(OSError), _connected(there) as client:
            client.sendall(shapes[number % len(shapes)])
            client.settimeout(0.05)
            client.recv(65536)
    return times


def _connected(there: Site) -> socket.socket:
    address = urlsplit(there.proxies[0].url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)


@dataclass
class Fault:
    """A row of the table."""

    name: str
    inject: Callable[[Site], int]
    balanced: bool = False
    """Whether the load goes through HAProxy."""
    errors: bool = False
    """Whether requests may get errors."""
    cuts: bool = False
    """Whether the registry cuts requests in flight, so that transfers break."""
    injected: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    recovered: float = 0.0
    """Seconds until three right answers in a row: the longest time of all runs."""
    examples: list[str] = field(default_factory=list)
    """Examples of lost or wrong answers."""


def faults() -> list[Fault]:
    """Return all faults."""
    return [
        Fault("none", nothing, balanced=True),
        Fault("rolling restart of two proxies", rolling_restart, balanced=True),
        Fault("rules changed, every second version broken", changed_rules, balanced=True),
        Fault("clients abort uploads", aborted_uploads),
        Fault("clients do not read", deaf_clients),
        Fault("clients send garbage", hostile_clients),
        Fault("registry killed and restarted", registry_restart, errors=True, cuts=True),
        Fault("registry frozen for 6 s (limit: 4 s)", registry_freeze, errors=True, cuts=True),
    ]
