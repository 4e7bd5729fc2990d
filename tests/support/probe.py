"""scripts/probe.sh, as a monitoring system runs it."""

from __future__ import annotations

import os
import subprocess

import stack


def probe(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it with these arguments, and of MLflow's variables only these."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.run(
        [stack.ROOT / "scripts" / "probe.sh", *arguments],
        env=environment | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
