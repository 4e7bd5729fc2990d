"""The contracts of imports in pyproject.toml hold, and would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("protocol/target.py", "", None),
        ("protocol/target.py", "from ..routing import gate", "Imports go down only"),
        ("routing/gate.py", "from mitmproxy import http", "What decides does not know mitmproxy"),
        ("routing/rewrite.py", "from . import routes", "No circles in a room"),
        ("room_of_its_own.py", "", "Imports go down only"),
    ],
)
def test_contracts(file: str, line: str, broken: str | None, tmp_path: Path) -> None:
    """A forbidden import, and a module that no contract knows, break one of them."""
    shutil.copytree(ROOT / "addon", tmp_path / "addon", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "addon" / file).open("a") as module:
        module.write(f"{line}\n")
    command: list[str | Path] = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) == (broken is None), run.stdout
    assert broken is None or broken in run.stdout.partition("Broken contracts")[2], run.stdout
