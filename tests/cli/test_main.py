"""The command line: help with examples that work."""

from __future__ import annotations

import re
import shlex

import pytest

from addon.cli import main

EXAMPLE = re.compile(r"^  mlflow-proxy (.+?)$", re.MULTILINE)


class _ParsedError(Exception):
    """A command was understood, and is not run."""


@pytest.mark.parametrize("command", ["run", "probe", "check", "explain", "rules"])
def test_examples(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a command line that the parser takes."""
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    examples = EXAMPLE.findall(capsys.readouterr().out.replace("\\\n", ""))
    assert examples

    def parsed(*_: object) -> None:
        raise _ParsedError

    for module, name in (("run", "_run"), ("rules", "_rules")):
        monkeypatch.setattr(f"addon.cli.{module}.{name}", parsed)
    for name in ("_check", "_explain"):
        monkeypatch.setattr(f"addon.cli.rules.{name}", parsed)
    monkeypatch.setattr("addon.cli.main._probe", parsed)
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[0] == command
        with pytest.raises(_ParsedError):
            main.main(words)
