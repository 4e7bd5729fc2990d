"""`mlflow-proxy reload`, with real proxies."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import lab
import pytest
from support.client import request
from support.upstream import Upstream, response
from support.waiting import eventually

from addon.cli import main as cli
from addon.cli import reload

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/x"


def write(path: Path, enabled: bool) -> None:
    lab.write_rules(path, external=["127.0.0.1"], artifacts={"enabled": enabled})


def test_taken_and_refused(
    scripted: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When it returns, the new rules are in force, or it says what the proxy has against them."""
    scripted.answer = response("200 OK", b"x")
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=True)
    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        pid = proxy.process.pid
        for enabled, status in ((False, 503), (True, 200)) * 3:
            write(rules, enabled=enabled)
            assert cli.main(["reload", str(pid)]) == 0
            assert request(proxy.url, ARTIFACT).status == status
            assert capsys.readouterr() == (f"{pid}: taken: {rules}\n", "")
            rules.write_text("mounts: 7")
            assert cli.main(["reload", str(pid)]) == 1
            assert request(proxy.url, ARTIFACT).status == status
            said = f"{rules}:1: mounts: 7: expected a list"
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith(f"{pid}: refused, the old rules stay in force: {said}")


def test_the_proxy_decides(
    scripted: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules that this proxy refuses because of its options are refused, though they are valid."""
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=True)
    options = ("--set", "ignore_hosts=elsewhere")
    with lab.proxy(scripted.url, rules, log=tmp_path / "log", options=options) as proxy:
        proxy.wait("/livez")
        write(rules, enabled=False)
        assert cli.main(["check", str(rules)]) == 0
        assert cli.main(["reload", str(proxy.process.pid)]) == 1
        assert "ignore_hosts" in capsys.readouterr().err


def test_several(scripted: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is asked, and the worst answer counts."""
    good, bad = (tmp_path / name / "rules.yaml" for name in ("good", "bad"))
    write(good, enabled=True)
    write(bad, enabled=True)
    with (
        lab.proxy(scripted.url, good, log=tmp_path / "log") as one,
        lab.proxy(scripted.url, bad, log=tmp_path / "other") as other,
    ):
        one.wait("/livez")
        other.wait("/livez")
        bad.write_text("mounts: 7")
        assert cli.main(["reload", *(str(proxy.process.pid) for proxy in (other, one))]) == 1
        out, err = capsys.readouterr()
        assert f"{one.process.pid}: taken: {good}\n" in out
        assert f"{other.process.pid}: refused, " in err


def test_no_answer(
    scripted: Upstream,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that hangs is neither a success nor a refusal."""
    monkeypatch.setattr(reload, "SECONDS", 0.5)
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=True)
    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        proxy.process.send_signal(signal.SIGSTOP)
        try:
            assert cli.main(["reload", str(proxy.process.pid)]) == 2
        finally:
            proxy.process.send_signal(signal.SIGCONT)
        assert capsys.readouterr().err == f"{proxy.process.pid}: no answer\n"
        eventually(lambda: "the rules were read again" in proxy.text())


def test_a_process_that_is_no_proxy(capsys: pytest.CaptureFixture[str]) -> None:
    """A process that is no proxy is left alone: SIGHUP would end it."""
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            assert cli.main(["reload", str(other.pid)]) == 2
            said = f"reload: {other.pid}: no proxy, or one of another user\n"
            assert capsys.readouterr().err == said
            assert other.poll() is None
        finally:
            other.kill()


def test_in_a_terminal(scripted: Upstream, tmp_path: Path) -> None:
    """A proxy in a terminal reads its rules again, and still ends with the terminal."""
    scripted.answer = response("200 OK", b"x")
    rules, port = tmp_path / "rules.yaml", lab.free_port()
    write(rules, enabled=True)
    command = [str(part) for part in lab.proxy_command(scripted.url, rules, port=port)]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execv(command[0], command)
    try:
        eventually(lambda: cli.main(["reload", str(pid)]) == 0, 60)
        write(rules, enabled=False)
        assert cli.main(["reload", str(pid)]) == 0
        assert request(f"http://127.0.0.1:{port}", ARTIFACT).status == 503
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP


def test_all_of_this_user() -> None:
    """Without a process id other users' processes are left alone, also for root."""
    found = reload._candidates(None)
    assert os.getpid() in found
    if os.geteuid() == 0:
        with subprocess.Popen(["sleep", "60"], user=65534) as other:
            try:
                assert other.pid not in reload._candidates(None)
                assert other.pid in reload._candidates(os.getpid())
            finally:
                other.kill()
