"""Credentials that the proxy adds, before any request: `check`, the start, and `explain`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import lab
import pytest

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_at_start(tmp_path: Path) -> None:
    """If the secret file is missing, the proxy does not start, and `check` reports the same."""
    missing = tmp_path / "missing"
    entry = {"host": "registry.example", "file": str(missing)}
    rules = lab.write_rules(tmp_path / "rules.yaml", external=(), upstream={"credentials": [entry]})
    problem = (
        f"{rules}: upstream.credentials[0].file: '{missing}': "
        "cannot be read: No such file or directory"
    )
    command: list[str | Path] = [lab.ROOT / "scripts" / "rules.sh", "check", rules]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr.strip()) == (1, problem)
    with lab.proxy("http://127.0.0.1:1", rules, log=tmp_path / "log") as proxy:
        assert proxy.process.wait(60) == 1
        assert problem in proxy.text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "credentials: added (bearer, from the environment variable REGISTRY_TOKEN)"),
        (["-H", "Authorization: x"], "credentials: the client's own pass"),
        (["--upstream", "other.example"], "credentials: none are listed for this upstream"),
    ],
)
def test_explain(tmp_path: Path, arguments: list[str], line: str) -> None:
    """`explain` names the source of the credentials, but does not print them."""
    entry = {"host": "registry.example", "env": "REGISTRY_TOKEN"}
    rules = lab.write_rules(tmp_path / "rules.yaml", external=(), upstream={"credentials": [entry]})
    command: list[str | Path] = [lab.ROOT / "scripts" / "rules.sh", "explain", "GET", SEARCH]
    command += ["--rules", rules, "--upstream", "registry.example", *arguments]
    done = subprocess.run(
        command,
        env=os.environ | {"REGISTRY_TOKEN": "the-token"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(rf"^login +{re.escape(line)}", done.stdout, re.MULTILINE), done.stdout
    assert "the-token" not in done.stdout + done.stderr
