"""buildah and podman, with a store of their own in .run/."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from install import programs

MACHINE = "10.0.2.2"
"""Where a pod reaches 127.0.0.1 of the machine (slirp4netns(1))."""
NETWORK = "slirp4netns:allow_host_loopback=true"
"""A network for a single pod, without a bridge, firewall rules or privileges."""
BASE = programs.ROOT / "scripts" / "deploy" / "kubernetes" / "base"
_NAME = "images.example.org/mlflow-proxy"
_FOR_PIP = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""Files of this machine for the builder, so that it fetches packages as the machine does."""
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host")
"""Options of pip that it gets as well, if they are set in the environment."""


class Engine:
    """An engine with the image of the proxy, as a context manager that leaves nothing behind.

    Layers of the image stay in .run/, so the next build is quick.

    Raises:
        programs.NoEngineError: on entry, if no engine can run here.
    """

    def __init__(self) -> None:
        self.folder = programs.DATA / "engine"
        self.tag = f"run-{os.getpid()}"
        self._stop = contextlib.ExitStack()

    def __enter__(self) -> Engine:
        with contextlib.ExitStack() as stop:
            self.folder = programs.engine()
            stop.enter_context(_tidied())
            self._build()
            stop.callback(self.run, "podman", "rmi", "--force", self.image)
            self._stop = stop.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()

    @property
    def image(self) -> str:
        """The name of the image, with this run's tag."""
        return f"{_NAME}:{self.tag}"

    def run(self, *command: str | Path) -> str:
        """Run `buildah` or `podman`; return what it prints.

        Raises:
            RuntimeError: it has failed.
        """
        program, *arguments = command
        done = subprocess.run(
            [self.folder / program, *arguments],
            cwd=programs.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _build(self) -> None:
        values = {name: f"PIP_{name.upper().replace('-', '_')}" for name in _PIP_OPTIONS}
        lines = [f"{name} = {os.environ[key]}" for name, key in values.items() if key in os.environ]
        settings = self.folder / "pip.conf"
        settings.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")
        given = {file: file for file in _FOR_PIP if Path(file).exists()}
        given[str(settings)] = "/root/.config/pip/pip.conf"
        volumes = [part for here, there in given.items() for part in ("-v", f"{here}:{there}:ro")]
        # In the format of OCI there is no HEALTHCHECK.
        options = ["--format", "docker", "--layers", "--pull-never", "--network", "host", *volumes]
        dockerfile = programs.ROOT / "scripts" / "deploy" / "Dockerfile"
        self.run("buildah", "bud", *options, "--file", dockerfile, "--tag", self.image, ".")

    def manifests(
        self, folder: Path, *, upstream: str, ports: Sequence[int], rules: str = ""
    ) -> str:
        """Render the manifests as an operator would: the base with a site's values.

        Args:
            folder: for the kustomization.
            upstream: URL of the registry, as a pod reaches it.
            ports: ports of 127.0.0.1 for those of the container, in its order.
            rules: text of a rules file; by default the base's own.
        """
        hosts = [
            {
                "op": "add",
                "path": f"/spec/template/spec/containers/0/ports/{number}/{key}",
                "value": value,
            }
            for number, port in enumerate(ports)
            for key, value in (("hostPort", port), ("hostIP", "127.0.0.1"))
        ]
        name, _, tag = self.image.partition(":")
        generated: list[dict[str, Any]] = [
            {
                "name": "mlflow-proxy-environment",
                "behavior": "merge",
                "literals": [f"UPSTREAM={upstream}"],
            }
        ]
        folder.mkdir(parents=True, exist_ok=True)
        if rules:
            (folder / "rules.yaml").write_text(rules, encoding="utf-8")
            replaced = {"name": "mlflow-proxy-rules", "behavior": "replace"}
            generated.append(replaced | {"files": ["rules.yaml"]})
        settings = {
            "resources": [os.path.relpath(BASE, folder.resolve())],
            "images": [{"name": "mlflow-proxy", "newName": name, "newTag": tag}],
            "configMapGenerator": generated,
            "patches": [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(hosts)}],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(settings))
        command: list[str | Path] = [programs.tool("kubectl"), "kustomize", folder]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def _tidied() -> Iterator[None]:
    """Remove what the programs create outside their folder, in spite of all settings."""
    store = Path("/var/lib/containers")
    there = store.exists()
    yield
    if not there:
        shutil.rmtree(store, ignore_errors=True)
    root = Path("/sys/fs/cgroup")
    groups = [*root.glob("libpod_parent/**/"), *root.glob("*/libpod_parent/**/")]
    for folder in (Path("/run/runc"), Path("/run/netns"), *reversed(groups)):
        # Another engine on this machine may be using it.
        with contextlib.suppress(OSError):
            folder.rmdir()


class Node:
    """A machine of a cluster: pods on different nodes share the image and nothing else."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # podman refuses paths of more than 50 characters for its sockets.
        self._sockets = Path(tempfile.mkdtemp(prefix="node-"))
        (engine.folder / "nodes").mkdir(exist_ok=True)
        self._store = Path(tempfile.mkdtemp(dir=engine.folder / "nodes"))

    def podman(self, *arguments: str | Path) -> str:
        """Run `podman` on this node; return what it prints.

        Raises:
            RuntimeError: it has failed.
        """
        driver = (self.engine.folder / "driver").read_text().strip()
        options: list[str | Path] = ["--root", self._store, "--runroot", self._sockets / "run"]
        options += ["--tmpdir", self._sockets / "tmp", "--storage-driver", driver]
        options += ["--storage-opt", f"{driver}.imagestore={self.engine.folder / 'images'}"]
        if driver == "overlay":
            options += ["--storage-opt", "overlay.skip_mount_home=true"]
        return self.engine.run("podman", *options, *arguments)

    def close(self) -> None:
        """Remove the node and everything on it."""
        self.podman("pod", "rm", "--all", "--force", "--time", "0")
        self.podman("rm", "--all", "--force", "--time", "0")
        for folder in (self._store, self._sockets):
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder in which processes of podman may still be tidying up."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        if not folder.exists():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{folder} cannot be removed")
