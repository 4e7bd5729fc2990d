"""`completion`: prints a script by shtab that completes commands and options in a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Add = Callable[..., argparse.ArgumentParser]
"""Adds a command with its name and help."""

SHELLS = ("bash", "zsh", "tcsh")


class File(argparse.Action):
    """Stores the path of a file; a shell completes it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(type=Path, metavar="FILE", **settings)

    def __call__(self, _: object, namespace: object, value: object, *__: object) -> None:
        setattr(namespace, self.dest, value)

    @property
    def complete(self) -> Any:
        """The word by which shtab knows it; only `completion` asks."""
        import shtab

        return shtab.FILE


class Folder(File):
    """Stores the path of a folder; a shell completes it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.metavar = "DIR"

    @property
    def complete(self) -> Any:
        """As for a file."""
        import shtab

        return shtab.DIRECTORY


def add(command: Add, parser: argparse.ArgumentParser) -> None:
    """Add `completion` to the commands of a parser."""
    completion = command("completion", "print completion for a shell")
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=partial(_print, parser))


def _print(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        sys.exit("completion: shtab is missing; pip install 'mlflow-proxy-addon[completion]'")
    print(shtab.complete(parser, arguments.shell))
    return 0
