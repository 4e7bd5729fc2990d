"""`run` and `script`: from an installation to a running proxy."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from ..observe import banner
from . import addresses
from .completion import Add, File

SCRIPT = Path(__file__).parent.with_name("main.py").resolve()
"""The script that mitmproxy loads."""

QUIET = ("--set", "flow_detail=0", "--set", "termlog_verbosity=warn")
"""Lines for each flow and connection cost a third of the throughput and would show query strings;
warnings and errors stay."""


def add(command: Add) -> None:
    """Add both to the commands of a parser."""
    run = command(
        "run",
        "start the proxy in front of a registry",
        "mlflow-proxy run --upstream https://registry.example.org",
        "mlflow-proxy run --upstream http://127.0.0.1:5000/mlflow --listen 0.0.0.0:8080 --web",
        "mlflow-proxy run --upstream https://registry.example.org --rules my-rules.yaml -- \\",
        "    --set mlflow_serve_artifacts=false",
        "mlflow-proxy run --upstream https://registry.example.org --workers 4",
    )
    run.add_argument(
        "--upstream",
        type=addresses.upstream,
        required=True,
        metavar="URL",
        help="the registry; a path is the one below which it serves",
    )
    run.add_argument(
        "--listen",
        type=addresses.listen,
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="default: %(default)s",
    )
    run.add_argument("--rules", action=File, help="rules file; default: the shipped one")
    run.add_argument("--web", action="store_true", help="start mitmweb, not mitmdump")
    run.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="start N processes behind HAProxy, which has to be installed; {worker} in an option "
        "becomes the number of the process",
    )
    run.add_argument(
        "options", nargs="*", metavar="-- OPTION", help="further options of mitmdump, such as --set"
    )
    run.set_defaults(run=_run)

    script = command("script", 'print the path for mitmdump -s "$(mlflow-proxy script)"')
    script.set_defaults(run=_script)


def command(upstream: addresses.Upstream, *, web: bool = False) -> list[str]:
    """Return the command line of a proxy, without the address on which it listens."""
    name = "mitmweb" if web else "mitmdump"
    program = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if program is None:
        sys.exit(f"run: {name} is neither beside {sys.executable} nor on PATH")
    below = ["--set", f"mlflow_base_path={upstream.base_path}"] if upstream.base_path else []
    quiet = () if web else QUIET
    return [program, "--mode", f"reverse:{upstream.url}", "-s", str(SCRIPT), *quiet, *below]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 or more")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    upstream, several = arguments.upstream, arguments.workers
    if several and arguments.web:
        # Each would have its own web interface, with only its share of the requests.
        sys.exit("run: --web shows one process: leave out --workers")
    started = command(upstream, web=arguments.web)
    if arguments.rules is not None:
        started += ["--set", f"mlflow_rules={arguments.rules}"]
    host, port = arguments.listen
    # With https:// mitmproxy listens for HTTP/3 as well, by UDP; HAProxy does not.
    udp = not (several or upstream.url.startswith("http://"))
    if problem := addresses.problem(host, port, udp=udp):
        sys.exit(f"run: {problem}")
    if several:
        from ..workers.serve import serve

        options = [*started[1:], *arguments.options]
        return serve(addresses.shown(host, port), several, options)
    banner.leave(
        f"MLflow proxy on http://{addresses.shown(host, port)} in front of "
        f"{upstream.url}{upstream.base_path} "
        "(health: /livez, /readyz, /health/mlflow)"
    )
    started += ["--listen-host", host, "--listen-port", str(port)]
    # mitmproxy takes an option once.
    if not (arguments.web or any("mlflow_access_log" in option for option in arguments.options)):
        started += ["--set", "mlflow_access_log=-"]
    return _become([*started, *arguments.options])


def _become(started: list[str]) -> NoReturn:
    """Replace this process, so that signals and the exit code are mitmproxy's own."""
    os.execv(started[0], started)  # noqa: S606


def _script(_: argparse.Namespace) -> int:
    print(SCRIPT)
    return 0
