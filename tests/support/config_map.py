"""A ConfigMap as Kubernetes mounts it."""

from __future__ import annotations

import time
from pathlib import Path


def put(folder: Path, name: str, text: str) -> None:
    """Write or replace a file: name -> ..data/name, ..data -> a folder for this version."""
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir()
    (version / name).write_text(text, encoding="utf-8")
    turned = folder / "..data_tmp"
    turned.symlink_to(version.name)
    turned.replace(folder / "..data")
    if not (folder / name).is_symlink():
        turned.symlink_to(f"..data/{name}")
        turned.replace(folder / name)
