"""Describes the software and the machine of a measurement."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

import lab
from mitmproxy import version


def describe() -> dict[str, str]:
    """Return versions, machine and date."""
    return {
        "date": datetime.date.today().isoformat(),
        "mitmproxy": version.VERSION,
        "Python": platform.python_version(),
        "nginx": _version(lab.binary("nginx"), "-v"),
        "wrk": _version(lab.binary("wrk"), "-v"),
        "MLflow": _mlflow(),
        "kernel": platform.release(),
        "CPU": _cpu(),
        "cores": str(os.cpu_count()),
    }


def _version(program: Path, option: str) -> str:
    # nginx prints it on stderr, and wrk exits with 1.
    run = subprocess.run([program, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", run.stdout + run.stderr)
    return found[0] if found else "unknown"


def _mlflow() -> str:
    # Only installed for measurements that need it.
    found = (lab.DATA / "mlflow-3").glob("lib/python*/site-packages/mlflow-[0-9]*.dist-info")
    return next((path.stem.partition("-")[2] for path in found), "not installed")


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"model name\s*: (.*)", text)
    return found[1] if found else platform.machine()
