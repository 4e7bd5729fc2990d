"""Notifications to systemd, over sockets like its own."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from addon.hooks import sd_notify


def test_without_notify_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without NOTIFY_SOCKET nothing is sent or logged."""
    monkeypatch.delenv(sd_notify.VARIABLE, raising=False)
    sd_notify.send("READY=1")
    assert caplog.records == []


@pytest.mark.parametrize("abstract", [False, True])
def test_one_message(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through a socket in a folder or one in Linux's abstract namespace."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + path if abstract else path)
        monkeypatch.setenv(sd_notify.VARIABLE, "@" + path if abstract else path)
        sd_notify.send("READY=1")
        systemd.settimeout(30)
        assert systemd.recv(100) == b"READY=1"


def test_socket_without_a_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing listener gives a warning, and the proxy continues."""
    monkeypatch.setenv(sd_notify.VARIABLE, str(tmp_path / "nowhere"))
    sd_notify.send("READY=1")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "NOTIFY_SOCKET cannot be used: No such file or directory"
