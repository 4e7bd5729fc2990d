"""Several proxies behind HAProxy."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from install import programs


def workers_command(
    upstream: str, count: int, *, port: int, options: Sequence[str | Path] = ()
) -> list[str | Path]:
    """Return the command line that starts them; it needs `workers_environment`."""
    command: list[str | Path] = [sys.executable, "-m", "addon.cli", "run"]
    command += ["--workers", str(count), "--listen", f"127.0.0.1:{port}"]
    return [*command, "--upstream", upstream, "--", *options]


def workers_environment() -> dict[str, str]:
    """Return the variables by which it finds the code and HAProxy, as scripts/run.sh sets them."""
    places = [os.environ.get("PATH", os.defpath), str(programs.binary("haproxy").parent)]
    return {"PYTHONPATH": str(programs.ROOT), "PATH": os.pathsep.join(places)}
