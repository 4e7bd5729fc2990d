"""`rules`, `check` and `explain`: rules without a running proxy."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..rules.rules_file import DEFAULT_PATH, RulesError
from .completion import Add, File

if TYPE_CHECKING:
    from ..routing.settings import Settings

BAD_ARGUMENTS = 2


def add(command: Add) -> None:
    """Add all three to the commands of a parser."""
    rules = command(
        "rules",
        "print the shipped rules.yaml, to start your own from, or the values in force",
        "mlflow-proxy rules > my-rules.yaml",
        "mlflow-proxy rules --effective my-rules.yaml",
    )
    rules.add_argument(
        "--effective", action="store_true", help="each value in force, and where it comes from"
    )
    rules.add_argument(
        "file", nargs="?", action=File, help="with --effective; default: the shipped"
    )
    rules.set_defaults(run=_rules)

    check = command(
        "check",
        "check a rules file as the proxy does at start",
        "mlflow-proxy check my-rules.yaml",
    )
    check.add_argument(
        "file",
        nargs="?",
        action=File,
        default=DEFAULT_PATH,
        help="rules file; default: the shipped one",
    )
    check.set_defaults(run=_check)

    explain = command(
        "explain",
        "show what happens to a request and why",
        "mlflow-proxy explain GET /api/2.0/mlflow/runs/get",
        "mlflow-proxy explain PUT /api/2.0/mlflow-artifacts/artifacts/a --rules my-rules.yaml",
    )
    explain.add_argument("method", metavar="METHOD", help="such as GET")
    explain.add_argument("url", metavar="URL", help="URL of the proxy, or only its path")
    explain.add_argument(
        "--upstream",
        metavar="HOST[:PORT]",
        help="the registry, unless the mount has its own; default: the first of "
        "upstream.external_hosts",
    )
    explain.add_argument(
        "--dialect",
        choices=("standard", "ajax"),
        help="API of an upstream that is not listed; a running proxy detects it",
    )
    explain.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header of the request; may be repeated",
    )
    explain.add_argument(
        "--rules", action=File, default=DEFAULT_PATH, help="rules file; default: the shipped one"
    )
    explain.add_argument("--json", action="store_true", help="one JSON document on stdout")
    explain.set_defaults(run=_explain)


def _read(path: Path) -> Settings | None:
    # Imported here: `probe` does not need mitmproxy.
    from ..routing import gate, settings

    try:
        return settings.read(path, os.environ.get(gate.ENVIRONMENT), "")
    except RulesError as error:
        print(error, file=sys.stderr)
        return None


def _rules(arguments: argparse.Namespace) -> int:
    if not arguments.effective:
        if arguments.file is not None:
            print("rules: FILE needs --effective", file=sys.stderr)
            return BAD_ARGUMENTS
        print(DEFAULT_PATH.read_text(encoding="utf-8"), end="")
        return 0
    from ..rules import rules_file
    from . import effective

    path = arguments.file or DEFAULT_PATH
    if (read := _read(path)) is None:
        return 1
    print("\n".join(effective.lines(read, path, rules_file.lines(path))))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from ..explain.words import counts

    if (read := _read(arguments.file)) is None:
        return 1
    print(f"{arguments.file}: ok ({counts(read.rules)})")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from ..explain.question import ask, its_upstream, of_mount, server
    from ..explain.words import Question
    from ..routing import settings

    if (read := _read(arguments.rules)) is None:
        return 1
    listed = read.rules.upstream.external_hosts
    try:
        if (own := of_mount(read, arguments.url)) is not None and own.mount is not None:
            read, upstream = own, its_upstream(own.mount)
        elif name := arguments.upstream or (listed[0] if listed else None):
            upstream = server(name)
        else:
            raise ValueError("--upstream is needed: the rules list no external host")
        config, known = read.rules.upstream, ""
        address = (upstream.host, upstream.port)
        if config.dialect == "auto" and not config.is_listed(*address):
            if arguments.dialect:
                is_ajax = arguments.dialect == "ajax"
                read = settings.adapted(read, address, is_ajax=is_ajax, base_path=config.base_path)
                known = "--dialect says so"
            else:
                known = "not listed: a running proxy asks it; --dialect says what it would find"
        headers = [_header(text) for text in arguments.header]
        question = Question(arguments.method, arguments.url, upstream, known, headers)
        explanation = ask(read, question)
    except ValueError as error:
        print(f"explain: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    if arguments.json:
        print(json.dumps(asdict(explanation), indent=2))
    else:
        print("\n".join(explanation.lines()))
    return 0


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"--header: expected 'NAME: VALUE', got {name!r}")
    return name.strip(), value.strip()
