"""From the words on the command line to the one of mitmproxy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from addon import cli, cli_run


@pytest.mark.parametrize(
    ("words", "started", "said"),
    [
        ([], ["--listen-host", "127.0.0.1", "--listen-port", "8080"], "http://127.0.0.1:8080 in"),
        # On all addresses.
        (["--listen", ":80"], ["--listen-host", "", "--listen-port", "80"], "http://:80 in"),
        (
            ["--listen", "0.0.0.0:80", "--rules", "r.yaml"],
            ["--listen-host", "0.0.0.0", "--listen-port", "80", "--set", "mlflow_rules=r.yaml"],
            "http://0.0.0.0:80 in",
        ),
        (
            ["--listen", "[::1]:80", "--", "--set", "x=y"],
            ["--listen-host", "::1", "--listen-port", "80", "--set", "x=y"],
            "http://[::1]:80 in",
        ),
    ],
)
@pytest.mark.parametrize("web", [False, True])
def test_run(
    words: list[str],
    started: list[str],
    said: str,
    web: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It becomes mitmdump or mitmweb, the one beside this Python, with all that was said."""
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: commands.append(command))
    with pytest.raises(TypeError):  # There is no way back from `execv`.
        cli.main(["run", "--upstream", "https://r.example", *(["--web"] if web else []), *words])
    ((program, *arguments),) = commands
    assert program == str(Path(sys.executable).parent / ("mitmweb" if web else "mitmdump"))
    quiet = [] if web else list(cli_run.QUIET)
    shared = ["--mode", "reverse:https://r.example", "-s", str(cli_run.SCRIPT)]
    assert arguments == [*shared, *quiet, *started]
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["8080", "host", "host:", "host:http"])
def test_no_address(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with it is said."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--upstream", "x", "--listen", listen])
    assert f"{listen!r}: expected HOST:PORT" in capsys.readouterr().err


def test_no_mitmproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside this Python nor on PATH."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SystemExit, match=r"mitmdump is neither beside .* nor on PATH"):
        cli_run.command("http://x")
