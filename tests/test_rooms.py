"""The import contracts in pyproject.toml hold, and a forbidden import breaks them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("addon/protocol/target.py", "", None),
        ("addon/protocol/target.py", "from ..routing import gate", "Imports go down only"),
        ("addon/routing/gate.py", "from mitmproxy import http", "What decides does not know"),
        ("addon/routing/rewrite.py", "from . import routes", "No circles in a room"),
        ("addon/room_of_its_own.py", "", "Imports go down only"),
        ("addon/workers/worker.py", "import lab", "Production does not use"),
        ("addon/workers/mitmdump.py", "from bench import growth", "Production does not use"),
        ("scripts/install/programs.py", "from soak.load import Load", "Production does not use"),
        ("addon/cli/run.py", "import demo.embedded", "Production does not use"),
    ],
)
def test_contracts(file: str, line: str, broken: str | None, tmp_path: Path) -> None:
    """A forbidden import, or a module outside of all contracts, breaks a contract."""
    for folder in ("addon", "scripts"):
        ignored = shutil.ignore_patterns("*.pyc", "*.png", "*.lock")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as module:
        module.write(f"{line}\n")
    command: list[str | Path] = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    env = os.environ | {"PYTHONPATH": str(tmp_path / "scripts")}
    run = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) == (broken is None), run.stdout
    assert broken is None or broken in run.stdout.partition("Broken contracts")[2], run.stdout


PRODUCTION = [
    *(ROOT / "scripts" / f"{name}.sh" for name in ("run", "setup", "probe", "rules")),
    *(ROOT / "scripts" / "install").glob("*.sh"),
    *(ROOT / "scripts" / "deploy").rglob("*Dockerfile*"),
    *(ROOT / "scripts" / "deploy" / "image").glob("*.*"),
    *(ROOT / "scripts" / "deploy").rglob("*.service"),
]


@pytest.mark.parametrize("file", PRODUCTION, ids=lambda file: str(file.relative_to(ROOT)))
def test_production_names_no_other_rooms(file: Path) -> None:
    """Scripts, image and unit use only production folders; run.sh may start the demo."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    named = re.findall(r"scripts/(?:lab|demo|bench|soak)\b[\w./]*", "\n".join(lines))
    assert named == (["scripts/demo/embedded.py"] if file.name == "run.sh" else [])
