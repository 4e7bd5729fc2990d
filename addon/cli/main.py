"""Commands for the shell, for scripts/*.sh and for an installed `mlflow-proxy`.

Exit codes of `probe` follow the Nagios convention (0 ok, 1 warning, 2 critical, 3 unknown; see
https://nagios-plugins.org/doc/guidelines.html).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import NoReturn
from urllib.parse import urlsplit

from .. import __version__
from ..observe import request_lines
from ..protocol import to_https
from ..registry import diagnosis, dialect, probes
from ..registry.answers import Answer, https_required
from ..registry.client import Client, client_from_environment
from ..rules import rules_file
from . import completion, files, reload, rules, run
from .completion import File

EXIT_CODES: dict[probes.State, int] = {"ok": 0, "disabled": 0, "warning": 1, "critical": 2}
UNKNOWN = 3
CLOSED_PIPE = 128 + signal.SIGPIPE
"""The exit code of a shell for a program that SIGPIPE has ended."""

_COLOURS = {"ok": "32", "disabled": "33", "warning": "33", "critical": "31"}


class _Parser(argparse.ArgumentParser):
    """Exits with 'unknown', not 'critical', for bad arguments of `probe`: monitoring reads it."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        code = UNKNOWN if self.get_default("run") is _probe else rules.BAD_ARGUMENTS
        self.exit(code, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = _Parser(prog="mlflow-proxy", description="Commands of the MLflow proxy.")
    mitmproxy = metadata.version("mitmproxy")
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}, mitmproxy {mitmproxy}"
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def add(name: str, text: str, *examples: str) -> argparse.ArgumentParser:
        shown = "\n  ".join(("examples:", *examples)) if examples else None
        layout = argparse.RawDescriptionHelpFormatter
        return commands.add_parser(
            name, help=text, description=text, epilog=shown, formatter_class=layout
        )

    run.add(add)

    probe = add(
        "probe",
        "check a registry through the proxy",
        "mlflow-proxy probe http://127.0.0.1:8080",
        "mlflow-proxy probe --write --json http://127.0.0.1:8080/mlflow",
        "mlflow-proxy probe --diagnose https://registry.example.org",
    )
    probe.add_argument(
        "url",
        nargs="?",
        default=os.environ.get("MLFLOW_TRACKING_URI") or "http://127.0.0.1:8080",
        help="tracking URI; default: MLFLOW_TRACKING_URI, else http://127.0.0.1:8080",
    )
    probe.add_argument("--json", action="store_true", help="one JSON document on stdout")
    probe.add_argument(
        "--write", action="store_true", help="also write, read and delete an artifact"
    )
    probe.add_argument(
        "--diagnose",
        action="store_true",
        help="detect whether a registry (give its own URL, not the proxy's) serves /api, "
        "/ajax-api or both, and suggest a rule",
    )
    probe.add_argument("--timeout", type=float, metavar="SECONDS", help="time limit of each probe")
    probe.add_argument(
        "--rules",
        action=File,
        default=rules_file.DEFAULT_PATH,
        help="take the probes from this rules file; default: the shipped one",
    )
    probe.set_defaults(run=_probe)

    rules.add(add)
    reload.add(add)
    files.add(add)

    schema = add("schema", "print the JSON Schema of rules.yaml")
    schema.set_defaults(run=_schema)

    completion.add(add, parser)

    parsed, rest = parser.parse_known_args(arguments)
    if rest:
        commands.choices[parsed.command].error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code = int(parsed.run(parsed))
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    return code


def _drop_output() -> None:
    """Go on after a reader that stops early, such as `head`: that is not an error.

    See https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _probe(arguments: argparse.Namespace) -> int:
    try:
        config = rules_file.load(arguments.rules).health
        timeout = config.timeout if arguments.timeout is None else arguments.timeout
        if timeout <= 0:
            raise ValueError(f"--timeout: {timeout:g}: expected a number of seconds above 0")
        client = client_from_environment(arguments.url, timeout)
    except (rules_file.RulesError, ValueError, OSError) as error:
        print(f"unknown: {error}", file=sys.stderr)
        return UNKNOWN
    if arguments.diagnose:
        return _diagnose(client)
    results = probes.run(client, config.probes, write=arguments.write)
    state = probes.overall(results)
    if arguments.json:
        document = {
            "status": state,
            "url": client.url,
            "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "probes": [asdict(result) for result in results],
        }
        said = json.dumps(document, indent=2)
    else:
        said = _table(client.url, state, results)
    try:
        print(said, flush=True)
    except BrokenPipeError:
        _drop_output()  # The exit code is the verdict all the same.
    return EXIT_CODES[state]


def _diagnose(client: Client) -> int:
    parts = urlsplit(client.url)
    at_root = replace(client, url=f"{parts.scheme}://{parts.netloc}")

    def ask(path: str) -> Answer:
        answer = at_root.send("GET", path)
        secure = to_https.secure_url(answer.status or 0, answer.location, url=at_root.url + path)
        return answer if secure is None else https_required(secure)

    found = dialect.find(ask, parts.path.rstrip("/"), thorough=True)
    authenticated = client.authorization is not None
    print("\n".join(diagnosis.report(found, client.url, authenticated=authenticated)))
    return 0 if found.dialect else UNKNOWN


def _table(url: str, state: probes.State, results: Sequence[probes.Result]) -> str:
    colour = sys.stdout.isatty() and request_lines.has_colours()
    width = max((len(result.name) for result in results), default=0)

    def painted(text: probes.State) -> str:
        return f"\033[{_COLOURS[text]}m{text:8}\033[0m" if colour else f"{text:8}"

    lines = [f"{painted(state)} {url}"]
    for result in results:
        milliseconds = f"{result.response_time * 1000:.0f} ms"
        lines.append(
            f"  {painted(result.state)} {result.name:{width}}  "
            f"{result.status_code or '-':>3}  {milliseconds:>8}  {result.message}"
        )
    return "\n".join(lines)


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(rules_file.schema(), indent=2))
    return 0
