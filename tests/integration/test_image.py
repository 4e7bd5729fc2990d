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

import lab
import pytest
import yaml
from support import config_map, image
from support.client import request
from support.image import Image
from support.manifests import FOLDER, Manifests
from support.pod import HOME, Pod
from support.upstream import OK, Upstream
from support.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/x"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, made from what a builder gets to see."""
    folder = tmp_path_factory.mktemp("image")
    yield image.build(FOLDER.parent / "Dockerfile", lab.ROOT, folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    """What Kubernetes gets."""
    return Manifests.of(FOLDER / "example")


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
    page = request(f"http://127.0.0.1:{pod.metrics_port}", "/metrics")
    assert b'mlflow_proxy_responses_total{status="200"}' in page.body

    status = (pod.process() / "status").read_text()
    assert re.search(r"^Uid:\s+65532\s+65532\s+65532\s+65532$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+\nCapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^NSpid:.*\s1$", status, re.MULTILINE)

    # A change of the ConfigMap.
    rules = yaml.safe_load((FOLDER / "base" / "rules.yaml").read_text())
    rules["artifacts"]["enabled"] = False
    rules["drain"]["grace"] = 3600
    config_map.put(pod.volumes["/etc/mlflow-proxy"], "rules.yaml", yaml.safe_dump(rules))
    eventually(lambda: request(url, ARTIFACT).status == 503)

    os.killpg(pod.server.process.pid, signal.Signals[pod.image.stop_signal])
    eventually(lambda: request(url, "/readyz/local").status == 503)
    assert request(url, "/livez").status == 200
    # Its time is long enough for what is asked here; a second signal ends it.
    os.killpg(pod.server.process.pid, signal.Signals[pod.image.stop_signal])
    assert pod.server.process.wait(30) == 0
    assert "Traceback" not in pod.server.text(), pod.server.text()
    logged = [json.loads(line) for line in pod.server.text().splitlines() if line.startswith("{")]
    asked = [each["status"] for each in logged if each["path"] == ARTIFACT]
    assert (asked[0], asked[-1]) == (200, 503)


def test_without_a_registry(built: Image, manifests: Manifests, tmp_path: Path) -> None:
    """A pod whose registry is down lives, and says so to clients in JSON."""
    port = lab.free_port()
    pod = Pod(built, manifests, f"http://127.0.0.1:{port}", tmp_path)
    with pod.server.wait("/livez"):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = manifests.container[probe]["httpGet"]["path"]
            assert request(pod.server.url, path).status == 200
        # The image's own check.
        check = pod.image.run(pod.here(pod.image.healthcheck), env=HOME)
        assert subprocess.run(check, check=False).returncode == 0
        assert request(pod.server.url, "/readyz").status == 503
        answer = request(pod.server.url, ARTIFACT)
        assert answer.status == 502
        assert json.loads(answer.body)["source"] == "proxy"
