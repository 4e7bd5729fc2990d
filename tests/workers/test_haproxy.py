"""The search for HAProxy, and the message if it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from addon.workers import haproxy, serve


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder on PATH, and one for programs of administrators."""
    on_path, other = tmp_path / "bin", tmp_path / "sbin"
    for folder in (on_path, other):
        folder.mkdir()
    monkeypatch.setenv("PATH", str(on_path))
    monkeypatch.setattr(haproxy, "_ADMINISTRATORS", (str(other),))
    return on_path, other


def install(folder: Path) -> str:
    """Put a program there."""
    (folder / "haproxy").touch(0o755)
    return str(folder / "haproxy")


def test_haproxy_is_found(places: tuple[Path, Path]) -> None:
    """The one on PATH comes first; users often lack the other folder there."""
    on_path, other = places
    second = install(other)
    assert haproxy.find() == second
    first = install(on_path)
    assert haproxy.find() == first


@pytest.mark.usefixtures("places")
def test_haproxy_is_missing(capfd: pytest.CaptureFixture[str]) -> None:
    """No worker starts; the exit code is 1, and one line says how to get it."""
    assert serve.serve("127.0.0.1:0", 2, ["--version"]) == 1
    assert capfd.readouterr() == (
        "",
        "workers: HAProxy (2.6 or newer) is not on PATH; install the package haproxy, which "
        "Debian, Ubuntu, Fedora and Alpine have\n",
    )
