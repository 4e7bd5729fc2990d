"""Puts load on pods of the Deployment that are rolled, killed and get other rules."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lab
from install.programs import NoEngineError
from lab.engine import MACHINE, Engine
from lab.pod import Pod
from soak.faults import Fault, nothing
from soak.main import repeat, report
from soak.servers import Site

NOTICED = 3
"""Seconds after which HAProxy uses a new pod, or no longer one that drains."""
TERMINATION = 80
"""Seconds of the manifests, after which a pod is killed."""


class Cluster:
    """Two pods behind HAProxy, which knows a third address for the next one."""

    def __init__(
        self, engine: Engine, folder: Path, registry: lab.Server, stop: contextlib.ExitStack
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._upstream = f"http://{MACHINE}:{urlsplit(registry.url).port}"
        self._stop = stop
        self._ports = [lab.free_port() for _ in range(3)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        self.pods = [self._start(port) for port in self._ports[:2]]

    def _rules(self, **changes: object) -> str:
        settings = {
            "drain": {"grace": NOTICED + 1, "timeout": 60},
            "upstream": {"response_timeout": 4, "idle_timeout": 4},
        }
        file = self._folder / "rules.yaml"
        lab.write_rules(file, external=[MACHINE], **settings, **changes)
        return file.read_text(encoding="utf-8")

    def _start(self, port: int) -> Pod:
        pod = Pod(self._engine, self._upstream, rules=self._rules(), port=port)
        self._stop.callback(pod.node.close)
        return pod.wait("/readyz/local")

    def roll(self, _: Site) -> int:
        """Replace each pod: a new one serves before the old one goes."""
        for _pod in range(2):
            old = self.pods.pop(0)
            [free] = {*self._ports} - {old.port, *(pod.port for pod in self.pods)}
            self.pods.append(self._start(free))
            time.sleep(NOTICED)
            code, log = old.stop(TERMINATION), old.log()
            old.node.close()
            if code or "Traceback" in log:
                raise RuntimeError(f"a pod ended with exit code {code}:\n{log}")
        return 2

    def kill(self, _: Site) -> int:
        """Kill the proxy in a pod, as for its use of memory; podman starts it again."""
        os.kill(int(self.pods[0].process().name), signal.SIGKILL)
        time.sleep(1)
        self.pods[0].wait("/readyz/local")
        return 1

    def change(self, there: Site) -> int:
        """Change the ConfigMap, with a mistake in every second version."""
        texts = [self._rules(errors={"vocabulary": "mlflow"}), "mounts: 7\n", self._rules()]
        texts *= 1 if there.short else 2
        for text in texts:
            for pod in self.pods:
                new = pod.volume("mlflow-proxy-rules") / "new"
                new.write_text(text, encoding="utf-8")
                new.replace(new.with_name("rules.yaml"))
            time.sleep(1.5)
        return len(texts)


@contextlib.contextmanager
def cluster(folder: Path, *, short: bool) -> Iterator[tuple[Cluster, Site]]:
    """Start all servers, and stop them at the end."""
    with contextlib.ExitStack() as stop:
        engine = stop.enter_context(Engine())
        mlflow = stop.enter_context(lab.registry(folder / "mlflow", ajax_only=False))
        registry = stop.enter_context(lab.external(folder / "nginx", mlflow.wait("/health").url))
        pods = Cluster(engine, folder, registry.wait("/health"), stop)
        balancer = stop.enter_context(lab.balancer(folder / "haproxy", pods.urls))
        yield pods, Site(folder, mlflow, registry, [], balancer.wait("/livez"), short)


def main() -> int:
    """Run all faults, again and again, until the time is over."""
    parser = argparse.ArgumentParser(prog="scripts/soak.sh pods", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=5, help="0: once, in short")
    minutes = parser.parse_args().minutes
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            cluster(Path(scratch), short=minutes == 0) as (pods, there),
        ):
            rows = [
                Fault("none", nothing, balanced=True),
                Fault("roll of two pods", pods.roll, balanced=True),
                Fault("ConfigMap changed, every second version broken", pods.change, balanced=True),
                Fault("proxy in a pod killed", pods.kill, balanced=True, errors=True, cuts=True),
            ]
            repeat(there, rows, minutes)
    except NoEngineError as error:
        print(error, file=sys.stderr)
        return 1
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
