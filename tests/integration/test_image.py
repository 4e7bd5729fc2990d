"""The image and the Deployment together: built and run without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import stack
from support import image
from support.client import request
from support.image import Image
from support.manifests import FOLDER, Manifests
from support.upstream import OK, Upstream
from support.waiting import eventually

from addon import rules_file

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/x"
HOME = {"HOME": "/"}
"""Of a user without a name."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, made from what a builder gets to see."""
    folder = tmp_path_factory.mktemp("image")
    yield image.build(FOLDER.parent / "Dockerfile", stack.ROOT, folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    """What Kubernetes gets."""
    return Manifests.of(FOLDER / "example")


class ConfigMap:
    """A volume with one file, changed as the kubelet does it: `..data` turns to another folder."""

    def __init__(self, folder: Path, name: str, text: str) -> None:
        self.folder, self.name, self.count = folder, name, 0
        folder.mkdir()
        folder.chmod(0o777)
        self.write(text)
        (folder / name).symlink_to(f"..data/{name}")

    def write(self, text: str) -> None:
        """Change it."""
        self.count += 1
        version = self.folder / f"..version-{self.count}"
        version.mkdir()
        (version / self.name).write_text(text)
        (self.folder / "..data_tmp").symlink_to(version.name)
        (self.folder / "..data_tmp").replace(self.folder / "..data")


class Pod:
    """A running container of the Deployment, on a free port in the place of its own."""

    def __init__(self, built: Image, manifests: Manifests, upstream: str, folder: Path) -> None:
        self.image, self.port = built, stack.free_port()
        container, pod = manifests.container, manifests.pod["spec"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        self.volumes: dict[str, Path] = {}
        self.temporary: dict[str, int] = {}
        for volume in pod["volumes"]:
            place = mounts[volume["name"]]
            if "emptyDir" in volume:
                size = volume["emptyDir"]["sizeLimit"]
                self.temporary[place] = int(size.removesuffix("Mi")) * 2**20
            else:
                [(name, text)] = manifests.the("ConfigMap", volume["configMap"]["name"])[
                    "data"
                ].items()
                self.rules = ConfigMap(folder / volume["name"], name, text)
                self.volumes[place] = self.rules.folder
        arguments = [
            each.replace(manifests.environment["UPSTREAM"], upstream)
            for each in manifests.arguments
        ]
        environment = manifests.environment | {"UPSTREAM": upstream} | HOME
        command = self.here([*built.entrypoint, *arguments])
        self.server = stack.Server(
            built.run(command, env=environment, volumes=self.volumes, temporary=self.temporary),
            url=f"http://127.0.0.1:{self.port}",
            log=folder / "log",
            stop_signal=signal.SIGINT,
        )

    def here(self, command: list[str]) -> list[str]:
        """A command with the port that this pod has."""
        return [re.sub(rf"\b{self.image.port}\b", str(self.port), part) for part in command]

    def status(self) -> dict[str, str]:
        """What the kernel says of its first process."""
        process = self.server.process.pid
        [first] = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        lines = Path(f"/proc/{first}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def pod(built: Image, manifests: Manifests, scripted: Upstream, tmp_path: Path) -> Iterator[Pod]:
    """A pod in front of the scripted upstream."""
    scripted.answer = OK
    pod = Pod(built, manifests, scripted.url, tmp_path)
    with pod.server.wait("/livez"):
        yield pod


def test_what_is_in_it(built: Image) -> None:
    """The addon, its rules and its packages with their bytecode; nothing that installs."""
    inside = built.root / "opt"
    assert {path.name for path in inside.iterdir()} == {"venv", "mlflow-proxy"}
    project = inside / "mlflow-proxy"
    assert {path.name for path in project.iterdir()} == {"addon", "rules.yaml"}
    for source in project.rglob("*.py"):
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source
    assert not list((inside / "venv").glob("bin/pip*"))
    assert not (built.root / "locks").exists()


def test_without_arguments(built: Image) -> None:
    """It says how to use it: without a mode it would be a forward proxy for everybody."""
    command = built.run([*built.entrypoint, *built.command], env=HOME, temporary={"/tmp": 2**20})
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("usage: mitmdump")


def test_it_can_write_nowhere_else(built: Image) -> None:
    """The test itself: what is read-only is read-only."""
    script = "touch /tmp/x && ! touch /x /opt/x /opt/venv/x /etc/x /usr/x"
    command = built.run(["sh", "-c", script], env=HOME, temporary={"/tmp": 2**20})
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Read-only file system") == 5


def test_a_pod(pod: Pod, manifests: Manifests) -> None:
    """It serves what the manifests promise, takes up new rules, and goes in order."""
    url = pod.server.url
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert request(url, manifests.container[probe]["httpGet"]["path"]).status == 200
    assert request(url, "/readyz").status == 200
    assert request(url, ARTIFACT).status == 200
    # The image's own check.
    check = pod.image.run(pod.here(pod.image.healthcheck), env=HOME)
    assert subprocess.run(check, check=False).returncode == 0

    status = pod.status()
    assert set(status["Uid"].split()) == {"65532"}
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (0, 0)
    assert status["NoNewPrivs"] == "1"
    assert status["NSpid"].split()[-1] == "1"
    soft, hard = re.split(r"\s{2,}", _limits(status["Pid"]))[1:3]
    assert soft == hard

    # A change of the ConfigMap.
    rules = pod.rules
    text = (FOLDER / "base" / "rules.yaml").read_text()
    changed = text.replace("enabled: true\n  # While", "enabled: false\n  # While")
    changed = changed.replace("grace: 10", "grace: 1")
    assert rules_file.parse(changed, rules.name).artifacts.enabled is False
    rules.write(changed)
    eventually(lambda: request(url, ARTIFACT).status == 503)

    os.killpg(pod.server.process.pid, signal.Signals[pod.image.stop_signal])
    eventually(lambda: request(url, "/readyz").status == 503)
    assert request(url, "/livez").status == 200
    assert pod.server.process.wait(30) == 0
    lines = pod.server.text().splitlines()
    assert "Traceback" not in pod.server.text(), pod.server.text()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    asked = [each["status"] for each in logged if each["path"] == ARTIFACT]
    assert (asked[0], asked[-1]) == (200, 503)


def test_without_a_registry(built: Image, manifests: Manifests, tmp_path: Path) -> None:
    """A pod whose registry is down lives, and says so to clients in JSON."""
    port = stack.free_port()
    pod = Pod(built, manifests, f"http://127.0.0.1:{port}", tmp_path)
    with pod.server.wait("/livez"):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = manifests.container[probe]["httpGet"]["path"]
            assert request(pod.server.url, path).status == 200
        assert request(pod.server.url, "/readyz").status == 503
        answer = request(pod.server.url, ARTIFACT)
        assert answer.status == 502
        assert json.loads(answer.body)["source"] == "proxy"


def _limits(process: str) -> str:
    lines = Path(f"/proc/{process}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max open files"))
