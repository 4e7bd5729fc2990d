"""`check` and `explain`: exit codes and output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from addon.cli import main as cli
from addon.routing import gate

RULES = """
upstream: {external_hosts: [registry.example], dialect: DIALECT}
rewrites: [{name: ajax, match: ^/api/, replace: /ajax-api/, upstream: external}]
artifacts: {enabled: true, endpoints: [{path: /api/artifacts/.*}]}
"""


@pytest.fixture(autouse=True)
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the switch in the environment, so that the rules decide."""
    monkeypatch.delenv(gate.ENVIRONMENT, raising=False)


def write(folder: Path, dialect: str = "auto") -> str:
    path = folder / "rules.yaml"
    path.write_text(RULES.replace("DIALECT", dialect))
    return str(path)


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid file gives counts; an invalid one gives all of its mistakes."""
    path = write(tmp_path)
    assert cli.main(["check", path]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ok (")
    path = write(tmp_path, "none")
    assert cli.main(["check", path]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{path}:2: upstream.dialect: 'none': expected ")
    assert captured.out == ""


def test_check_with_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The environment variable is checked as well, as at the proxy's start."""
    monkeypatch.setenv(gate.ENVIRONMENT, "perhaps")
    assert cli.main(["check", write(tmp_path)]) == 1
    assert gate.ENVIRONMENT in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "dialect", "sent", "known"),
    [
        # Without --upstream, the first listed host counts.
        ([], "auto", "/ajax-api/x", ""),
        (["--upstream", "other.example"], "auto", "/api/x", "not listed: a running proxy asks it"),
        (["--upstream", "other.example", "--dialect", "ajax"], "auto", "/ajax-api/x",
         "--dialect says so"),
        (["--upstream", "other.example", "--dialect", "standard"], "auto", "/api/x",
         "--dialect says so"),
        # The rules set the dialect.
        (["--upstream", "other.example", "--dialect", "ajax"], "standard", "/api/x", ""),
        (["--dialect", "standard"], "auto", "/ajax-api/x", ""),
    ],
)  # fmt: skip
def test_explain(
    tmp_path: Path,
    words: list[str],
    dialect: str,
    sent: str,
    known: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The output has the final path and the source of the dialect."""
    path = write(tmp_path, dialect)
    assert cli.main(["explain", "GET", "/api/x", "--rules", path, *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith(f"GET {sent}")
    assert known in lines[0]
    assert ("--dialect" in lines[0]) is bool(known)
    assert cli.main(["explain", "GET", "/api/x", "--rules", path, "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == sent


def test_headers_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Headers are taken into account, such as Origin; the option can be repeated."""
    words = ["-H", "Accept: */*", "-H", "Origin: https://evil.example"]
    assert cli.main(["explain", "POST", "/api/x", "--rules", write(tmp_path), *words]) == 0
    assert "answered 403" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/api/x", "-H", "nonsense"], "explain: --header: expected 'NAME: VALUE', got 'nonsense'"),
        (["/api/x", "-H", ": value"], "explain: --header: expected 'NAME: VALUE', got ''"),
        (["/api/x", "--upstream", "h:port"], "explain: "),
    ],
)
def test_invalid_arguments(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and the exit code for bad arguments."""
    assert cli.main(["explain", "GET", *words, "--rules", write(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.out == ""


def test_header_values_are_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A header's value may be a credential."""
    words = ["/x", "-H", "Authorization: secret", "-H", ": secret"]
    cli.main(["explain", "GET", *words, "--rules", write(tmp_path)])
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("words", "upstream", "result"),
    [
        (
            ["/team-a/api/x"],
            "a.example:443 of mount /team-a: internal, serves /api/ (not listed: a running proxy "
            "asks it; --dialect says what it would find)",
            "sent upstream: GET /ml/api/x",
        ),
        (
            ["http://proxy/%74eam-a/api/x", "--dialect", "ajax", "--upstream", "other.example"],
            "a.example:443 of mount /team-a: external, serves only /ajax-api/ (--dialect says so)",
            "sent upstream: GET /ml/ajax-api/x",
        ),
        (
            ["/team-b/api/x", "--dialect", "standard"],
            "b.example:5000 of mount /team-b: external, serves only /ajax-api/",
            "sent upstream: GET /ajax-api/x",
        ),
        (
            ["/team-b/files/x"],
            "b.example:5000 of mount /team-b: external, serves only /ajax-api/",
            "answered 503 ARTIFACTS_DISABLED: artifacts disabled: read is switched off",
        ),
        (
            ["/api/x", "--upstream", "other.example", "--dialect", "standard"],
            "other.example:443: internal, serves /api/ (--dialect says so)",
            "sent upstream: GET /api/x",
        ),
        (
            ["/team-a/../api/x"],
            "a.example:443 of mount /team-a: internal, serves /api/ (not listed: a running proxy "
            "asks it; --dialect says what it would find)",
            "answered 400 BAD_REQUEST: The request target is ambiguous: it contains dot segments "
            "that lead above its root.",
        ),
    ],
)
def test_mounts(
    tmp_path: Path,
    words: list[str],
    upstream: str,
    result: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The registry is that of the mount, whatever the command line says."""
    path = tmp_path / "rules.yaml"
    path.write_text("""
mounts:
  - /
  - {path: /team-a, upstream: https://a.example/ml}
  - {path: /team-b, upstream: http://b.example:5000, dialect: ajax, artifacts: {enabled: false}}
rewrites: [{name: rest, match: ^/api/, replace: /ajax-api/, upstream: external}]
artifacts: {endpoints: [{path: /files/.*}]}
""")
    assert cli.main(["explain", "GET", *words, "--rules", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"upstream  {upstream}"
    assert lines[-1] == f"result    {result}"


def test_no_upstream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without listed hosts, --upstream is required."""
    path = tmp_path / "rules.yaml"
    path.write_text("mounts: [/]")
    assert cli.main(["explain", "GET", "/x", "--rules", str(path)]) == 2
    assert "--upstream is needed" in capsys.readouterr().err


def test_invalid_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid rules give the same result as with `check`."""
    assert cli.main(["explain", "GET", "/x", "--rules", write(tmp_path, "none")]) == 1
    assert "upstream.dialect" in capsys.readouterr().err
