"""The pages in scripts/deploy/examples: tests run the commands that a user would copy."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import lab

FOLDER = lab.ROOT / "scripts" / "deploy" / "examples"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# scripts/run.sh would use the checkout's Python in place of the tests' own.
_RUN = f"exec env PYTHONPATH={lab.ROOT} {sys.executable} -m addon.cli run"


class Page:
    """One page, with a test's values in place of the page's names.

    Args:
        name: the page's file name.
        folder: where its commands run.
        places: the test's value for each word of the page; each word must occur.
    """

    def __init__(self, name: str, folder: Path, places: Mapping[str, str]) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        text = (FOLDER / name).read_text(encoding="utf-8")
        for word, place in places.items():
            assert word in text, f"{name} does not say {word!r}"
            text = text.replace(word, place)
        self._blocks = _BLOCK.findall(text.replace("scripts/run.sh", _RUN))

    def block(self, says: str) -> str:
        """Return the block that contains some words; there must be exactly one."""
        [found] = [text for _, text in self._blocks if says in text]
        return str(found)

    def run(self, says: str, **files: str) -> subprocess.CompletedProcess[str]:
        """Run the block that contains some words to its end, with MLflow's Python as `python`.

        Args:
            says: the words.
            files: contents of files to write to the folder, by name.
        """
        for name, text in files.items():
            (self._folder / name).write_text(text)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.block(says)],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def serve(self, says: str, url: str, *, leave_out: str = "") -> lab.Server:
        """Start the block that contains some words, a server at a URL; drop `leave_out` from it."""
        block = self.block(says)
        assert leave_out in block
        script = f"cd {self._folder}\n{block.replace(leave_out, '')}"
        log = self._folder / f"{url.rpartition(':')[2]}.log"
        return lab.Server(
            ["bash", "-euo", "pipefail", "-c", script],
            url=url,
            log=log,
            env=self._environment(),
            stop_signal=signal.SIGKILL,
        )

    def _environment(self) -> dict[str, str]:
        path = f"{lab.mlflow(3).parent}:{os.environ['PATH']}"
        settings = {
            "PATH": path,
            "GIT_PYTHON_REFRESH": "quiet",
            "PYTHONWARNINGS": "ignore",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WORKERS": "1",
        }
        return os.environ | settings
