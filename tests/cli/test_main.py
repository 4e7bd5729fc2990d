"""The command line: help with working examples, and exit codes for scripts and monitoring."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from support.upstream import Upstream, response

from addon import __version__
from addon.cli import main as cli
from addon.rules import rules_file

OK = response("200 OK", b'{"experiments": []}', ("Content-Type", "application/json"))
PAGE = response("404 Not Found", b"<html>", ("Content-Type", "text/html"))
DENIED = response("401 Unauthorized", b'{"error_code": "X"}', ("Content-Type", "application/json"))
OFF = response(
    "503 Service Unavailable",
    b'{"error_code": "ARTIFACTS_DISABLED"}',
    ("Content-Type", "application/json"),
)
RULES = "health: {probes: [{name: api, path: /api/2.0/x}]}"

EXAMPLE = re.compile(r"^  mlflow-proxy (.+?)$", re.MULTILINE)


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A rules file with one probe."""
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return str(path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        # Monitoring systems read exit code 2 as critical.
        (["probe", "--nothing"], 3, "unrecognized arguments: --nothing"),
        (["probe", "--timeout", "x"], 3, "argument --timeout: invalid float value: 'x'"),
        (["check", "--nothing"], 2, "unrecognized arguments: --nothing"),
        (["explain", "GET"], 2, "the following arguments are required: URL"),
        (["nothing"], 2, "invalid choice: 'nothing'"),
        ([], 2, "the following arguments are required: command"),
    ],
)
def test_bad_arguments(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad arguments give the usage, one line with the problem and a failure."""
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == code
    assert said in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The output has the versions of the proxy and of mitmproxy, for bug reports."""
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"mlflow-proxy {__version__}, mitmproxy 1")


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The output is the document alone, so that it can be redirected to a file."""
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == rules_file.schema()


@pytest.mark.parametrize(
    ("answer", "code", "state", "message"),
    [
        (OK, 0, "ok", "ok"),
        (OFF, 0, "ok", "disabled"),
        (DENIED, 1, "warning", "401: there, but it asks for credentials"),
        (PAGE, 2, "critical", "404 with an HTML page"),
    ],
)
def test_probe(
    rules: str,
    answer: bytes,
    code: int,
    state: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code, JSON document and table agree."""
    with Upstream(answer) as upstream:
        assert cli.main(["probe", upstream.url, "--rules", rules, "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert cli.main(["probe", upstream.url, "--rules", rules]) == code
    assert (document["status"], document["url"]) == (state, upstream.url)
    assert [(probe["name"], probe["message"]) for probe in document["probes"]] == [("api", message)]
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{state:8} {upstream.url}"
    assert second.split()[1] == "api"
    assert second.endswith(f" ms  {message}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://h"], "unknown: expected a URL that starts with http:// or https://"),
        (["http://h", "--timeout", "0"], "unknown: --timeout: 0: expected a number of seconds"),
        (["http://h", "--rules", "/none"], "unknown: /none: cannot read the rules: "),
    ],
)
def test_probe_cannot_begin(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A probe that cannot start says nothing about the registry: unknown, in one line."""
    assert cli.main(["probe", *words]) == 3
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.out == ""


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (OK, 0, "/api"),
        (DENIED, 3, "credentials"),
    ],
)
def test_diagnose(answer: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints which API the registry serves; exit code 3 means unclear."""
    with Upstream(answer) as upstream:
        assert cli.main(["probe", upstream.url, "--diagnose"]) == code
    assert said in capsys.readouterr().out


def test_a_reader_that_stops_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`| head` is not an error; the exit code is that of a shell."""

    class Closed:
        """Standard output whose reader has closed it."""

        def __init__(self, file: Any) -> None:
            self.fileno = file.fileno

        def write(self, _: str) -> int:
            return 0

        def flush(self) -> None:
            raise BrokenPipeError

    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Closed(file))
        assert cli.main(["schema"]) == cli.CLOSED_PIPE == 141


class _ParsedError(Exception):
    """Raised in place of running a parsed command."""


@pytest.mark.parametrize(
    "command", ["run", "probe", "check", "explain", "rules", "reload", "files"]
)
def test_examples(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser accepts each example."""
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    examples = EXAMPLE.findall(capsys.readouterr().out.replace("\\\n", ""))
    assert examples

    def parsed(*_: object) -> None:
        raise _ParsedError

    for module, name in (
        ("run", "_run"),
        ("rules", "_rules"),
        ("reload", "_reload"),
        ("files", "_files"),
    ):
        monkeypatch.setattr(f"addon.cli.{module}.{name}", parsed)
    for name in ("_check", "_explain"):
        monkeypatch.setattr(f"addon.cli.rules.{name}", parsed)
    monkeypatch.setattr("addon.cli.main._probe", parsed)
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[0] == command
        with pytest.raises(_ParsedError):
            cli.main(words)
