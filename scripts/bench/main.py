"""Measures the proxy with the mitmproxy of this Python; adds the results to bench.json."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import (
    clients,
    fairness,
    first_byte,
    fixed_rates,
    growth,
    machine,
    mlflow_job,
    own_share,
    several_workers,
    small_requests,
    start_up,
    transfers,
)
from bench.results import Row, Table, to_json
from bench.session import Session, say
from mitmproxy import version

MEASUREMENTS: dict[str, Callable[[Session], Iterator[Row] | Iterator[Table]]] = {
    "requests": small_requests.measure,
    "job": mlflow_job.measure,
    "transfers": transfers.measure,
    "first-byte": first_byte.measure,
    "memory": transfers.measure_memory,
    "own-share": own_share.measure,
    "start": start_up.measure,
    "rates": fixed_rates.measure,
    "growth": growth.measure,
    "clients": clients.measure,
    "fairness": fairness.measure,
    "workers": several_workers.measure,
}
SLOW = ("job", "clients", "workers")
"""Left out of a quick run."""


def main() -> int:
    """Run the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, metavar="NAME")
    arguments = parser.parse_args()
    # So that all servers are stopped, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # If it is set, only the addon would be compiled at each start: pip has compiled mitmproxy.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    quick: bool = arguments.quick
    pairs = arguments.pairs or (2 if quick else 9)
    names = arguments.only or [name for name in MEASUREMENTS if not (quick and name in SLOW)]
    line = int(version.VERSION.partition(".")[0])
    described = machine.describe()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    for name in names:
        say(f"mitmproxy {version.VERSION}: {name} ...")
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-", dir=memory) as folder:
            session = Session(Path(folder), line, pairs, quick)
            found: list[Row | Table] = []
            for result in MEASUREMENTS[name](session):
                found.append(result)
                say(f"  {result.name}: {result if isinstance(result, Row) else 'done'}")
        how = {"quick": quick, "pairs": pairs, "seconds": round(time.monotonic() - begin)}
        add(arguments.out / "bench.json", line, name, described | how | to_json(found))
    return 0


def add(file: Path, line: int, name: str, measured: dict[str, object]) -> None:
    """Write results to the file in place of older ones; the others stay."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    kept.setdefault(str(line), {})[name] = measured
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    new.replace(file)


if __name__ == "__main__":
    sys.exit(main())
