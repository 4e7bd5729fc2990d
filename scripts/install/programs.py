"""Programs that the scripts of this folder install at their first use."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".run"
"""The folder for everything installed or generated, except .venv."""


CANNOT = 3
"""The exit code of engine.sh where no engine can run."""


class NoEngineError(RuntimeError):
    """No container engine can run here; the message says why."""


def installed(script: str, argument: str) -> Path:
    """Run a script of this folder and return the path that it prints.

    A lock keeps two processes from installing the same thing at the same time.

    Raises:
        subprocess.CalledProcessError: the script failed, and has written the reason to stderr.
    """
    command: list[str | Path] = [Path(__file__).with_name(script), argument]
    with _alone():
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(run.stdout.strip())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    DATA.mkdir(exist_ok=True)
    with (DATA / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def mlflow(version: int) -> Path:
    """Return the Python of an environment with MLflow 3 or 2."""
    return installed("mlflow.sh", str(version)) / "bin" / "python"


def wheel(folder: Path) -> Path:
    """Build the wheel of this project into a folder; return its path."""
    return installed("wheel.sh", str(folder))


def binary(name: str) -> Path:
    """Return the path of a program that server.sh knows."""
    return installed("server.sh", name)


def tool(name: str) -> Path:
    """Return the path of a program that tool.sh knows."""
    return installed("tool.sh", name)


def engine() -> Path:
    """Return a folder with `buildah` and `podman`.

    Raises:
        NoEngineError: neither can run here.
    """
    command = Path(__file__).with_name("engine.sh")
    with _alone():
        run = subprocess.run([command], capture_output=True, text=True, check=False)
    if run.returncode == CANNOT:
        raise NoEngineError(run.stderr.strip().rpartition("\n")[2])
    if run.returncode:
        raise RuntimeError(f"{command}: {run.returncode}\n{run.stderr}")
    return Path(run.stdout.strip())
