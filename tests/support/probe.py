"""Runs scripts as a user or a monitoring system would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import lab


def script(name: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script; of MLflow's variables, only the given ones are set."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.run(
        [lab.ROOT / "scripts" / name, *arguments],
        env=environment | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
    )


def probe(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/probe.sh."""
    return script("probe.sh", *arguments, **env)
