"""Fills every limit of the shipped rules, and measures the memory of the proxy.

Clients of each kind fill their limit alone, in front of a proxy of their own, and then all kinds
fill all limits at once. The peak of the last one, with the kernel's buffers, must leave a margin
below the memory limit of the Kubernetes manifest. Time limits are an hour, so that a slow machine
can do it, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lab
from lab import markdown
from soak import crowds, kernel, silent_registry
from soak.crowds import Crowd

MANIFEST = lab.ROOT / "scripts" / "deploy" / "kubernetes" / "base" / "deployment.yaml"
MARGIN = 0.10
HANDSHAKES = 1_000
"""Clients of a kind with TLS: making more takes long."""
MIB = 2**20


@dataclass(frozen=True)
class Seen:
    """What was measured with clients of some kinds, in bytes."""

    idle: int
    peak: int
    kernel: int
    """The kernel's buffers."""
    used: str
    """How full the limits were."""


@dataclass(frozen=True)
class Kind:
    """Clients of one kind."""

    name: str
    open: Callable[[Crowd, int], None]
    limit: str
    """The limit that they fill."""
    part: float
    """Their part of it when all kinds are there."""
    tls: bool = False


KINDS = (
    Kind("requests: artifact not read", crowds.files, "flows", 0.25),
    Kind("requests: answer of 1 MiB not read", crowds.answers, "flows", 0.05),
    Kind("requests: error without an end", crowds.errors, "flows", 0.1),
    Kind("requests: body of 1 MiB without an end", crowds.bodies, "flows", 0.05),
    Kind("requests: upload not read", crowds.uploads, "flows", 0.35),
    Kind("WebSockets: messages not read", crowds.web_sockets, "flows", 0.05),
    Kind("HTTP/2: artifact not read, 5 at once", crowds.few_streams, "flows", 0.14, tls=True),
    Kind("HTTP/2: artifact not read, 100 at once", crowds.streams, "flows", 0.01, tls=True),
    Kind("clients: head without an end", crowds.heads, "connections", 0.1),
    Kind("HTTP/2: head without an end", crowds.heads_http2, "connections", 0.01, tls=True),
    Kind("HTTP/2: idle", crowds.idle_http2, "connections", 0.6, tls=True),
    Kind("clients: idle", crowds.idle, "connections", 0.05),
)
"""Together they are the worst mix: TLS is what costs an idle client most."""


class Bench:
    """The servers, one after the other.

    Args:
        folder: for their files.
        share: the part of the shipped limits to use; below 1 only to see whether this works.
    """

    def __init__(self, folder: Path, share: float) -> None:
        self.folder = folder
        shipped = yaml.safe_load((lab.ROOT / "rules.yaml").read_text())["limits"]
        held = int(shipped["held"].removesuffix("MiB"))
        self.limits = {name: int(shipped[name] * share) for name in ("connections", "flows")}
        times = dict.fromkeys(("head_timeout", "body_timeout", "send_timeout"), 3600)
        limits: dict[str, Any] = self.limits | times | {"held": f"{max(1, int(held * share))}MiB"}
        self._rules = lab.write_rules(folder / "rules", external=["127.0.0.1"], limits=limits)

    def measure(self, kinds: list[tuple[Kind, int]], registry: lab.Server) -> Seen:
        """Open clients, and measure until the memory grows no more.

        Args:
            kinds: which clients, and how many of each.
            registry: the registry.
        """
        port = lab.free_port()
        with self._proxy(registry, port) as proxy, contextlib.ExitStack() as opened:
            crowd = Crowd(proxy.url, opened)
            crowds.idle(crowd, 2)
            crowds.idle_http2(crowd, 1)
            time.sleep(1)
            before = proxy.memory_now()
            for kind, count in kinds:
                kind.open(crowd, count)
            _settle(proxy)
            buffers = kernel.buffers(proxy.process.pid)
            return Seen(before, proxy.memory(), buffers, _used(port))

    @contextlib.contextmanager
    def _proxy(self, registry: lab.Server, metrics: int) -> Iterator[lab.Server]:
        options = ["-q", "--set", f"confdir={self.folder / 'conf'}"]
        # As in the manifest.
        options += ["--set", f"mlflow_access_log={self.folder / 'access.log'}"]
        options += ["--set", f"mlflow_metrics={metrics}"]
        log = self.folder / "proxy.log"
        with lab.proxy(registry.url, self._rules, log=log, options=options) as proxy:
            yield proxy.wait("/livez")


