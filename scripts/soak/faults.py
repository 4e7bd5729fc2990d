"""Injects one fault after the other under load, and prints a table of losses."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lab
from soak.load import FILES, SEARCH, Client, Load, WrongError

CLIENTS = 6
RULES = {
    "drain": {"grace": 3, "timeout": 60},
    "upstream": {"external_hosts": ["127.0.0.1"], "response_timeout": 4, "idle_timeout": 4},
}


@dataclass
class Site:
    """All running servers."""

    folder: Path
    mlflow: lab.Server
    registry: lab.Server
    proxies: list[lab.Server]
    balancer: lab.Server
    short: bool
    """Whether each fault lasts only until its effect is visible."""

    @property
    def rules(self) -> Path:
        """The rules of both proxies."""
        return self.folder / "rules.yaml"

    def start_proxy(self, number: int) -> lab.Server:
        """Start a proxy on the same port as before."""
        port = urlsplit(self.proxies[number].url).port if number < len(self.proxies) else None
        log = self.folder / f"proxy{number}-{time.time_ns()}.log"
        quiet = ("--set", "flow_detail=0", "--set", "termlog_verbosity=warn")
        proxy = lab.proxy(self.registry.url, self.rules, log=log, port=port, options=quiet)
        return proxy.wait("/livez")


@contextlib.contextmanager
def site(folder: Path, *, short: bool) -> Iterator[Site]:
    """Start all servers, and stop them at the end."""
    with contextlib.ExitStack() as stop:
        mlflow = stop.enter_context(lab.registry(folder / "mlflow", ajax_only=False))
        registry = stop.enter_context(lab.external(folder / "nginx", mlflow.wait("/health").url))
        there = Site(folder, mlflow, registry.wait("/health"), [], registry, short)
        stop.callback(lambda: there.registry.stop())
        write_rules(there)
        for number in range(2):
            there.proxies.append(there.start_proxy(number))
        stop.callback(lambda: [proxy.stop() for proxy in there.proxies])
        urls = [proxy.url for proxy in there.proxies]
        there.balancer = stop.enter_context(lab.balancer(folder / "haproxy", urls))
        there.balancer.wait("/livez")
        yield there


def write_rules(there: Site, **changes: object) -> None:
    """Write the rules as an editor does, in one step."""
    written = lab.write_rules(
        there.folder / "new" / "rules.yaml", external=["127.0.0.1"], **(RULES | changes)
    )
    written.replace(there.rules)


# Faults. Each lasts some seconds, and is over when its function returns.


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
        Fault("rules changed, every second time for the worse", changed_rules, balanced=True),
        Fault("clients abort uploads", aborted_uploads),
        Fault("clients do not read", deaf_clients),
        Fault("clients send garbage", hostile_clients),
        Fault("registry killed and restarted", registry_restart, errors=True, cuts=True),
        Fault("registry frozen for 6 s (limit: 4 s)", registry_freeze, errors=True, cuts=True),
    ]


def recover(client: Client) -> float:
    """Return the seconds until three right answers in a row."""
    start = time.monotonic()
    row = 0
    while row < 3:
        try:
            row = row + 1 if client.get_right("GET", SEARCH) else 0
        except (OSError, http.client.HTTPException, WrongError):
            row = 0
        if time.monotonic() - start > 60:
            raise RuntimeError("no recovery within 60 seconds")
    return time.monotonic() - start


def run(there: Site, fault: Fault) -> None:
    """Inject a fault under load, and wait for the recovery."""
    url = (there.balancer if fault.balanced else there.proxies[0]).url
    recover(Client(url))  # HAProxy may still treat the registry as down.
    with Load(url, CLIENTS) as load:
        time.sleep(1)
        fault.injected += fault.inject(there)
        fault.recovered = max(fault.recovered, recover(Client(url)))
    fault.counts += load.take()
    fault.counts["wrong"] += load.check_doubtful()
    fault.examples += load.examples


def problems(fault: Fault) -> list[str]:
    """Return results that must not happen, with examples."""
    found = [
        f"{fault.name}: {fault.counts[kind]} {kind}"
        for kind, may_be in (("errors", fault.errors), ("lost", fault.cuts), ("wrong", False))
        if fault.counts[kind] and not may_be
    ]
    if not fault.counts["right"]:
        found.append(f"{fault.name}: nothing was right")
    return found + fault.examples[:5] if found else []


def table(rows: list[Fault]) -> str:
    """Return a Markdown table, with the times of recovery in seconds."""
    columns = ("requests", "errors", "lost", "wrong")
    lines = [["fault", "times", *columns, "recovered after"]]
    for row in rows:
        counts = [str(row.counts[name]) for name in columns]
        lines.append([row.name, str(row.injected), *counts, f"{row.recovered:.1f} s"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def main() -> int:
    """Run all faults, again and again, until the time is over."""
    parser = argparse.ArgumentParser(prog="scripts/soak.sh", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=5, help="0: once, in short")
    minutes = parser.parse_args().minutes
    end = time.monotonic() + 60 * minutes
    rows = faults()
    with (
        tempfile.TemporaryDirectory() as scratch,
        site(Path(scratch), short=minutes == 0) as there,
    ):
        while True:
            for fault in rows:
                print(f"{fault.name} ...", file=sys.stderr, flush=True)
                run(there, fault)
            if time.monotonic() > end:
                break
        memory = max(proxy.memory() for proxy in there.proxies)
        logs = [log.read_text() for log in Path(scratch).glob("proxy*.log")]
    bad = [line for fault in rows for line in problems(fault)]
    bad += ["a traceback is in a log:\n" + log for log in logs if "Traceback" in log]
    print(table(rows))
    print(f"\nPeak resident memory of a proxy: {memory / 2**20:.0f} MiB")
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
