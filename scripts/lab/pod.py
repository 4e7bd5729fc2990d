"""A pod of the Deployment, on a node of its own."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from lab.engine import NETWORK, Engine, Node
from lab.server import free_port

CONTAINER = "mlflow-proxy-pod-0-proxy"
"""The container's name, as `podman kube play` derives it from the Deployment."""


class Pod:
    """A pod played from the manifests; it listens on free ports of 127.0.0.1."""

    def __init__(
        self, engine: Engine, upstream: str, *, rules: str = "", port: int | None = None
    ) -> None:
        """Start the pod.

        Args:
            engine: with the image.
            upstream: URL of the registry, as a pod reaches it.
            rules: text of a rules file; by default that of the manifests.
            port: of 127.0.0.1; a free one by default.
        """
        self.port, self.metrics_port = port or free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.node = Node(engine)
        try:
            with tempfile.TemporaryDirectory() as folder:
                text = engine.manifests(
                    Path(folder, "site"),
                    upstream=upstream,
                    ports=(self.port, self.metrics_port),
                    rules=rules,
                )
                file = Path(folder, "all.yaml")
                file.write_text(text, encoding="utf-8")
                self.node.podman("kube", "play", "--network", NETWORK, file)
        except BaseException:
            self.node.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.node.close()

    def wait(self, path: str = "/livez", seconds: float = 60) -> Self:
        """Wait until the proxy answers 200.

        Raises:
            RuntimeError: it does not; the message has its log.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):  # noqa: S310
                    return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the pod does not answer {path}:\n{self.log()}")

    def log(self) -> str:
        """Return what the proxy has printed."""
        return self.node.podman("logs", CONTAINER)

    def details(self) -> Any:
        """Return podman's description of the container."""
        return json.loads(self.node.podman("inspect", CONTAINER))[0]

    def process(self) -> Path:
        """Return the /proc folder of its first process."""
        return Path("/proc", str(self.details()["State"]["Pid"]))

    def memory_limit(self) -> int:
        """Return its memory limit in bytes."""
        for line in (self.process() / "cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            for place, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
                limit = Path("/sys/fs/cgroup", place, group.lstrip("/"), file)
                if place in controllers.split(",") and limit.exists():
                    return int(limit.read_text())
        raise RuntimeError("none of its cgroups has a memory limit")

    def volume(self, name: str) -> Path:
        """Return the folder of a ConfigMap that is mounted; podman does not change it by itself."""
        return Path(json.loads(self.node.podman("volume", "inspect", name))[0]["Mountpoint"])

    def stop(self, seconds: int) -> int:
        """Stop it as the kubelet does; return its exit code.

        Args:
            seconds: after which it is killed.
        """
        # Not the pod: podman would take down its network at the same time.
        self.node.podman("stop", "--time", str(seconds), CONTAINER)
        return int(self.details()["State"]["ExitCode"])