def _settle(proxy: lab.Server) -> None:
    """Wait until memory has not grown for two seconds, for a minute at most."""
    seen = [proxy.memory()]
    for _ in range(240):
        time.sleep(0.25)
        seen.append(proxy.memory())
        if len(seen) > 8 and seen[-1] - seen[-9] < MIB // 4:
            return


def _used(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
        text = page.read().decode()

    def value(name: str) -> int:
        return int(float(text.partition(f"\nmlflow_proxy_{name} ")[2].split()[0]))

    pairs = [("client_connections", 1), ("requests_in_flight", 1), ("held_bytes", MIB)]
    used = [f"{value(name) // unit} of {value(f'{name}_limit') // unit}" for name, unit in pairs]
    return "{} connections, {} requests, {} MiB held".format(*used)


def allowed() -> int:
    """Return the memory limit of the manifest in bytes."""
    deployment = yaml.safe_load(MANIFEST.read_text())
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    text = container["resources"]["limits"]["memory"]
    return int(text[:-2]) << {"Mi": 20, "Gi": 30}[text[-2:]]


def run(folder: Path, share: float) -> int:
    """Fill the limits, print a table; return 1 if the peak leaves too small a margin."""
    bench = Bench(folder, share)
    rows: list[list[str]] = []
    with silent_registry.running(folder / "registry") as registry:
        # Idle clients first: they are served once, which takes a place among the requests.
        together = [(kind, int(bench.limits[kind.limit] * kind.part)) for kind in reversed(KINDS)]
        for kind in KINDS:
            count = bench.limits[kind.limit]
            count = min(count, HANDSHAKES) if kind.tls else count
            seen = bench.measure([(kind, count)], registry)
            _note(kind.name, seen.used)
            rows.append([kind.name, f"{count:,}", *_cells(seen, count)])
        seen = bench.measure(together, registry)
        _note("all at once", seen.used)
    rows.append(["all at once", "", *_cells(seen, 0)])
    head = ["clients", "number", "above idle", "each", "buffers", "each"]
    print(markdown.table(head, rows))
    limit, peak = allowed(), seen.peak + seen.kernel
    ok = peak <= limit * (1 - MARGIN)
    print(
        f"\nAll at once: {seen.used}; peak {_mib(peak)}, of these {_mib(seen.idle)} idle and "
        f"{_mib(seen.kernel)} buffers of the kernel. "
        f"The manifest allows {_mib(limit)}, less {MARGIN:.0%}: {'pass' if ok else 'fail'}"
    )
    return 0 if ok else 1


def _cells(seen: Seen, count: int) -> list[str]:
    """Return memory and buffers, together and for each of some clients."""
    sizes = (seen.peak - seen.idle, seen.kernel)
    return [cell for size in sizes for cell in (_mib(size), _kib(size / count) if count else "")]


def _note(name: str, used: str) -> None:
    print(f"{name}: {used}", file=sys.stderr, flush=True)


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"


def _kib(size: float) -> str:
    return f"{size / 1024:.0f} KiB"


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="scripts/soak.sh limits", description=__doc__)
    parser.add_argument("share", type=float, nargs="?", default=1, help="part of the limits")
    share = parser.parse_args().share
    kernel.require()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        return run(Path(folder), share)


if __name__ == "__main__":
    sys.exit(main())
