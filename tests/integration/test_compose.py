"""The page about Compose: the services as they say, with processes in place of containers."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lab
import pytest
import yaml
from support import image
from support.client import request
from support.examples import Page

from addon.rules import rules_file

DOCKERFILE = lab.ROOT / "scripts" / "deploy" / "Dockerfile"


@pytest.fixture
def text(tmp_path: Path) -> str:
    """The file on the page."""
    return Page("compose.md", tmp_path, {}).block("services:")


@pytest.fixture
def services(text: str) -> dict[str, dict[str, Any]]:
    """What it says of each service."""
    return dict(yaml.safe_load(text)["services"])


@pytest.mark.parametrize("change", ["", "stop_grace"])
def test_schema(text: str, tmp_path: Path, change: str) -> None:
    """Compose knows every field; one that it does not know is a mistake."""
    file = tmp_path / "compose.yaml"
    file.write_text(text.replace("stop_grace_period", change or "stop_grace_period"))
    command: list[str | Path] = [lab.tool("check-jsonschema")]
    command += ["--builtin-schema", "vendor.compose-spec", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (change == ""), done.stdout


def test_the_image(services: dict[str, dict[str, Any]]) -> None:
    """What the service says fits what the Dockerfile says."""
    proxy, said = services["proxy"], dict(image.instructions(DOCKERFILE.read_text()))
    build = proxy["build"]
    assert lab.ROOT / build["context"] / build["dockerfile"] == DOCKERFILE
    assert f"--listen-port={said['EXPOSE']}" in proxy["command"]
    assert proxy["ports"] == [f"{said['EXPOSE']}:{said['EXPOSE']}"]
    assert "entrypoint" not in proxy
    # mitmproxy takes an option once, and the image has some.
    options = re.findall(r"--(?:set=)?(\w+)=", " ".join(proxy["command"]))
    assert not {*re.findall(r'"(\w+)=', said["ENTRYPOINT"])} & {*options}
    drain = rules_file.load(lab.ROOT / "rules.yaml").drain
    assert int(proxy["stop_grace_period"].removesuffix("s")) > drain.grace + drain.timeout
    [folder] = proxy["tmpfs"]
    assert f"confdir={folder}/" in said["ENTRYPOINT"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a name of its own needs root")
def test_it_runs(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """A client's run passes through the proxy to MLflow, which knows the name of its service."""
    ports = {"5000": str(lab.free_port()), "8080": str(lab.free_port())}
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost mlflow\n")

    def here(command: Sequence[str]) -> list[str]:
        """A command as if in a container: with the names there, and ports that are free here."""
        words = [re.sub(r"\b(5000|8080)\b", lambda port: ports[port[0]], each) for each in command]
        words = [each.replace("/mlflow/", f"{tmp_path}/") for each in words]
        path = f"PATH={lab.mlflow(3).parent}:{os.environ['PATH']}"
        script = f"mount --bind {hosts} /etc/hosts; exec env {path} {shlex.join(words)}"
        return ["unshare", "--mount", "sh", "-ec", script]

    def is_healthy(test: Sequence[str]) -> bool:
        return subprocess.run(here(test), capture_output=True, check=False).returncode == 0

    mlflow, proxy = services["mlflow"], services["proxy"]
    said = dict(image.instructions(DOCKERFILE.read_text()))
    entrypoint = json.loads(said["ENTRYPOINT"])
    for there, place in {
        "/opt/venv/bin/mitmdump": Path(sys.executable).with_name("mitmdump"),
        "/opt/mlflow-proxy/addon/main.py": lab.MAIN,
        "confdir=/tmp/mitmproxy": f"confdir={tmp_path}",
    }.items():
        entrypoint[entrypoint.index(there)] = str(place)
    check = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    check[0] = sys.executable
    assert mlflow["healthcheck"]["test"][0] == "CMD"
    assert not is_healthy(mlflow["healthcheck"]["test"][1:])
    assert not is_healthy(check)
    registry = lab.Server(
        here([*shlex.split(mlflow["command"]), "--workers", "1"]),
        url=f"http://127.0.0.1:{ports['5000']}",
        log=tmp_path / "mlflow.log",
        env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    server = lab.Server(
        here([*entrypoint, *proxy["command"]]),
        url=f"http://127.0.0.1:{ports['8080']}",
        log=tmp_path / "proxy.log",
        env={"PYTHONPATH": str(lab.ROOT)},
        stop_signal=signal.SIGINT,
    )
    with registry, server:
        registry.wait("/health", seconds=120)
        server.wait("/livez")
        assert is_healthy(mlflow["healthcheck"]["test"][1:])
        assert is_healthy(check)
        assert request(server.url, "/readyz").status == 200
        script = (
            "import mlflow, pathlib\n"
            "pathlib.Path('a.txt').write_text('content')\n"
            "with mlflow.start_run(): mlflow.log_artifact('a.txt')\n"
        )
        run = subprocess.run(
            [lab.mlflow(3), "-c", script],
            env=os.environ | {"MLFLOW_TRACKING_URI": server.url, "GIT_PYTHON_REFRESH": "quiet"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert list((tmp_path / "artifacts").rglob("a.txt"))
        assert "Traceback" not in server.text()
