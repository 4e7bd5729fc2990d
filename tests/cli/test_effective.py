"""The values in force and their sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from addon.cli import main
from addon.rules.rules_file import DEFAULT_PATH

RULES = """\
mounts: [/, /m]
artifacts:
  read: false
  endpoints:
    - path: /x
limits:
  flows: 7
"""


def rows(out: str) -> dict[str, tuple[str, str]]:
    """Return value and source of each key."""
    found = {}
    for line in out.splitlines():
        key, _, rest = line.partition(" ")
        value, _, source = rest.strip().rpartition("  # ")
        found[key] = value, source
    return found


@pytest.mark.parametrize("environment", [None, "false"])
def test_sources(
    environment: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value comes from a line of the file, from the environment or from the defaults."""
    monkeypatch.delenv("MLFLOW_SERVE_ARTIFACTS", raising=False)
    if environment is not None:
        monkeypatch.setenv("MLFLOW_SERVE_ARTIFACTS", environment)
    path = tmp_path / "mine.yaml"
    path.write_text(RULES)
    assert main.main(["rules", "--effective", str(path)]) == 0
    found = rows(capsys.readouterr().out)
    assert found["mounts"] == ('["/", "/m"]', "mine.yaml:1")
    assert found["artifacts.read"] == ("false", "mine.yaml:3")
    assert found["artifacts.write"] == ("true", "default")
    assert found["artifacts.endpoints[0].path"] == ('"/x"', "mine.yaml:5")
    assert found["artifacts.endpoints[0].files"] == ("false", "default")
    assert found["limits.flows"] == ("7", "mine.yaml:7")
    assert found["limits.head_timeout"][1] == "default"
    enabled = ("false", "MLFLOW_SERVE_ARTIFACTS") if environment else ("true", "default")
    assert found["artifacts.enabled"] == enabled


def test_the_shipped_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file the command reads the shipped rules."""
    assert main.main(["rules", "--effective"]) == 0
    assert rows(capsys.readouterr().out)["mounts"][1].startswith("rules.yaml:")
    assert main.main(["rules"]) == 0
    assert capsys.readouterr().out == DEFAULT_PATH.read_text()


def test_rules_with_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes are reported as at the start, exit code 1; a file without `--effective` gives 2."""
    path = tmp_path / "mine.yaml"
    path.write_text("limits: {flow: 1}")
    assert main.main(["rules", "--effective", str(path)]) == 1
    assert "limits.flow: unknown key; did you mean 'flows'?" in capsys.readouterr().err
    assert main.main(["rules", str(path)]) == 2
    assert "FILE needs --effective" in capsys.readouterr().err


def test_mounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mount with its own registry has a line for each of its keys."""
    path = tmp_path / "mine.yaml"
    path.write_text("mounts:\n  - /\n  - path: /a\n    upstream: https://a.example/ml\n")
    assert main.main(["rules", "--effective", str(path)]) == 0
    found = rows(capsys.readouterr().out)
    assert found["mounts[0]"] == ('"/"', "mine.yaml:2")
    assert found["mounts[1].path"] == ('"/a"', "mine.yaml:3")
    assert found["mounts[1].upstream"] == ('"https://a.example/ml"', "mine.yaml:4")
    assert found["mounts[1].artifacts.write"] == ("true", "default")
