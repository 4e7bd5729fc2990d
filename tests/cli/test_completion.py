"""Shell completion."""

from __future__ import annotations

import sys

import pytest

from addon.cli import completion
from addon.cli import main as cli


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that knows the commands, and nothing else on stdout."""
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("explain", "probe", "completion"):
        assert word in script


def test_files_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    """The shell offers files for options that take one."""
    cli.main(["completion", "bash"])
    script = capsys.readouterr().out
    for place in ("probe___rules", "explain___rules", "run___rules", "check_pos_0"):
        assert f"_{place}_COMPGEN=_shtab_compgen_files" in script


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra; the message says how to install it."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit, match=r"shtab is missing; pip install .*\[completion\]"):
        cli.main(["completion", "bash"])
