"""`run`: from its arguments to mitmproxy's command line."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from addon.cli import addresses
from addon.cli import main as cli
from addon.cli import run as cli_run
from addon.observe import banner
from addon.rules.rules_file import DEFAULT_PATH as RULES
from addon.workers import serve


@pytest.mark.parametrize(
    ("words", "started", "said"),
    [
        ([], ["--listen-host", "127.0.0.1", "--listen-port", "8080"], "http://127.0.0.1:8080 in"),
        # All addresses.
        (["--listen", ":80"], ["--listen-host", "", "--listen-port", "80"], "http://:80 in"),
        (
            ["--listen", "0.0.0.0:80", "--rules", str(RULES)],
            ["--set", f"mlflow_rules={RULES}", "--listen-host", "0.0.0.0", "--listen-port", "80"],
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
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The process becomes the mitmdump or mitmweb beside this Python, with all arguments."""
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: commands.append(command))
    monkeypatch.setattr(addresses, "problem", lambda *_, **__: None)
    monkeypatch.setenv("MLFLOW_PROXY_BANNER", "")
    with pytest.raises(TypeError):  # `execv` does not return.
        cli.main(["run", "--upstream", "https://r.example", *(["--web"] if web else []), *words])
    ((program, *arguments),) = commands
    assert program == str(Path(sys.executable).parent / ("mitmweb" if web else "mitmdump"))
    quiet = [] if web else list(cli_run.QUIET)
    shared = ["--mode", "reverse:https://r.example", "-s", str(cli_run.SCRIPT)]
    at = started.index("x=y") - 1 if "x=y" in started else len(started)
    lines = [] if web else ["--set", "mlflow_access_log=-"]
    assert arguments == [*shared, *quiet, *started[:at], *lines, *started[at:]]
    # The proxy prints this once it serves.
    assert capfd.readouterr().err == ""
    banner.show()
    assert said in capfd.readouterr().err
    banner.show()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_an_address_in_use(kind: socket.SocketKind) -> None:
    """The message names our option; mitmproxy also needs the UDP port, for HTTP/3."""
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        message = f"run: --listen: 127.0.0.1:{port}: another program listens there"
        with pytest.raises(SystemExit, match=message):
            cli.main(["run", "--upstream", "https://r.example", "--listen", f"127.0.0.1:{port}"])


@pytest.mark.parametrize("form", ["--web-port {}", "--set web_port={}", "--set=web_port={}"])
def test_a_port_of_mitmweb_that_is_taken(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """mitmweb itself would end with a traceback."""
    monkeypatch.setattr("os.execv", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--listen", "127.0.0.1:0", "--web", "--", *form.format(port).split()]
        message = f"run: web_port: 127.0.0.1:{port}: another program listens there"
        with pytest.raises(SystemExit, match=message):
            cli.main(["run", "--upstream", "http://r.example", *words])


@pytest.mark.parametrize("upstream", ["https://user:secret@r.example", "user:secret@r.example"])
def test_an_upstream_with_credentials(upstream: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused without being printed."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--upstream", upstream])
    said = capsys.readouterr().err
    assert "--upstream: expected a URL without user and password" in said
    assert "upstream.credentials" in said
    assert "secret" not in said


@pytest.mark.parametrize("listen", ["8080", "host", "host:", "host:http", "host:65536"])
def test_invalid_listen_address(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message has the expected form."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--upstream", "http://x", "--listen", listen])
    assert f"{listen!r}: expected HOST:PORT" in capsys.readouterr().err


def test_no_mitmproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """mitmdump is neither beside this Python nor on PATH."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SystemExit, match=r"mitmdump is neither beside .* nor on PATH"):
        cli_run.command(addresses.Upstream("http://x", ""))


@pytest.mark.parametrize(
    ("text", "url", "base_path"),
    [
        ("https://r.example", "https://r.example", ""),
        ("https://r.example/", "https://r.example", ""),
        ("http://127.0.0.1:5000/mlflow/", "http://127.0.0.1:5000", "/mlflow"),
        ("https://[::1]:8443/a/b", "https://[::1]:8443", "/a/b"),
        ("https://r_1.example.:65535", "https://r_1.example.:65535", ""),
        ("https://bücher.example", "https://bücher.example", ""),
    ],
)
def test_a_path_of_the_upstream(text: str, url: str, base_path: str) -> None:
    """The path becomes the base path, as mitmproxy's mode cannot have one."""
    read = addresses.upstream(text)
    assert read == addresses.Upstream(url, base_path)
    command = cli_run.command(read)
    assert f"reverse:{url}" in command
    assert (f"mlflow_base_path={base_path}" in command) is bool(base_path)


