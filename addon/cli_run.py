"""`run`, `script` and `rules`: the way from an installation to a running proxy."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

from .rules_file import DEFAULT_PATH

SCRIPT = Path(__file__).with_name("main.py").resolve()
"""What mitmproxy loads."""

_QUIET = ("--set", "flow_detail=0", "--set", "termlog_verbosity=warn")
"""Lines for each flow and connection cost a third of the throughput and would show query strings;
warnings and errors stay."""


def add(commands: Any) -> None:
    """Add the three to the commands of a parser."""
    run = commands.add_parser("run", help="start the proxy in front of a registry")
    run.add_argument("--upstream", required=True, metavar="URL", help="the registry")
    run.add_argument(
        "--listen",
        type=_address,
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="default: %(default)s",
    )
    run.add_argument("--rules", type=Path, metavar="FILE", help="in the place of those shipped")
    run.add_argument("--web", action="store_true", help="mitmweb in the place of mitmdump")
    run.add_argument(
        "options", nargs="*", metavar="-- OPTION", help="further options of mitmdump, such as --set"
    )
    run.set_defaults(run=_run)

    script = commands.add_parser("script", help='for mitmdump -s "$(mlflow-proxy script)"')
    script.set_defaults(run=_script)

    rules = commands.add_parser("rules", help="print the shipped rules.yaml, to begin with")
    rules.set_defaults(run=_rules)


def _address(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*):(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT")
    return match[1].removeprefix("[").removesuffix("]"), match[2]


def _run(arguments: argparse.Namespace) -> NoReturn:
    name = "mitmweb" if arguments.web else "mitmdump"
    program = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if program is None:
        sys.exit(f"run: {name} is neither beside {sys.executable} nor on PATH")
    host, port = arguments.listen
    shown = f"[{host}]" if ":" in host else host
    print(
        f"MLflow proxy on http://{shown}:{port} in front of {arguments.upstream} "
        "(health: /livez, /readyz, /health/mlflow)",
        file=sys.stderr,
        flush=True,
    )
    command = [program, "--mode", f"reverse:{arguments.upstream}"]
    command += ["--listen-host", host, "--listen-port", port, "-s", str(SCRIPT)]
    command += () if arguments.web else _QUIET
    if arguments.rules is not None:
        command += ["--set", f"mlflow_rules={arguments.rules}"]
    # In the place of this process: signals and the exit code are mitmproxy's own.
    os.execv(program, [*command, *arguments.options])  # noqa: S606


def _script(_: argparse.Namespace) -> int:
    print(SCRIPT)
    return 0


def _rules(_: argparse.Namespace) -> int:
    print(DEFAULT_PATH.read_text(encoding="utf-8"), end="")
    return 0
