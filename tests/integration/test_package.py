"""The wheel, installed into its own environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import lab
import pytest
from support.client import request
from support.upstream import OK, Upstream

import addon
from addon.cli.files import UNIT

ENV = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
SEARCH = "/api/2.0/mlflow/experiments/search"
PLACES = {
    "addon": "",
    "scripts/deploy": "/deploy",
    "scripts/install/locks/build.lock": "/locks/build.lock",
    "scripts/install/locks/requirements.lock": "/locks/requirements.lock",
}
"""Files and folders of a checkout, and where they are in the package."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as scripts/install/wheel.sh builds it."""
    return lab.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    # The packages of this environment stand in for a download of the same ones.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    programs = folder / "bin"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        programs / "python",
        "install",
        "--quiet",
    ]
    pip += ["--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True, timeout=120)
    for name in ("mitmdump", "mitmweb"):
        _, _, script = (Path(sys.executable).parent / name).read_text().partition("\n")
        (programs / name).write_text(f"#!{programs / 'python'}\n{script}")
        (programs / name).chmod(0o755)
    return programs


def call(programs: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs / "mlflow-proxy", *arguments],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )


def test_files_of_the_wheel(wheel: Path) -> None:
    """The wheel has exactly the files of addon/ and for operators, without Markdown."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PLACES, ":!*.md"]
    files = subprocess.run(
        listing, cwd=lab.ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        rules = archive.read("mlflow_proxy/rules.yaml")
    there = {name for name in files.stdout.splitlines() if (lab.ROOT / name).exists()}
    for place, inside in PLACES.items():
        there = {re.sub(f"^{place}", f"mlflow_proxy{inside}", name) for name in there}
    assert shipped == there
    assert rules == (lab.ROOT / "rules.yaml").read_bytes()


def test_version(programs: Path) -> None:
    """The version is the same in the package, in its metadata and in a checkout."""
    run = call(programs, "--version")
    assert run.stdout.startswith(f"mlflow-proxy {addon.__version__}, mitmproxy 1"), run.stderr
    ask = "from importlib.metadata import version; print(version('mlflow-proxy-addon'))"
    found = subprocess.check_output([programs / "python", "-c", ask], text=True, cwd="/")
    assert found.strip() == addon.__version__


def test_check_and_explain(programs: Path, tmp_path: Path) -> None:
    """`check` and `explain` find the shipped rules, and `check` accepts a user's own."""
    run = call(programs, "check")
    assert run.stdout.endswith(" probes)\n"), run.stderr
    assert "/site-packages/mlflow_proxy/rules.yaml: ok (1 rewrite, " in run.stdout
    run = call(programs, "explain", "GET", SEARCH)
    assert f"sent upstream: GET /ajax-api{SEARCH[4:]}\n" in run.stdout
    mine = tmp_path / "mine.yaml"
    mine.write_text(call(programs, "rules").stdout.replace("max_results", "nothing"))
    assert call(programs, "check", mine).returncode == 0


@pytest.mark.parametrize("own", [False, True], ids=["run", "mitmdump"])
def test_a_proxy(programs: Path, tmp_path: Path, own: bool) -> None:
    """The proxy works by `run` and in a mitmdump started by hand; SIGTERM ends it cleanly."""
    port = lab.free_port()
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"], drain={"grace": 0.1})
    with Upstream(OK) as upstream:
        command: list[str | Path] = [programs / "mlflow-proxy", "run", "--upstream", upstream.url]
        command += ["--listen", f"127.0.0.1:{port}", "--rules", rules]
        command += ["--", "--set", f"mlflow_access_log={tmp_path / 'access'}"]
        if own:
            script = call(programs, "script").stdout.strip()
            assert script.endswith("/site-packages/mlflow_proxy/main.py")
            command = [programs / "mitmdump", "--mode", f"reverse:{upstream.url}", "-s", script]
            command += ["--listen-port", str(port), "--set", f"mlflow_rules={rules}"]
        with lab.Server(command, url=f"http://127.0.0.1:{port}", log=tmp_path / "log") as server:
            server.wait("/livez")
            assert request(server.url, "/mlflow" + SEARCH).status == 200
            assert upstream.requests[-1].target == "/ajax-api" + SEARCH[4:]
            assert call(programs, "reload", str(server.process.pid)).returncode == 0
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(20) == 0, server.text()
    assert "Traceback" not in server.text()
    if not own:
        assert (
            f"MLflow proxy on http://127.0.0.1:{port} in front of {upstream.url}" in server.text()
        )
        assert SEARCH in (tmp_path / "access").read_text()


