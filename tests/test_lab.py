"""The servers and files that tests, demo and measurements share."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import lab
import pytest
from lab.markdown import table
from support.waiting import eventually

from addon.rules import rules_file


def test_table() -> None:
    """Columns are as wide as their widest cell, in the head or below."""
    assert table(["name", "ms"], [["a", "12.5"], ["longer", ""]]).splitlines() == [
        "| name   | ms   |",
        "| ------ | ---- |",
        "| a      | 12.5 |",
        "| longer |      |",
    ]
    assert table(["name"], [["x"]]).splitlines()[-1] == "| x    |"


def test_rules(tmp_path: Path) -> None:
    """A mapping changes some keys of a section, and anything else replaces it; the rest stays."""
    shipped = rules_file.load(lab.ROOT / "rules.yaml")
    path = lab.write_rules(
        tmp_path / "new" / "rules.yaml",
        external=["registry.example"],
        artifacts={"delete": False},
        mounts=["/only"],
    )
    written = rules_file.load(path)
    assert written.upstream.external_hosts == ["registry.example"]
    assert written.upstream.dialect == "standard"
    assert written.artifacts == shipped.artifacts.model_copy(update={"delete": False})
    assert [mount.path for mount in written.mounts] == ["/only"]
    assert written.rewrites == shipped.rewrites
    path = lab.write_rules(tmp_path / "auto", external=[], upstream={"dialect": "auto"})
    assert rules_file.load(path).upstream.dialect == "auto"


def test_free_ports() -> None:
    """No port is given twice, and a server can listen on each."""
    ports = [lab.free_port() for _ in range(50)]
    assert len({*ports}) == 50
    socket.create_server(("127.0.0.1", ports[0])).close()


def shell(script: str, log: Path) -> lab.Server:
    """Start a shell script as a server on a port that nothing uses."""
    return lab.Server(["/bin/sh", "-c", script], url="http://127.0.0.1:1", log=log)


def test_a_server_that_ends_at_its_start(tmp_path: Path) -> None:
    """The error has the exit code and the end of the log."""
    server = shell("seq 100; echo no such option; exit 3", tmp_path / "log")
    with pytest.raises(lab.StartError) as error:
        server.wait()
    said = str(error.value).splitlines()
    assert said[0] == "/bin/sh did not start (exit code 3):"
    assert (said[1], said[-1], len(said)) == ("72", "no such option", 31)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """It is stopped when the time is over."""
    server = shell("exec sleep 600", tmp_path / "log")
    with pytest.raises(lab.StartError, match=r"exit code -15\)"):
        server.wait(seconds=0.1)
    assert server.process.returncode == -signal.SIGTERM


def test_children_end_with_their_server(tmp_path: Path) -> None:
    """A child that ignores the signal does not outlive its server."""
    script = "(trap '' TERM; exec sleep 600) & echo $!; exec sleep 600"
    with shell(script, tmp_path / "log") as server:
        eventually(lambda: server.text().endswith("\n"))
        stat = Path("/proc", server.text().strip(), "stat")
        assert stat.exists()
    # A container without init may never collect it.
    eventually(lambda: not stat.exists() or stat.read_text().rpartition(") ")[2][0] == "Z")


def test_the_log_of_a_server(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 do not hide a log, and a device is not read as one."""
    with shell("printf 'a\\377b'; exec sleep 600", tmp_path / "log") as server:
        eventually(lambda: server.text() == "a\ufffdb")
    with shell("exec sleep 600", Path("/dev/null")) as server:
        assert server.text() == ""
