"""Injects one fault after the other under load, and prints a table of losses."""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lab import markdown
from soak.faults import Fault, faults
from soak.load import SEARCH, Client, Load, WrongError
from soak.servers import Site, site

CLIENTS = 6


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
    lines = []
    for row in rows:
        counts = [str(row.counts[name]) for name in columns]
        lines.append([row.name, str(row.injected), *counts, f"{row.recovered:.1f} s"])
    return markdown.table(["fault", "times", *columns, "recovered after"], lines)


def repeat(there: Site, rows: list[Fault], minutes: float) -> None:
    """Inject all faults, again and again, until the time is over."""
    end = time.monotonic() + 60 * minutes
    while True:
        for fault in rows:
            print(f"{fault.name} ...", file=sys.stderr, flush=True)
            run(there, fault)
        if time.monotonic() > end:
            break


def report(rows: list[Fault], *remarks: str) -> int:
    """Print the table, and what must not happen, with remarks; return the exit code."""
    bad = [line for fault in rows for line in problems(fault)] + [*remarks]
    print(table(rows))
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


def main() -> int:
    """Run all faults, again and again, until the time is over."""
    parser = argparse.ArgumentParser(prog="scripts/soak.sh", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=5, help="0: once, in short")
    minutes = parser.parse_args().minutes
    rows = faults()
    with (
        tempfile.TemporaryDirectory() as scratch,
        site(Path(scratch), short=minutes == 0) as there,
    ):
        repeat(there, rows, minutes)
        memory = max(proxy.memory() for proxy in there.proxies)
        logs = [log.read_text() for log in Path(scratch).glob("proxy*.log")]
    code = report(rows, *("a traceback is in a log:\n" + log for log in logs if "Traceback" in log))
    print(f"\nPeak resident memory of a proxy: {memory / 2**20:.0f} MiB")
    return code


if __name__ == "__main__":
    sys.exit(main())