def test_workers(programs: Path, tmp_path: Path) -> None:
    """`run --workers` serves by HAProxy with all processes, which take new rules and drain."""
    port = lab.free_port()
    rules = lab.write_rules(tmp_path / "rules.yaml", external=["127.0.0.1"], drain={"grace": 0.1})
    with Upstream(OK) as upstream:
        command: list[str | Path] = [programs / "mlflow-proxy", "run", "--upstream", upstream.url]
        command += ["--listen", f"127.0.0.1:{port}", "--rules", rules, "--workers", "2"]
        env = {"PATH": lab.workers_environment()["PATH"]}
        url = f"http://127.0.0.1:{port}"
        with lab.Server(command, url=url, log=tmp_path / "log", env=env) as server:
            server.wait("/livez")
            assert request(server.url, "/mlflow" + SEARCH).status == 200
            reloaded = call(programs, "reload", str(server.process.pid))
            assert reloaded.returncode == 0, reloaded.stderr
            assert reloaded.stdout.count(f": taken: {rules}\n") == 2
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(30) == 0, server.text()
    assert "2 worker(s) serve" in server.text()
    assert "Traceback" not in server.text()


def test_a_proxy_that_does_not_start(programs: Path, tmp_path: Path) -> None:
    """A proxy with bad rules says why, does not announce itself, and exits with 1."""
    (tmp_path / "rules.yaml").write_text("mounts: 7\n")
    command: list[str | Path] = [programs / "mlflow-proxy", "run", "--upstream", "http://x.example"]
    command += ["--listen", f"127.0.0.1:{lab.free_port()}", "--rules", tmp_path / "rules.yaml"]
    with lab.Server(command, url="", log=tmp_path / "log") as server:
        assert server.process.wait(30) == 1
        assert "rules.yaml:1: mounts: 7: expected a list" in server.text()
        assert "MLflow proxy on" not in server.text()


def test_files(programs: Path, tmp_path: Path) -> None:
    """The files are those of a checkout; the unit names this installation, and systemd takes it."""
    run = call(programs, "files", tmp_path / "installed")
    assert run.returncode == 0, run.stderr
    checkout: list[str | Path] = [sys.executable, "-m", "addon.cli", "files", tmp_path / "checkout"]
    subprocess.run(checkout, cwd=lab.ROOT, check=True, capture_output=True, timeout=60)
    found, expected = (
        {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
        for folder in (tmp_path / "installed", tmp_path / "checkout")
    )
    assert {name for name in found if found[name] != expected[name]} == {Path(UNIT)}
    assert found.keys() == expected.keys()
    (tmp_path / "installed" / UNIT).rename(unit := tmp_path / "mlflow-proxy@8081.service")
    analyze: list[str | Path] = [lab.binary("systemd-analyze"), "verify", "--man=false", unit]
    run = subprocess.run(analyze, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
    assert f"\nExecStart={programs}/python -m mlflow_proxy.cli.service " in unit.read_text()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mlflow-proxy ex", ["explain"]),
        ("mlflow-proxy explain --di", ["--dialect"]),
        ("mlflow-proxy explain --dialect a", ["ajax"]),
        ("mlflow-proxy check /etc/hostn", ["/etc/hostname"]),
        ("mlflow-proxy files /et", ["/etc"]),
    ],
)
def test_completion(programs: Path, line: str, offered: list[str]) -> None:
    """Bash offers commands, options, values and files."""
    script = (
        'source <("$1" completion bash); COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
        '$(complete -p mlflow-proxy | grep -o "_shtab[a-z_]*") && printf "%s\\n" "${COMPREPLY[@]}"'
    )
    program = programs / "mlflow-proxy"
    run = subprocess.run(
        ["bash", "-c", script, "bash", program, line],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.split() == offered, run.stderr


@pytest.mark.parametrize("arguments", [("schema",), ("rules",), ("explain", "GET", SEARCH)])
def test_a_reader_that_has_gone(programs: Path, arguments: tuple[str, ...]) -> None:
    """If stdout is closed, as by `| head`, a command ends silently with SIGPIPE's exit code."""
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [programs / "mlflow-proxy", *arguments],
        env=ENV,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, "")


def test_no_upstream(programs: Path) -> None:
    """A missing --upstream or a malformed --listen is named; the exit code is 2."""
    run = call(programs, "run")
    assert (run.returncode, "--upstream" in run.stderr) == (2, True)
    run = call(programs, "run", "--upstream", "http://x", "--listen", "here")
    assert (run.returncode, "'here': expected HOST:PORT" in run.stderr) == (2, True)
