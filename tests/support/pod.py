"""A container of the Deployment, from an image that no container engine has made."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import lab

from . import config_map
from .image import Image
from .manifests import Manifests

HOME = {"HOME": "/"}
"""Of a user without a name."""


class Pod:
    """It runs on free ports in place of its own, in front of an upstream of the test's."""

    def __init__(self, image: Image, manifests: Manifests, upstream: str, folder: Path) -> None:
        self.image = image
        declared = [each["containerPort"] for each in manifests.container["ports"]]
        self._ports = {str(port): str(lab.free_port()) for port in declared}
        self.port, self.metrics_port = self._ports.values()
        mounts = {each["name"]: each["mountPath"] for each in manifests.container["volumeMounts"]}
        volumes: dict[str, Path] = {}
        temporary: dict[str, int] = {}
        for volume in manifests.pod["spec"]["volumes"]:
            place = mounts[volume["name"]]
            if "emptyDir" in volume:
                size = volume["emptyDir"]["sizeLimit"]
                temporary[place] = int(size.removesuffix("Mi")) * 2**20
            else:
                volumes[place] = folder / volume["name"]
                volumes[place].mkdir()
                source = manifests.the("ConfigMap", volume["configMap"]["name"])
                for name, text in source["data"].items():
                    config_map.put(volumes[place], name, text)
        self.volumes = volumes
        registry = manifests.environment["UPSTREAM"]
        arguments = [each.replace(registry, upstream) for each in manifests.arguments]
        self.server = lab.Server(
            image.run(
                self.here([*image.entrypoint, *arguments]),
                env=HOME | manifests.environment | {"UPSTREAM": upstream},
                volumes=volumes,
                temporary=temporary,
            ),
            url=f"http://127.0.0.1:{self.port}",
            log=folder / "log",
            stop_signal=signal.SIGINT,
        )

    def here(self, command: list[str]) -> list[str]:
        """A command with the ports that this pod has."""
        declared = re.compile(rf"\b({'|'.join(self._ports)})\b")
        return [declared.sub(lambda port: self._ports[port[0]], part) for part in command]

    def process(self) -> Path:
        """What the kernel says of its first process."""
        outside = self.server.process.pid
        [first] = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        return Path("/proc", first)
