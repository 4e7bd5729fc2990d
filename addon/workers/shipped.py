"""Where the files for operators are: the wheel has them inside the package (see pyproject.toml)."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""`addon` in a checkout, `mlflow_proxy` in an installation."""


def _folder(inside: str, in_checkout: str) -> Path:
    folder = PACKAGE / inside
    return folder if folder.is_dir() else PACKAGE.parent / in_checkout


DEPLOY = _folder("deploy", "scripts/deploy")
LOCKS = _folder("locks", "scripts/install/locks")
