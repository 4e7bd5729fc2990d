"""`run` and `script`: from an installation to a running proxy."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..observe import banner
from ..rules import rules_file
from . import addresses
from .completion import Add, File
from .rules import BAD_ARGUMENTS

SCRIPT = Path(__file__).parent.with_name("main.py").resolve()
"""The script that mitmproxy loads."""

QUIET = ("--set", "flow_detail=0", "--set", "termlog_verbosity=warn")
"""Lines for each flow and connection cost a third of the throughput, would show query strings, and
would stand between our own; warnings and errors stay."""


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


def command(
    upstream: addresses.Upstream, options: Sequence[str] = (), *, web: bool = False
) -> list[str]:
    """Return the command line of a proxy, but for where it listens."""
    name = "mitmweb" if web else "mitmdump"
    program = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if program is None:
        sys.exit(f"run: {name} is neither beside {sys.executable} nor on PATH")
    return [program, *mitmproxy_arguments(upstream, options, web=web)]


def mitmproxy_arguments(
    upstream: addresses.Upstream, options: Sequence[str] = (), *, web: bool = False
) -> list[str]:
    """Return the arguments of mitmproxy, without the address on which it listens.

    Args:
        upstream: the registry.
        options: options of mitmdump, which take the place of ours.
        web: whether they are for mitmweb.
    """
    started = ["--mode", f"reverse:{upstream.url}", "-s", str(SCRIPT)]
    for setting in () if web else QUIET[1::2]:
        # mitmproxy takes an option once.
        if not sets(options, setting.partition("=")[0]):
            started += ["--set", setting]
    if upstream.base_path:
        started += ["--set", f"mlflow_base_path={upstream.base_path}"]
    return [*started, *options]


def sets(options: Sequence[str], name: str) -> bool:
    """Return whether options of mitmdump set the option with this name."""
    return value(options, name) is not None


def value(options: Sequence[str], name: str) -> str | None:
    """Return the value for an option in options of mitmdump; None if they do not set it."""
    flag = f"--{name.replace('_', '-')}"
    if flag in options[:-1]:
        return options[options.index(flag) + 1]
    begins = (f"{name}=", f"--set={name}=", f"{flag}=")
    found = (o[len(begin) :] for o in options for begin in begins if o.startswith(begin))
    return next(found, None)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 or more")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    options, upstream, several = arguments.options, arguments.upstream, arguments.workers
    if several and arguments.web:
        # Each would have its own web interface, with only its share of the requests.
        sys.exit("run: --web shows one process: leave out --workers")
    if problem := _misuse(arguments):
        print(f"run: {problem}", file=sys.stderr)
        sys.exit(BAD_ARGUMENTS)
    words = []
    if arguments.rules is not None:
        try:
            rules_file.load(arguments.rules.expanduser())
        except rules_file.RulesError as error:
            sys.exit(f"run: --rules: {error}")
        words += ["--set", f"mlflow_rules={arguments.rules}"]
    host, port = arguments.listen
    # With https:// mitmproxy listens for HTTP/3 as well, by UDP; HAProxy does not.
    udp = not (several or upstream.url.startswith("http://"))
    if problem := addresses.problem(host, port, udp=udp):
        sys.exit(f"run: {problem}")
    if several:
        from ..workers.serve import serve

        return serve(
            addresses.shown(host, port), several, command(upstream, [*words, *options])[1:]
        )
    if arguments.web and (problem := _web_problem(options)):
        sys.exit(f"run: {problem}")
    banner.leave(
        f"MLflow proxy on http://{addresses.shown(host, port)} in front of "
        f"{upstream.url}{upstream.base_path} "
        "(health: /livez, /readyz, /health/mlflow)"
    )
    words += ["--listen-host", host, "--listen-port", str(port)]
    # mitmdump's own lines take the place of ours.
    own_lines = {"-v", "--verbose"} & {*options} or value(options, "flow_detail") not in (None, "0")
    if not (arguments.web or own_lines or sets(options, "mlflow_access_log")):
        words += ["--set", "mlflow_access_log=-"]
    return _become(command(upstream, [*words, *options], web=arguments.web))


def _become(started: list[str]) -> NoReturn:
    """Replace this process, so that signals and the exit code are mitmproxy's own."""
    os.execv(started[0], started)  # noqa: S606


def _web_problem(options: Sequence[str]) -> str | None:
    """Return why mitmweb's own page cannot be served; mitmweb would end with a traceback."""
    host, port = value(options, "web_host") or "127.0.0.1", value(options, "web_port") or "8081"
    if not port.isdecimal():
        return None  # mitmproxy says so itself.
    return addresses.problem(host, int(port), option="web_port")


def _misuse(arguments: argparse.Namespace) -> str | None:
    """Return what is wrong with the options of mitmdump; None if nothing is."""
    options = arguments.options
    if options and not options[0].startswith("-"):
        return f"{options[0]!r}: expected an option of mitmdump, such as --set"
    if arguments.workers and sets(options, "certs"):
        return "certs: clients reach HAProxy, which serves plain HTTP: leave out --workers"
    ours = {"listen_host": "--listen", "listen_port": "--listen"}
    if arguments.rules is not None:
        ours["mlflow_rules"] = "--rules"
    if arguments.upstream.base_path:
        ours["mlflow_base_path"] = "the path of --upstream"
    twice = next((name for name in ours if sets(options, name)), None)
    return twice and f"{twice}: {ours[twice]} sets it already"


def _script(_: argparse.Namespace) -> int:
    print(SCRIPT)
    return 0
