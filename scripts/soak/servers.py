"""The servers of the soak: MLflow, nginx as the external registry, two proxies, HAProxy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import lab

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
