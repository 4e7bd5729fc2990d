"""A real MLflow client, in a process of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lab


@dataclass(frozen=True)
class Outcome:
    """The result of a client's call."""

    result: Any
    """The return value, or the type of the exception."""
    code: str
    message: str
    seconds: float


class Client:
    """A process with a real MLflow client."""

    def __init__(self, version: int) -> None:
        self.version = version
        worker = Path(__file__).parent / "mlflow_worker.py"
        self.process = subprocess.Popen(
            [lab.mlflow(version), "-W", "ignore", worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def call(self, name: str, uri: str) -> Outcome:
        """Make a call by name, such as "get_run"."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([uri, name]) + "\n")
        self.process.stdin.flush()
        return Outcome(*json.loads(self.process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
