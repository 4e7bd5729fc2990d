"""The Compose file on the page is valid and fits the image (see also test_pods.py)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import lab
import pytest
import yaml
from support.dockerfile import instructions
from support.examples import Page

from addon.rules import rules_file

DOCKERFILE = lab.ROOT / "scripts" / "deploy" / "Dockerfile"


@pytest.fixture
def text(tmp_path: Path) -> str:
    """The Compose file on the page."""
    return Page("compose.md", tmp_path, {}).block("services:")


@pytest.fixture
def services(text: str) -> dict[str, dict[str, Any]]:
    """The services of the Compose file, by name."""
    return dict(yaml.safe_load(text)["services"])


@pytest.mark.parametrize("change", ["", "stop_grace"])
def test_schema(text: str, tmp_path: Path, change: str) -> None:
    """The file matches Compose's schema, and an unknown field is an error."""
    file = tmp_path / "compose.yaml"
    file.write_text(text.replace("stop_grace_period", change or "stop_grace_period"))
    command: list[str | Path] = [lab.tool("check-jsonschema")]
    command += ["--builtin-schema", "vendor.compose-spec", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (change == ""), done.stdout


def test_the_image(services: dict[str, dict[str, Any]]) -> None:
    """The service's build, port, options, stop period and tmpfs fit the image."""
    proxy, said = services["proxy"], dict(instructions(DOCKERFILE.read_text()))
    build = proxy["build"]
    assert lab.ROOT / build["context"] / build["dockerfile"] == DOCKERFILE
    assert proxy["ports"] == [f"{said['EXPOSE']}:{said['EXPOSE']}"]
    assert "entrypoint" not in proxy
    # mitmproxy accepts each option only once, and the image sets some.
    start = said["ENTRYPOINT"]
    options = re.findall(r"--(?:set=)?(\w+)=", " ".join(proxy["command"]))
    assert not {*re.findall(r"--set=(\w+)=", start)} & {*options}
    drain = rules_file.load(lab.ROOT / "rules.yaml").drain
    assert int(proxy["stop_grace_period"].removesuffix("s")) > drain.grace + drain.timeout
    [folder] = proxy["tmpfs"]
    assert f"confdir={folder}/" in start
