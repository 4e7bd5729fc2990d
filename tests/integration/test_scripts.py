"""The scripts, as a person runs them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from support.client import request
from support.upstream import Upstream

RUN = lab.ROOT / "scripts" / "run.sh"
ENV = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}


class Terminal:
    """A script in its own terminal, so that Ctrl-C works as for a person."""

    def __init__(self, *command: str | Path, **env: str) -> None:
        self.text = ""
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            # SIGINT is ignored if the tests run in the background.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir("/")
            os.execve(command[0], [str(part) for part in command], ENV | env)

    def read_until(self, pattern: str, seconds: float = 120) -> re.Match[str]:
        """Wait for a pattern in the output."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, self.text
            if select.select([self.file], [], [], 0.5)[0]:
                try:
                    self.text += os.read(self.file, 65536).decode(errors="replace")
                except OSError:  # Linux reports the end of a terminal as an error.
                    pytest.fail(f"ended without {pattern!r}:\n{self.text}")
        return found

    def finish(self) -> int:
        """Wait for the end and return the exit code."""
        while True:
            try:
                if not (data := os.read(self.file, 65536)):
                    break
            except OSError:
                break
            self.text += data.decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def processes(mark: str) -> list[str]:
    """Return command lines of running processes that contain a text."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            lines.append(line)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("web", [False, True])
def test_embedded_registry(web: bool) -> None:
    """run.sh prints a working tracking URI and example; Ctrl-C ends all of its processes."""
    port = lab.free_port()
    command: list[str | Path] = [RUN, "--listen", f"127.0.0.1:{port}"]
    if web:
        command += ["--web", "--", "--set", "web_open_browser=false"]
        command += ["--set", f"web_port={lab.free_port()}"]
    terminal = Terminal(*command)
    terminal.read_until("Press Ctrl-C to stop")
    assert f"Tracking URI   http://127.0.0.1:{port} " in terminal.text
    registry = terminal.read_until(r"Registry +(http://\S+)")[1]
    pasted = terminal.text.replace("\r\n", "\n").partition("another terminal:\n")[2]
    pasted = pasted.partition("Press")[0]
    example = subprocess.run(
        ["bash", "-c", pasted], env=ENV, capture_output=True, text=True, timeout=60, check=False
    )
    assert example.returncode == 0, example.stderr
    assert "hello" in example.stdout.splitlines()
    assert (b"bin/mitmweb" in b"".join(_children(terminal.pid))) is web
    if web:
        inspect = terminal.read_until(r"Inspect +(http://\S+)")[1]
        base, _, query = inspect.rpartition("/")
        assert request(base, "/" + query).status in (200, 302)

    os.write(terminal.file, b"\x03")
    assert terminal.finish() == 0
    assert "Stopping" in terminal.text
    assert processes(f"--port {registry.rpartition(':')[2]}") == []
    assert processes(f"--listen-port {port}") == []


def _children(pid: int) -> Iterator[bytes]:
    """Yield command lines of all descendants of a process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield Path(f"/proc/{child}/cmdline").read_bytes()
            yield from _children(int(child))


