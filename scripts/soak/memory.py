"""Sends many requests and large artifacts through one proxy, whose memory must not grow.

The registry is only nginx, which is fast enough: it sends answers and pages that become errors,
drops connections, and sends and accepts files. Some clients keep their connections for the whole
time, so that a leak in a connection would show; others make a new one for each request. Resident
memory after the first 5 % of the work is compared with that at the end, each the median of five
samples.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lab

GIB = 2**30
SIZE = GIB // 8
BLOCK = bytes(2**20)
GROWTH = 1.10
"""More than this is a leak."""
SAMPLES = 5
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
REGISTRY = """
  keepalive_requests 100000000;
  server {
    listen 127.0.0.1:PORT;
    location /ajax-api/2.0/mlflow/experiments/ {
      default_type application/json;
      return 200 '{"experiments": []}';
    }
    location = /ajax-api/2.0/mlflow/dropped { return 444; }
    location /ajax-api/2.0/mlflow-artifacts/artifacts/ {
      root FOLDER/files;
      dav_methods PUT;
      create_full_put_path on;
    }
  }
"""
REQUESTS = (
    *[("GET", "/api/2.0/mlflow/experiments/search?max_results=5", 200)] * 6,
    ("POST", "/api/2.0/mlflow/experiments/create", 200),
    ("GET", "/api/2.0/mlflow/nope", 404),
    ("GET", "/api/2.0/mlflow/dropped", 502),
    ("GET", "/api/2.0/mlflow/x#hostile", 400),
)


def ask(url: str, count: int, keep: bool, done: Synchronized[int]) -> None:
    """Send small requests and read the answers."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]
    for number in range(count):
        method, target, expected = REQUESTS[number % len(REQUESTS)]
        connection.request(method, target, b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        answer.read()
        if answer.status != expected:
            raise RuntimeError(f"{method} {target}: {answer.status}")
        if not keep:
            connection.close()
        with done.get_lock():
            done.value += 1


def transfer(url: str, count: int, done: Synchronized[int]) -> None:
    """Put artifacts and get them back, with a length and in chunks."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    path = f"{ARTIFACTS}{os.getpid()}"
    for number in range(count):
        if number % 2 == 0:
            headers = {} if number % 4 else {"Content-Length": str(SIZE)}
            connection.request("PUT", path, body=_blocks(), headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status not in (201, 204):
                raise RuntimeError(f"an upload got {answer.status}")
        else:
            connection.request("GET", path)
            answer, size = connection.getresponse(), 0
            while block := answer.read(2**20):
                size += len(block)
            if size != SIZE:
                raise RuntimeError(f"a download of {size} bytes")
        with done.get_lock():
            done.value += 1


def _blocks() -> Iterator[bytes]:
    for _ in range(SIZE // len(BLOCK)):
        yield BLOCK


def run(folder: Path, requests: int, gib: int) -> int:
    """Start the servers, do the work, and compare."""
    rules = lab.write_rules(folder / "rules.yaml", external=["127.0.0.1"])
    config = REGISTRY.replace("FOLDER", str(folder))
    quiet = ("--set", "flow_detail=0", "--set", "termlog_verbosity=error")
    with lab.nginx(folder / "nginx", config) as registry:
        registry.wait()
        with lab.proxy(registry.url, rules, log=folder / "log", options=quiet) as proxy:
            proxy.wait("/livez")
            return compare(proxy, requests, gib)


def compare(proxy: lab.Server, requests: int, gib: int) -> int:
    """Send everything through a proxy; return 1 if its memory has grown."""
    asked, moved = multiprocessing.Value("q", 0), multiprocessing.Value("q", 0)
    transfers = gib * GIB // SIZE
    workers = [
        multiprocessing.Process(target=ask, args=(proxy.url, requests // 4, keep, asked))
        for keep in (True, True, True, False)
    ]
    workers += [
        multiprocessing.Process(target=transfer, args=(proxy.url, transfers // 2, moved))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    begin: list[int] = []
    end: deque[int] = deque(maxlen=SAMPLES)
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.2)
        shares = asked.value / requests, moved.value / transfers
        end.append(proxy.memory_now())
        if min(shares) >= 0.05 and len(begin) < SAMPLES:
            begin.append(end[-1])
        if sys.stderr.isatty():
            progress = f"\r{shares[0]:.0%} of requests, {shares[1]:.0%} of bytes"
            print(progress, end="", file=sys.stderr)
    if any(worker.exitcode for worker in workers):
        print(f"a client has failed, see above\n{proxy.tail()}", file=sys.stderr)
        return 1
    before, after = (statistics.median(values) / 2**20 for values in (begin, end))
    ratio = after / before
    print(
        f"{requests} requests, {gib} GiB of artifacts: resident memory {before:.1f} MiB after 5 %, "
        f"{after:.1f} MiB at the end: {ratio:.3f} (allowed: {GROWTH}), peak {proxy.memory() >> 20}"
    )
    return 0 if ratio <= GROWTH else 1


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="scripts/soak.sh memory", description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=200_000)
    parser.add_argument("gib", type=int, nargs="?", default=50)
    arguments = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        return run(Path(folder), arguments.requests, arguments.gib)


if __name__ == "__main__":
    sys.exit(main())