@pytest.mark.parametrize(
    "text",
    [
        *("registry.example.org", "ftp://r.example", "https://", "https://r.example:port"),
        *("https://r.example/a?token=secret", "https://r.example/../a", "https://r.example//a"),
        *("https://r.example?token=secret", "https://r.example#a", "https://[::1", ""),
        # mitmproxy would refuse these with a message about its own option.
        *("https://r.example:0", "https://r.example:65536", "https://[:::::]", "https://r!"),
        *("https://r..example", f"https://{'a' * 64}.example", "https://[10.0.0.1]"),
    ],
)
def test_invalid_upstream(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names our option and omits the query."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--upstream", text])
    said = capsys.readouterr().err
    assert "argument --upstream: " in said
    assert ": expected " in said
    assert "secret" not in said


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return the command line that `run` starts with these words."""
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: commands.append(command))
    monkeypatch.setattr(addresses, "problem", lambda *_, **__: None)
    monkeypatch.setenv("MLFLOW_PROXY_BANNER", "")

    def start(*words: str) -> list[str]:
        with pytest.raises(TypeError):  # There is no way back from `execv`.
            cli.main(["run", "--upstream", "http://x", *words])
        return commands.pop()

    return start


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "mlflow_access_log=file"],
        ["--set", "mlflow_access_log="],
        ["--set=mlflow_access_log=file"],
        ["--set", "flow_detail=0"],
        ["--set", "termlog_verbosity=debug"],
    ],
)
def test_an_option_of_the_user(words: list[str], started: Callable[..., list[str]]) -> None:
    """mitmproxy takes each option once, so ours is left out."""
    name = words[-1].removeprefix("--set=").partition("=")[0]
    command = started("--", *words)
    assert [word for word in command if name in word] == [words[-1]]
    assert command[-len(words) :] == words
    assert any("mlflow_access_log" in word for word in command)


@pytest.mark.parametrize(
    "words", [["--set", "flow_detail=2"], ["--flow-detail", "1"], ["--flow-detail=1"], ["-v"]]
)
def test_lines_of_mitmdump(words: list[str], started: Callable[..., list[str]]) -> None:
    """A user who asks for mitmdump's lines gets them, without ours between them."""
    command = started("--", *words)
    assert not any("mlflow_access_log" in word for word in command)
    assert ("flow_detail=0" in command) is (words == ["-v"])
    assert "termlog_verbosity=warn" in command


def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes get the same options; HAProxy listens, and serves no HTTP/3."""
    asked: list[object] = []
    served: list[object] = []

    def run(*arguments: object) -> int:
        served.extend(arguments)
        return 7

    monkeypatch.setattr(addresses, "problem", lambda *_, udp: asked.append(udp))
    monkeypatch.setattr(serve, "serve", run)
    words = ["run", "--upstream", "https://r.example", "--listen", "[::1]:80", "--workers", "3"]
    words += ["--rules", str(RULES), "--", "--set", "mlflow_access_log={worker}"]
    assert cli.main(words) == 7
    assert asked == [False]
    command = cli_run.command(addresses.Upstream("https://r.example", ""))[1:]
    own = ["--set", f"mlflow_rules={RULES}", "--set", "mlflow_access_log={worker}"]
    assert served == ["[::1]:80", 3, command + own]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "argument --workers: '0': expected 1 or more"),
        (["--workers", "-1"], "argument --workers: '-1': expected 1 or more"),
        (["--workers", "\u0663"], "argument --workers: '\u0663': expected 1 or more"),
        (["--workers", "2", "--web"], "run: --web shows one process: leave out --workers"),
    ],
)
def test_no_workers(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the mistake in the number, or in another option beside it."""
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "--upstream", "http://x", *words])
    assert said in f"{end.value.code}{capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["extra"], "'extra': expected an option of mitmdump, such as --set"),
        (["--", "~u x"], "'~u x': expected an option of mitmdump, such as --set"),
        (
            ["--workers", "2", "--", "--certs", "*=proxy.pem"],
            "certs: clients reach HAProxy, which serves plain HTTP: leave out --workers",
        ),
        (["--", "--listen-port", "80"], "listen_port: --listen sets it already"),
        (["--", "--set", "listen_host=::1"], "listen_host: --listen sets it already"),
        (
            ["--rules", str(RULES), "--", "--set", "mlflow_rules=r.yaml"],
            "mlflow_rules: --rules sets it already",
        ),
        (
            ["--upstream", "http://x/y", "--", "--set", "mlflow_base_path=/z"],
            "mlflow_base_path: the path of --upstream sets it already",
        ),
    ],
)
def test_options_that_run_refuses(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the name of our option, where mitmproxy would name or take another one."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--upstream", "http://x", *words])
    assert (ended.value.code, capsys.readouterr().err) == (2, f"run: {said}\n")


def test_rules_with_a_mistake(tmp_path: Path) -> None:
    """They are read before the start, so the message has the name of our option."""
    mistake, missing = tmp_path / "rules.yaml", tmp_path / "none.yaml"
    mistake.write_text("mounts: 5\n")
    for path, said in (
        (missing, f"{missing}: cannot read the rules: No such file or directory"),
        (mistake, f"{mistake}:1: mounts: 5: expected a list"),
    ):
        with pytest.raises(SystemExit, match=f"^run: --rules: {re.escape(said)}"):
            cli.main(["run", "--upstream", "http://x", "--rules", str(path)])
