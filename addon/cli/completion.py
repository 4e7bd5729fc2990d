"""`completion`: prints a script by shtab that completes commands and options in a shell."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Any, parser: argparse.ArgumentParser) -> None:
    """Add `completion` to the commands of a parser."""
    completion = commands.add_parser("completion", help="print completion for a shell")
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=partial(_print, parser, commands))


def _print(parser: argparse.ArgumentParser, commands: Any, arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        sys.exit("completion: shtab is missing; pip install 'mlflow-proxy-addon[completion]'")
    for command in commands.choices.values():
        for action in command._actions:
            if action.type is Path:
                action.complete = shtab.FILE
    print(shtab.complete(parser, arguments.shell))
    return 0
