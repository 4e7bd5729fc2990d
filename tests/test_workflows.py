"""The workflows run existing scripts, on each Python of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]


def test_commands() -> None:
    """Each command is a script of the project or builds its image."""
    runs = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    scripts = [run for run in runs if run.startswith("scripts/")]
    others = [run for run in runs if run not in scripts]
    assert all((ROOT / run.split()[0]).is_file() for run in scripts)
    assert others == ["docker build -f scripts/deploy/Dockerfile -t mlflow-proxy ."]
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(runs[1])


def test_pythons() -> None:
    """The workflow runs the Pythons of the classifiers; the first is the oldest supported one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = "Programming Language :: Python :: 3."
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if c.startswith(version)]
    assert JOBS["test"]["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
