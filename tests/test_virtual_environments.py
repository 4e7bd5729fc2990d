"""The environments that scripts/install/lib.sh makes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import lab
import pytest
from support.waiting import eventually

INSTALL = """
set -euo pipefail
root=$1
source "$2"
fill() {
    echo begun >>"$root/log"
    until [[ -e $root/go ]]; do sleep 0.1; done
    pwd >"$root/environment/filled"
}
working "Installing ..." make_venv "$root/environment" "$3" "a stamp" fill
"""
NEEDED = ("bash", "cat", "mkdir", "mktemp", "rm", "sed", "sleep", "tail")


def install(root: Path, **env: str) -> subprocess.Popen[str]:
    """Begin to install a small environment, which is ready once the file `go` is there."""
    library = lab.ROOT / "scripts" / "install" / "lib.sh"
    python = root / "python"
    # Without pip, in a tenth of the time.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" --without-pip\n')
    python.chmod(0o755)
    return subprocess.Popen(
        ["/bin/bash", "-c", INSTALL, "install", root, library, python],
        stderr=subprocess.PIPE,
        text=True,
        env=env or None,
    )


def log(root: Path) -> list[str]:
    path = root / "log"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is part of util-linux")
def test_two_at_once(tmp_path: Path) -> None:
    """Of two installations of one environment, the second waits, and finds it made."""
    first = install(tmp_path)
    eventually(lambda: log(tmp_path) != [], 60)
    second = install(tmp_path)
    assert second.stderr is not None
    assert second.stderr.readline() == "Installing ...\n"
    (tmp_path / "go").touch()
    assert (first.communicate()[1], second.communicate()[1]) == ("Installing ...\n", "")
    assert (first.returncode, second.returncode) == (0, 0)
    assert log(tmp_path) == ["begun"]
    assert (tmp_path / "environment" / "filled").exists()
    assert (tmp_path / "environment" / ".made-from").read_text() == "a stamp\n"


def test_without_flock(tmp_path: Path) -> None:
    """A machine without flock, such as macOS, installs without a lock."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    (tmp_path / "go").touch()
    done = install(tmp_path, PATH=str(programs))
    assert done.communicate()[1] == "Installing ...\n"
    assert done.returncode == 0
    assert (tmp_path / "environment" / ".made-from").read_text() == "a stamp\n"


def test_a_failure(tmp_path: Path) -> None:
    """An environment that could not be filled does not look complete."""
    (tmp_path / "go").touch()
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / ".made-from").write_text("an older stamp\n")
    (tmp_path / "log").mkdir()
    done = install(tmp_path)
    assert "log: Is a directory" in done.communicate()[1]
    assert done.returncode == 1
    assert not (tmp_path / "environment" / ".made-from").exists()
