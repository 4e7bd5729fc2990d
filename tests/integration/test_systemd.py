"""The unit: systemd's checks of it, and its command as systemd would run it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import lab
import pytest
from support import sandbox
from support.client import request
from support.upstream import Upstream

from addon.rules.model import Rules

UNIT = lab.ROOT / "scripts" / "deploy" / "systemd" / "mlflow-proxy@.service"
PORT = "8081"
API = "/api/2.0/mlflow/experiments/search"
TLS = """
  server {
    listen 127.0.0.1:PORT ssl;
    ssl_certificate CERTIFICATE;
    ssl_certificate_key CERTIFICATE;
    default_type application/json;
    location / { return 200 '{}'; }
  }
"""


def settings() -> dict[str, list[str]]:
    """Return all assignments in the unit."""
    found = defaultdict(list)
    for name, value in re.findall(r"(?m)^(\w+)=(.*)$", UNIT.read_text()):
        found[name].append(value)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unit with the paths of this checkout."""
    text = UNIT.read_text().replace("/opt/mlflow-proxy/.venv/bin", str(Path(sys.executable).parent))
    unit = tmp_path_factory.mktemp("systemd") / f"mlflow-proxy@{PORT}.service"
    unit.write_text(text.replace("/opt/mlflow-proxy", str(lab.ROOT)))
    return unit


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = lab.binary("systemd-analyze")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_the_unit_is_valid(installed: Path) -> None:
    """systemd-analyze verify finds nothing wrong with the unit."""
    run = analyze("verify", "--man=false", installed)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_exposure(installed: Path) -> None:
    """The unit's exposure level is below 2; a service without restrictions has 10."""
    run = analyze("security", "--offline=true", "--no-pager", installed)
    found = re.search(r"exposure level for \S+: ([\d.]+)", run.stdout)
    assert found is not None, run.stdout + run.stderr
    assert float(found[1]) < 2


def test_limits_fit_the_rules() -> None:
    """The unit's stop timeout and open files are sufficient for the default rules."""
    rules = Rules()
    (stop,), (files,) = settings()["TimeoutStopSec"], settings()["LimitNOFILE"]
    assert int(stop) > rules.drain.grace + rules.drain.timeout
    assert int(files) > 10 * rules.limits.flows


@pytest.mark.parametrize(("abstract", "tls"), [(False, True), (True, False)])
def test_the_command(abstract: bool, tls: bool, certificate: Path, tmp_path: Path) -> None:
    """The command notifies systemd at start and stop, and needs no forbidden system call."""
    # The name of systemd's socket; @ stands for a zero byte.
    name = "@" * abstract + str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
        Upstream() as plain,
        lab.nginx(tmp_path / "nginx", TLS.replace("CERTIFICATE", str(certificate))) as secure,
    ):
        listener.bind(name.replace("@", "\0"))
        listener.settimeout(30)
        # The proxy has to look up this name.
        upstream = plain.url.replace("127.0.0.1", "localhost") + "/mlflow"
        if tls:
            upstream = secure.wait_for_port().url.replace("http:", "https:")
        lab.write_rules(tmp_path / "rules.yaml", external=[], drain={"grace": 0})
        port = lab.free_port()
        url = f"http://127.0.0.1:{port}"
        env = {
            "UPSTREAM": upstream,
            "MITMDUMP_OPTIONS": f"--set ssl_verify_upstream_trusted_ca={certificate}",
            "NOTIFY_SOCKET": name,
        }
        command = confined(start_command(port, tmp_path, env))
        with lab.Server(command, url=url, log=tmp_path / "log", env=env) as server:
            assert listener.recv(100) == b"READY=1"
            # The proxy already serves.
            assert request(url, API).body == b"{}", server.text()
            if not tls:
                assert plain.requests[-1].target.startswith("/mlflow/"), plain.requests
            assert (tmp_path / "mlflow-proxy" / str(port) / "mitmproxy-ca.pem").exists()
            os.kill(server.process.pid, signal.SIGTERM)
            assert listener.recv(100) == b"STOPPING=1"
            assert server.process.wait(20) == 0
            assert "Traceback" not in server.text(), server.text()


def confined(command: list[str]) -> list[str]:
    """Return a command that runs another one under the unit's system call filter."""
    allowed, denied = settings()["SystemCallFilter"]
    sets = [allowed.replace(" ", ","), denied.removeprefix("~").replace(" ", ",")]
    # WorkingDirectory=.
    inside = ["env", "--chdir", str(lab.ROOT)]
    return [
        *inside,
        sys.executable,
        sandbox.__file__,
        str(lab.binary("systemd-analyze")),
        *sets,
        *command,
    ]


def start_command(port: int, folder: Path, env: dict[str, str]) -> list[str]:
    """Return ExecStart= as systemd reads it, with paths of this checkout and a folder."""
    defaults = dict(value.split("=", 1) for value in settings()["Environment"])
    known = defaults | env
    paths = {
        "/opt/mlflow-proxy/.venv/bin": str(Path(sys.executable).parent),
        "/opt/mlflow-proxy": str(lab.ROOT),
        "/etc/mlflow-proxy": str(folder),
        "%S": str(folder),
        "%i": str(port),
    }
    (line,) = settings()["ExecStart"]
    for old, new in paths.items():
        line = line.replace(old, new)
    words = []
    for word in line.split():
        if word.startswith("$") and word[1:] in known:
            words += shlex.split(known[word[1:]])
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda name: known[name[1]], word))
    return words


def test_the_sandbox_refuses(tmp_path: Path) -> None:
    """The sandbox of these tests refuses what systemd would refuse."""
    attempts = (
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import os; os.chroot('/')",
    )
    for attempt in attempts:
        run = subprocess.run(
            confined([sys.executable, "-c", attempt]), capture_output=True, text=True, check=False
        )
        assert "PermissionError" in run.stderr, run.stderr
