"""The manifests for Kubernetes, as kustomize renders them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lab
import yaml

FOLDER = lab.ROOT / "scripts" / "deploy" / "kubernetes"


@dataclass(frozen=True)
class Manifests:
    """The objects of a kustomization."""

    text: str
    objects: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Render the kustomization in a folder."""
        command: list[str | Path] = [lab.tool("kubectl"), "kustomize", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return cls(done.stdout, tuple(yaml.safe_load_all(done.stdout)))

    def the(self, kind: str, name: str = "") -> Any:
        """Return the only object of a kind whose name begins with `name`."""
        [found] = (
            each
            for each in self.objects
            if each["kind"] == kind and each["metadata"]["name"].startswith(name)
        )
        return found

    @property
    def pod(self) -> Any:
        """The Deployment's pod template."""
        return self.the("Deployment")["spec"]["template"]

    @property
    def container(self) -> Any:
        """The pod's only container."""
        [container] = self.pod["spec"]["containers"]
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The container's environment variables from ConfigMaps."""
        values: dict[str, str] = {}
        for source in self.container["envFrom"]:
            if reference := source.get("configMapRef"):
                values |= self.the("ConfigMap", reference["name"])["data"]
        return values
