"""`files`: writes what an operator copies, such as units and manifests, into a folder."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..workers.shipped import DEPLOY, LOCKS, PACKAGE
from .completion import Add, Folder

UNIT = "systemd/mlflow-proxy@.service"
_COPIED = ("grafana/*.json", "haproxy/*.cfg", "kubernetes/*/*.yaml", "prometheus/*.yml")
_ADDON = "image/addon/"
"""So many files that they are not listed."""
_PLAIN = re.compile(r"[\w./+@-]+")
_HOMES = ("/home", "/root", "/run/user")
"""What a unit with ProtectHome=yes does not see (systemd.exec(5))."""


def add(command: Add) -> None:
    """Add `files` to the commands of a parser."""
    files = command(
        "files",
        "write the files for operators: systemd, HAProxy, Prometheus, Grafana, Kubernetes, image",
        "mlflow-proxy files deploy",
        "mlflow-proxy files --force deploy",
    )
    files.add_argument("folder", action=Folder, help="made if it is missing")
    files.add_argument("--force", action="store_true", help="replace files that differ")
    files.set_defaults(run=_files)


def contents() -> dict[str, bytes]:
    """Return all files by their paths in the folder.

    Raises:
        ValueError: systemd would not understand the path of this installation.
        OSError: this installation is not complete.
    """
    programs = Path(sys.executable).parent
    found = {UNIT: unit((DEPLOY / UNIT).read_text("utf-8"), programs, PACKAGE).encode()}
    for pattern in _COPIED:
        for file in DEPLOY.glob(pattern):
            found[str(file.relative_to(DEPLOY))] = file.read_bytes()
    found |= {f"image/{path}": file.read_bytes() for path, file in _image()}
    return dict(sorted(found.items()))


def _image() -> Iterator[tuple[str, Path]]:
    """Yield what the Dockerfile copies, in the places that a checkout has."""
    for name in ("Dockerfile", "Dockerfile.dockerignore"):
        yield name, DEPLOY / name
    yield "scripts/deploy/image/alive.py", DEPLOY / "image" / "alive.py"
    for name in ("build.lock", "requirements.lock"):
        yield f"scripts/install/locks/{name}", LOCKS / name
    yield "rules.yaml", PACKAGE / "rules.yaml"
    for pattern in ("**/*.py", "rules.*"):
        for file in PACKAGE.glob(pattern):
            path = file.relative_to(PACKAGE)
            if path.parts[0] not in (DEPLOY.name, LOCKS.name):
                yield f"addon/{path}", file


def unit(text: str, programs: Path, package: Path) -> str:
    """Return the unit with the paths of an installation in place of those of a checkout in /opt.

    Args:
        text: the shipped unit.
        programs: the folder with Python.
        package: the folder of the addon.

    Raises:
        ValueError: systemd would read such a path as something else.
    """
    for path in (programs, package):
        if not _PLAIN.fullmatch(str(path)):
            raise ValueError(f"{str(path)!r}: expected a path without blanks and signs of systemd")
    for old, new in (
        ("/opt/mlflow-proxy/.venv/bin", str(programs)),
        ("-m addon.cli", f"-m {package.name}.cli"),
        ("=/opt/mlflow-proxy\n", f"={package.parent}\n"),
    ):
        text = text.replace(old, new)
    return text


def _files(arguments: argparse.Namespace) -> int:
    try:
        return _write(arguments.folder, contents(), force=arguments.force)
    except (OSError, ValueError) as error:
        print(f"files: {error}", file=sys.stderr)
        return 1


def _write(folder: Path, wanted: dict[str, bytes], *, force: bool) -> int:
    there = {path for path in wanted if (folder / path).exists()}
    same = {path for path in there if (folder / path).read_bytes() == wanted[path]}
    if (differ := sorted(there - same)) and not force:
        for path in differ:
            print(f"files: {folder / path}: differs; --force replaces it", file=sys.stderr)
        print("files: nothing was written", file=sys.stderr)
        return 1
    for path, data in wanted.items():
        if path not in same:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        if not path.startswith(_ADDON):
            print(f"{folder / path}{' (unchanged)' if path in same else ''}")
    print(f"{folder / _ADDON} ({sum(path.startswith(_ADDON) for path in wanted)} files)")
    programs = (Path(sys.executable).resolve(), PACKAGE)
    if hidden := [path for path in programs if any(map(path.is_relative_to, _HOMES))]:
        problem = f"services do not see {hidden[0]}: install below /opt"
        print(f"files: {UNIT}: {problem}", file=sys.stderr)
    return 0