@pytest.mark.slow
def test_demo() -> None:
    """The demo prints a table: each step fails directly and works through the proxy."""
    run = subprocess.run(
        [RUN, "--demo"], env=ENV, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr + run.stdout
    rows = [line for line in run.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 10
    for row in rows[2:]:
        _, _, direct, proxied, _ = (cell.strip() for cell in row.split("|"))
        assert direct == "fails: the client prints an HTML page"
        assert proxied.startswith("ok: ")


def test_production(tmp_path: Path) -> None:
    """With `--upstream`, run.sh becomes mitmdump: signals arrive, options are passed on."""
    port = lab.free_port()
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"], drain={"grace": 0.5})
    with Upstream() as upstream:
        command: list[str | Path] = [
            RUN,
            "--upstream",
            upstream.url,
            "--listen",
            f"127.0.0.1:{port}",
        ]
        command += ["--", "--set", f"mlflow_rules={rules}", "-w", tmp_path / "flows"]
        server = lab.Server(command, url=f"http://127.0.0.1:{port}", log=tmp_path / "log")
        with server:
            server.wait("/livez")
            got = request(server.url, "/mlflow/api/2.0/mlflow/x?token=secret")
            assert got.status == 200
            assert upstream.requests[-1].target == "/ajax-api/2.0/mlflow/x?token=secret"
            assert b"mitmdump" in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(20) == 0
        assert "secret" not in server.text()
        assert (tmp_path / "flows").stat().st_size > 0


@pytest.mark.parametrize("colour", [True, False])
def test_a_line_for_each_request_at_a_terminal(colour: bool) -> None:
    """A terminal shows a line per request, without query, in colour unless NO_COLOR is set.

    A path in --upstream becomes the base path.
    """
    port = lab.free_port()
    with Upstream() as upstream:
        to = ("--upstream", f"{upstream.url}/below/", "--listen", f"127.0.0.1:{port}")
        environment = {"TERM": "xterm"} | ({} if colour else {"NO_COLOR": "1"})
        terminal = Terminal(RUN, *to, **environment)
        terminal.read_until("MLflow proxy on http://127.0.0.1")
        asked = "/api/2.0/mlflow/runs/get"
        assert request(f"http://127.0.0.1:{port}", f"{asked}?token=secret").status == 200
        terminal.read_until(rf"GET      \S*200\S* +\d+ ms +2 B  {asked}")
        os.write(terminal.file, b"\x03")
        assert terminal.finish() == 0
    assert ("\033[32m200\033[0m" in terminal.text) is colour
    assert ("\033[" in terminal.text) is colour
    assert "secret" not in terminal.text
    assert f"/below{asked}?token=secret" in [each.target for each in upstream.requests]


def test_json_without_a_terminal(tmp_path: Path) -> None:
    """If stdout is no terminal, each request is one line of JSON, for programs that read it."""
    port, out = lab.free_port(), tmp_path / "out"
    with Upstream() as upstream, out.open("wb") as file:
        to = ("--upstream", upstream.url, "--listen", f"127.0.0.1:{port}")
        process = subprocess.Popen([RUN, *to], env=ENV, stdout=file, stderr=subprocess.PIPE)
        assert process.stderr is not None
        while b"MLflow proxy on" not in process.stderr.readline():
            assert process.poll() is None
        assert request(f"http://127.0.0.1:{port}", "/api/2.0/mlflow/runs/get").status == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["path"] for line in lines if not line["probe"]] == ["/api/2.0/mlflow/runs/get"]


def test_workers(tmp_path: Path) -> None:
    """`--workers` runs several proxies behind HAProxy, each with the given options."""
    port = lab.free_port()
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"], drain={"grace": 0.5})
    with Upstream() as upstream:
        command: list[str | Path] = [RUN, "--upstream", upstream.url, "--workers", "2"]
        command += ["--listen", f"127.0.0.1:{port}", "--", "--set", f"mlflow_rules={rules}"]
        url = f"http://127.0.0.1:{port}"
        with lab.Server(command, url=url, log=tmp_path / "log") as server:
            server.wait("/livez")
            assert request(server.url, "/mlflow/api/2.0/mlflow/x?token=secret").status == 200
            assert upstream.requests[-1].target == "/ajax-api/2.0/mlflow/x?token=secret"
            assert len(processes(str(rules))) == 3  # Two workers and their supervisor.
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(20) == 0
        assert processes(str(rules)) == []
        assert "secret" not in server.text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "unknown option: --nope"),
        (["--listen", "nonsense"], "expected HOST:PORT"),
        (["--upstream"], "--upstream: expected a URL"),
        (["--workers", "2"], "--workers needs --upstream"),
        (["--workers", "0", "--upstream", "http://x"], "'0': expected 1 or more"),
        (["--workers", "2", "--upstream", "http://x", "--web"], "--web shows one process"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    """A bad argument is named in the error message."""
    run = subprocess.run(
        [RUN, *arguments], env=ENV, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode != 0
    assert message in run.stderr


def test_bad_rules_end_the_proxy_with_one_message(tmp_path: Path) -> None:
    """Bad rules end mitmdump with exit code 1 and one message, without a traceback."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("mounts: 5\n")
    run = subprocess.run(
        [
            Path(sys.executable).parent / "mitmdump",
            *("--mode", "reverse:http://127.0.0.1:9", "--listen-port", str(lab.free_port())),
            *("-s", lab.MAIN, "--set", f"mlflow_rules={rules}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert run.returncode == 1
    output = run.stdout + run.stderr
    assert output.count(f"{rules}:1: mounts: 5: expected a list") == 1
    assert "Traceback" not in output


def test_ctrl_c_ends_an_installation(tmp_path: Path) -> None:
    """Ctrl-C leaves nothing running in the background, and the next run starts over."""
    venv = tmp_path / "interrupted"
    setup = lab.ROOT / "scripts" / "setup.sh"
    terminal = Terminal(setup, VENV=str(venv), PYTHON=sys.executable)
    terminal.read_until("Setting up")
    while not any("pip" in line for line in processes(str(venv))):
        time.sleep(0.05)
    os.write(terminal.file, b"\x03")
    assert terminal.finish() == 130
    end = time.monotonic() + 10
    while processes(str(venv)) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes(str(venv)) == []
    assert not (venv / ".made-from").exists()


def test_setup_is_quick_when_nothing_has_changed() -> None:
    """A second run of setup.sh changes nothing and prints nothing."""
    setup = lab.ROOT / "scripts" / "setup.sh"
    subprocess.run([setup, "--dev"], env=ENV, check=True, timeout=300)
    stamp = lab.ROOT / ".venv" / ".made-from"
    before = stamp.stat().st_mtime_ns
    run = subprocess.run([setup], env=ENV, capture_output=True, check=True, timeout=30)
    assert (run.stdout, run.stderr) == (b"", b"")
    assert stamp.stat().st_mtime_ns == before


@pytest.fixture
def no_mirror(tmp_path: Path) -> dict[str, str]:
    """An environment in which Debian packages cannot be downloaded."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no route to the mirror' >&2\nexit 100\n")
    program.chmod(0o755)
    return ENV | {"PATH": f"{program.parent}:{ENV['PATH']}", "TMPDIR": str(tmp_path / "tmp")}


def checkout(folder: Path) -> Path:
    """Copy the files of the project, without anything that was installed."""
    (folder / "tmp").mkdir()
    for name in ("addon", "scripts"):
        shutil.copytree(lab.ROOT / name, folder / "checkout" / name)
    shutil.copy(lab.ROOT / "rules.yaml", folder / "checkout")
    return folder / "checkout"


def test_a_program_that_cannot_be_fetched(no_mirror: dict[str, str], tmp_path: Path) -> None:
    """A failed download prints no path and leaves no file; the last line says what to do."""
    script = checkout(tmp_path) / "scripts" / "install" / "server.sh"
    run = subprocess.run(
        [script, "no-such-server"], env=no_mirror, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert "no route to the mirror" in run.stderr
    assert run.stderr.endswith(
        "no-such-server cannot be fetched; install it, so that it is on PATH.\n"
    )
    assert [*(tmp_path / "tmp").iterdir()] == []
